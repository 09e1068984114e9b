"""One connection of the test server: it reads requests, keeps alive, and lets a behaviour answer.

Raw asyncio, so that a behaviour can break HTTP at any byte. It knows GET and HEAD without a body, and
nothing of what is answered: that is in `behaviours.py`. One request at a time; pipelined ones wait.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Protocol

PIECE = 64 * 1024  # what is written at a time before waiting for the client
LONGEST_HEAD = 64 * 1024


class Exchange:
    """One request and the means to answer it. A behaviour gets this, and nothing else."""

    def __init__(self, connection: "Connection", head: str) -> None:
        first, *lines = head.split("\r\n")
        self.method, self.target, self.version = first.split(" ")
        self.path, _, self.query = self.target.partition("?")
        self.headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self.host = self.headers.get("host", "")
        self.number = 1  # 2 where this target is asked for a second time
        self.connection = connection
        wish = self.headers.get("connection", "").lower()
        self.keep_alive = wish != "close" and (self.version == "HTTP/1.1" or wish == "keep-alive")

    def finish(self, head: bytes, body: bytes = b"") -> Awaitable[None] | None:
        """Send a whole answer. What fits one piece is sent at once, which makes the server fast."""
        data = head if self.method == "HEAD" else head + body
        if len(data) <= PIECE:
            self.finish_with(data)
            return None
        return self._finish_slowly(data)

    def finish_with(self, data: bytes) -> None:
        """The last bytes of an answer. They are counted first: whoever has read them finds the
        answer among the finished ones."""
        self.connection.check_open()
        self.connection.witness.ended(self)
        self.connection.write(self, data)

    async def _finish_slowly(self, data: bytes) -> None:
        last = (len(data) - 1) // PIECE * PIECE
        for start in range(0, last, PIECE):
            await self.send(data[start : start + PIECE])
        self.finish_with(data[last:])

    async def send(self, data: bytes) -> None:
        """Some bytes of an answer; returns when the system has taken them all."""
        self.connection.check_open()
        self.connection.write(self, data)
        await self.connection.flowing.wait()
        await asyncio.sleep(0)  # a client that reads fast must not starve the others

    def hang_up(self) -> None:
        """Close in order once all is sent."""
        self.keep_alive = False

    def reset(self) -> None:
        """Close with a real RST."""
        self.keep_alive = False
        self.connection.reset()


Behaviour = Callable[[Exchange], Awaitable[None] | None]


class Witness(Protocol):
    """What a connection tells of, and whom it asks for behaviours."""

    opened: int
    connections: set["Connection"]
    errors: list[Exception]

    def behaviour(self, path: str) -> Behaviour: ...
    def began(self, exchange: Exchange) -> None: ...
    def sending(self, exchange: Exchange, count: int) -> None: ...
    def ended(self, exchange: Exchange) -> None: ...
    def left(self, exchange: Exchange) -> None: ...


class Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        self.waiting = b""
        self.task: asyncio.Future[None] | None = None
        self.flowing = asyncio.Event()
        self.flowing.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=0)  # `flowing` is clear while anything is unsent
        self.witness.opened += 1
        self.witness.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.witness.connections.discard(self)
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.flowing.clear()

    def resume_writing(self) -> None:
        self.flowing.set()

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        self.answer_what_waits()

    def answer_what_waits(self) -> None:
        while self.task is None and not self.transport.is_closing():
            head, mark, rest = self.waiting.partition(b"\r\n\r\n")
            if not mark:
                if len(self.waiting) > LONGEST_HEAD:
                    self.transport.abort()
                return
            self.waiting = rest
            self.answer(head)

    def answer(self, head: bytes) -> None:
        try:
            exchange = Exchange(self, head.decode("latin-1"))
        except ValueError:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
            return
        self.witness.began(exchange)
        try:
            rest = self.witness.behaviour(exchange.path)(exchange)
        except Exception as error:
            self.fail(exchange, error)
            rest = None
        if rest is None:
            self.leave(exchange)
        else:  # over some time, until it is through or the client goes
            self.task = asyncio.ensure_future(rest)
            self.task.add_done_callback(lambda task: self.through(exchange, task))

    def through(self, exchange: Exchange, task: asyncio.Future[None]) -> None:
        self.task = None
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.fail(exchange, error)
        self.leave(exchange)
        self.answer_what_waits()

    def fail(self, exchange: Exchange, error: Exception) -> None:
        """A client that went is no error; anything else is one of the test, which shall hear it."""
        exchange.keep_alive = False
        if not isinstance(error, ConnectionError):
            self.witness.errors.append(error)

    def leave(self, exchange: Exchange) -> None:
        self.witness.left(exchange)
        if not exchange.keep_alive:
            self.transport.close()

    def check_open(self) -> None:
        if self.transport.is_closing():
            raise ConnectionResetError("the client went")

    def write(self, exchange: Exchange, data: bytes) -> None:
        self.witness.sending(exchange, len(data))
        self.transport.write(data)

    def reset(self) -> None:
        # Lingering for no time makes close() throw the connection away: RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        self.transport.abort()
