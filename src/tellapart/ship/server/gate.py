"""Every request passes here: who asks, how much waits, headers on the answer, counts, and a line in the log.

What is too much is refused here, before a route is looked for and before a byte of the body is read: a
server under a flood spends on each refusal as little as it can.
"""

import json
import re
import secrets
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from starlette.exceptions import HTTPException

from tellapart.ship.guarding import (
    Application,
    Headers,
    Message,
    Receive,
    Refusal,
    Send,
    only,
    policy_headers,
    send_answer,
    with_headers,
)
from tellapart.ship.server.access import Access
from tellapart.ship.server.admission import Overloaded, Place
from tellapart.ship.server.body import check_head, overloaded
from tellapart.ship.server.service import Service

__all__ = ["FAULT", "HEADERS", "PREDICT", "Asked", "Gate"]

PREDICT: Final = "/v1/predict"
FAULT: Final = "Something went wrong in the server; its log says where."
_ROUTES: Final = (PREDICT, "/v1/model", "/healthz", "/readyz", "/metrics", "/openapi.json", "/")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final[Headers] = policy_headers(_POLICY)
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_GONE: Final = 499  # as others log a client that has gone; it is sent to nobody


@dataclass
class Asked:
    """One request: what its route learns of it goes into the log. `gone` where nobody waits any more."""

    identifier: str
    place: Place
    status: int = 0
    gone: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


class Gate:
    """An ASGI application before another one; counts the requests in progress in `service.busy`."""

    def __init__(self, application: Application, service: Service, access: Access) -> None:
        self._application, self._service, self._access = application, service, access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        start = time.monotonic()
        asked = Asked(_identifier(scope), Place(self._service.admission))
        scope["tellapart"] = asked
        sending = _noting(send, asked)
        self._service.busy += 1
        try:
            with asked.place:
                await self._answer(scope, receive, sending, asked)
        except Exception as error:
            self._note_fault(asked, error)
            if not asked.status:
                await _refuse(Refusal(500, FAULT), sending)
        finally:
            self._service.busy -= 1
            self._note(scope, asked, time.monotonic() - start)

    async def _answer(self, scope: Message, receive: Receive, send: Send, asked: Asked) -> None:
        refusal = self._access.refusal(scope)
        if refusal is None and scope["path"] == PREDICT and scope["method"] == "POST":
            refusal = self._too_much(scope, asked.place)
        if refusal is None:
            await self._application(scope, receive, send)
        else:
            await _refuse(refusal, send)

    def _too_much(self, scope: Message, place: Place) -> Refusal | None:
        """What the head of a request with pictures says already; else its place is taken."""
        service = self._service
        if service.stopping:
            more = ((b"retry-after", b"1"), (b"connection", b"close"))
            return Refusal(503, "The server is stopping. Ask again, of the next one.", more)
        try:
            check_head(scope, service.limits)
            place.take(pictures=1)
            length = only(scope["headers"], b"content-length")
            if length.isdecimal():  # it counts as it arrives: what is only said holds no memory
                service.admission.check(0, int(length))
        except HTTPException as error:
            return Refusal(error.status_code, str(error.detail))
        except Overloaded as error:
            found = overloaded(error, service.limits)
            return Refusal(503, str(found.detail), ((b"retry-after", b"%d" % error.retry_after),))
        return None

    def _note(self, scope: Message, asked: Asked, seconds: float) -> None:
        path = scope["path"]
        shown = path if path in _ROUTES else "/static" if path.startswith("/static/") else "other"
        status = _GONE if asked.gone or not asked.status else asked.status
        self._service.figures.request(shown, status, seconds)
        level = "info" if status < 500 else "warning" if status == 503 else "error"
        self._service.log.write(
            level, "request", id=asked.identifier, path=shown, status=status, **asked.facts,
            seconds=round(seconds, 4),
        )  # fmt: skip

    def _note_fault(self, asked: Asked, error: Exception) -> None:
        """Which fault and where; not its message, which may hold what was sent."""
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        self._service.log.write(
            "error", "fault", id=asked.identifier, type=type(error).__name__, where=where
        )


def _noting(send: Send, asked: Asked) -> Send:
    """Puts the headers on the answer, and keeps its status."""
    own = (b"x-request-id", asked.identifier.encode())
    sending = with_headers(send, [*HEADERS, own])

    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            asked.status = message["status"]
        await sending(message)

    return noting


async def _refuse(refusal: Refusal, send: Send) -> None:
    body = json.dumps({"error": refusal.sentence}).encode()
    await send_answer(refusal.status, body, b"application/json", send, refusal.headers)


def _identifier(scope: Message) -> str:
    """What the asker calls the request, if that is short and plain; else a random name."""
    given = only(scope["headers"], b"x-request-id")
    return given if _IDENTIFIER.fullmatch(given) else secrets.token_hex(8)
