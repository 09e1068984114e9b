"""Bounds that lie below a request: connections, slow heads, rests of bodies that nobody reads, odd bytes.

uvicorn waits for the head of a first request for ever, and for the rest of a body that was refused. Here a
connection between two requests has `header_seconds` for the head of the next one, and is cut off then; or at
once, the longest idle first, where there are too many: so that those who hold connections and ask nothing
keep nobody out, a probe for health least of all.
"""

import asyncio
import json
from typing import Any, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tellapart.ship.server.gate import HEADERS
from tellapart.ship.server.limits import Limits

__all__ = ["bounded_protocol"]

_ONCE_MORE: Final = 0.05  # seconds
_PHRASES: Final = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}


class _Joined:
    """A transport that sends the head of an answer together with what follows it, in one call.

    Every call to the system gives the interpreter's lock away, and a worker may keep it for a while.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        if not self._head and data.endswith(b"\r\n\r\n") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
        elif data:
            self._transport.write(self._head + data)
            self._head = b""

    def flush(self) -> None:
        """There is no more: an answer without a body."""
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def bounded_protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's protocol with these limits."""

    class Bounded(_BoundedProtocol):
        pass

    Bounded.limits = limits
    Bounded.idle = {}
    return Bounded


class _BoundedProtocol(H11Protocol):
    limits: Limits
    idle: dict["_BoundedProtocol", None]  # of one server, the longest idle first
    _timer: asyncio.TimerHandle | None = None
    _warned = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._joined = _Joined(transport)
        super().connection_made(cast(asyncio.Transport, self._joined))
        if len(self.connections) > self.limits.most_connections and not self._make_room():
            self._refuse(503, "Too many connections are open. Ask again in 1 s.", "Retry-After: 1")
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_timer()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        self._joined.flush()
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "The request is no valid HTTP.")

    def _watch(self) -> None:
        """Run the timer while no request is being answered, from the moment that the last one was."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        elif self._timer is None and not self.transport.is_closing():
            self._warned = False
            self.idle[self] = None
            self._timer = self.loop.call_later(self.limits.header_seconds, self._cut_off)

    def _make_room(self) -> bool:
        """Close the connection that has been idle longest; whether there was one."""
        for other in self.idle:
            other._stop_timer()
            other.transport.abort()
            return True
        return False

    def _stop_timer(self) -> None:
        self.idle.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut_off(self) -> None:
        self._timer = None
        if not self._warned:  # what has arrived meanwhile is read first
            self._warned = True
            self._timer = self.loop.call_later(_ONCE_MORE, self._cut_off)
        elif self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()  # an answer that nobody takes
        elif self.conn.trailing_data[0] and self.conn.their_state is h11.IDLE:
            self._refuse(408, "The request's head did not arrive in time.")
        else:
            self.transport.close()

    def _refuse(self, status: int, sentence: str, *more: str) -> None:
        """Answer past h11, which may be in any state, and close."""
        body = json.dumps({"error": sentence}).encode()
        lines = [
            f"HTTP/1.1 {status} {_PHRASES[status]}", "Content-Type: application/json",
            f"Content-Length: {len(body)}", "Connection: close", *more,
            *(f"{name.decode()}: {value.decode()}" for name, value in HEADERS),
        ]  # fmt: skip
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.transport.close()
