"""Who may ask: a secret token, and nothing from another page, another host or in another form.

The token comes in the link that the command prints; it is exchanged for a cookie at once. A page from
elsewhere is told by its Host (DNS rebinding), its Origin and what the browser says of where a request
comes from, and refused before anything else is looked at. Every answer, refusals too, carries headers
that let the page load from here alone.

What it does not know: who among those that have the link is who. Names are said, not proved.
"""

import html
import json
import secrets
import threading
import time
from typing import Final
from urllib.parse import parse_qsl

from tellapart.ship.guarding import (
    Application,
    Headers,
    Hosts,
    Message,
    Receive,
    Refusal,
    Send,
    every,
    only,
    policy_headers,
    send_answer,
    with_headers,
)

__all__ = ["MOST_BYTES", "Access", "Gate"]

MOST_BYTES: Final = 256 << 10
"""Of the body of a request."""

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = policy_headers(_POLICY)
_PAGE: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">{head}<title>tellapart</title></head>'
    "<body><p>{text}</p></body></html>"
)
_OPEN_THE_LINK: Final = (
    "This page opens by the link that tellapart clean has printed: it holds the key."
)


class Access:
    """Who may ask a server at `port`: whoever knows `token`, under one of the names of this machine.

    `host` is the one that was asked for; where it stands for all addresses, requests may name any
    address, and this machine, but no other name.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", token: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(32)
        self.port, self.cookie = port, f"tellapart-{port}"
        self._hosts = Hosts(host, port)
        self._tickets: set[str] = set()
        self._lock = threading.Lock()
        self.last_asked = time.monotonic()

    def ticket(self) -> str:
        """A token that opens the page once: what stands in a command line can be read by others."""
        ticket = secrets.token_urlsafe(32)
        with self._lock:
            self._tickets.add(ticket)
        return ticket

    def admits(self, given: str) -> bool:
        """Whether this is the token, or a ticket that was not used yet."""
        raw = given.encode("utf-8", "surrogateescape")
        with self._lock:
            used = [t for t in self._tickets if secrets.compare_digest(t.encode(), raw)]
            self._tickets.difference_update(used)
        return bool(used) or secrets.compare_digest(self.token.encode(), raw)

    def refusal(self, method: str, headers: Headers, *, navigating: bool = False) -> Refusal | None:
        """What speaks against a request, token and body aside; `navigating` with the link to `/`."""
        host = only(headers, b"host").lower()
        if not self._hosts.has(host):
            return Refusal(403, "The address is not that of this page; open the printed link.")
        site = only(headers, b"sec-fetch-site")
        if site not in ("", "none", "same-origin") and not navigating:
            return Refusal(403, "Requests from other pages are not answered.")
        origin = only(headers, b"origin").lower()
        if origin and origin != f"http://{host}":
            return Refusal(403, "Requests from other pages are not answered.")
        if method == "POST" and not origin and not only(headers, b"authorization"):
            return Refusal(403, "The request does not say which page it comes from.")
        return None

    def knows(self, headers: Headers) -> bool:
        """Whether a request carries the token, as a cookie or as `Authorization: Bearer`."""
        kind, _, bearer = only(headers, b"authorization").partition(" ")
        if kind.lower() == "bearer" and self._is_token(bearer.strip()):
            return True
        pairs = (part.strip().partition("=") for part in every(headers, b"cookie", ";"))
        return any(name == self.cookie and self._is_token(value) for name, _, value in pairs)

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(self.token.encode(), given.encode("latin-1"))


class Gate:
    """An ASGI application that lets to another one what `access` admits, and puts the headers on all."""

    def __init__(self, application: Application, access: Access) -> None:
        self._application, self._access = application, access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        sending = with_headers(send, _HEADERS)
        refusal = await self._ask(scope, receive, sending)
        if refusal is not None:
            await _refuse(refusal, sending)

    async def _ask(self, scope: Message, receive: Receive, send: Send) -> Refusal | None:
        """Answer a request, or say why not."""
        access, headers, method = self._access, scope["headers"], scope["method"]
        tokens = _tokens(scope)
        navigating = method == "GET" and scope["path"] == "/" and tokens is not None
        if refusal := access.refusal(method, headers, navigating=navigating):
            return refusal
        if navigating:
            await self._open(tokens or "", headers, send)
            return None
        if not access.knows(headers):
            if scope["path"] == "/":
                await _send_page(401, _OPEN_THE_LINK, send)
                return None
            return Refusal(401, _OPEN_THE_LINK)
        access.last_asked = time.monotonic()
        if method != "POST":
            await self._application(scope, receive, send)
            return None
        return await self._post(scope, receive, send)

    async def _open(self, token: str, headers: Headers, send: Send) -> None:
        """Exchange the token in the link for a cookie, and lead to the page without it."""
        if not self._access.admits(token):
            await _send_page(401, _OPEN_THE_LINK, send)
            return
        self._access.last_asked = time.monotonic()
        cookie = f"{self._access.cookie}={self._access.token}; Path=/; HttpOnly; SameSite=Strict"
        more = [(b"set-cookie", cookie.encode()), (b"location", b"/")]
        if only(headers, b"sec-fetch-site") in ("", "none", "same-origin"):
            await send_answer(303, b"", b"text/plain; charset=utf-8", send, more)
        else:  # from a link in another page the cookie would not be sent on: go on from here
            onward = '<meta http-equiv="refresh" content="0; url=/">'
            await _send_page(200, "One moment.", send, head=onward, more=more[:1])

    async def _post(self, scope: Message, receive: Receive, send: Send) -> Refusal | None:
        headers = scope["headers"]
        kind = only(headers, b"content-type").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Refusal(415, "Send JSON, with the content type application/json.")
        length = only(headers, b"content-length")
        body = None
        if not length.isdecimal() or int(length[:12]) <= MOST_BYTES:
            body = await _bounded_body(receive)
        if body is None:
            return Refusal(413, f"At most {MOST_BYTES >> 10} KiB can be sent at a time.")
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._application(scope, replay, send)
        return None


async def _bounded_body(receive: Receive) -> bytes | None:
    """The whole body; None where it is longer than `MOST_BYTES`."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return body


async def _refuse(refusal: Refusal, send: Send) -> None:
    body = json.dumps({"error": refusal.sentence}).encode()
    await send_answer(refusal.status, body, b"application/json", send, [(b"connection", b"close")])


async def _send_page(
    status: int, text: str, send: Send, *, head: str = "", more: Headers | None = None
) -> None:
    page = _PAGE.format(head=head, text=html.escape(text)).encode()
    await send_answer(status, page, b"text/html; charset=utf-8", send, more or ())


def _tokens(scope: Message) -> str | None:
    """The token in the query; None where there is none, or more than one."""
    query = scope.get("query_string", b"").decode("latin-1")
    try:
        found = [value for name, value in parse_qsl(query, max_num_fields=20) if name == "token"]
    except ValueError:  # too many fields
        return None
    return found[0] if len(found) == 1 else None
