"""An HTTP/1.1 server on loopback for tests and benchmarks, which also misbehaves when told to.

In a test, in a thread of its own:

    with Server({"/a.jpg": picture(sample()), "/gone.jpg": status(410)}) as server:
        ...  # ask for server.url("/a.jpg")
        assert server.hits["/a.jpg"] == 1

As a process of its own, from the root of the repository, with `/many/N.jpg` for N below --pictures:

    python -m tests.web.server --port-file F [--pictures N] [--delay S] [--life S] [--log F]
"""

import argparse
import asyncio
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .behaviours import many, slow, status
from .connection import Behaviour, Connection, Exchange

SEND_BUFFER = 128 * 1024  # small, so that what is sent is soon what the client has taken
MISSING = status(404)


class Server:
    """Answers by `routes`: a path, or the beginning of paths and `*`, to a behaviour. An exact path
    wins over a beginning, a longer beginning over a shorter one; else 404. Routes may change while
    it runs. Targets are paths with their query."""

    def __init__(self, routes: Mapping[str, Behaviour], log: Path | None = None) -> None:
        self.routes = dict(routes)
        self.hits: Counter[str] = Counter()  # requests begun, by target
        self.finished: Counter[str] = Counter()  # whole answers whose last bytes went out
        self.sent: Counter[str] = Counter()  # bytes, heads included
        self.headers: dict[str, dict[str, str]] = {}  # last seen, by target; lower-case names
        self.times: dict[
            str, list[float]
        ] = {}  # when each began, by target; time.monotonic's clock
        self.opened = 0  # connections
        self.at_once: Counter[str] = Counter()  # requests in work now, by Host header
        self.most_at_once = 0
        self.most_at_once_of: Counter[str] = Counter()  # by Host header, port included
        self.connections: set[Connection] = set()
        self.errors: list[Exception] = []  # of behaviours; raised when the server ends
        self.port = 0
        self._log = log.open("ab", buffering=0) if log else None
        self._working = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tests.web.server", daemon=True)

    def url(self, target: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{target}"

    def __enter__(self) -> "Server":
        self._thread.start()
        if not self._ready.wait(timeout=10) or not self.port:
            raise RuntimeError("The test server did not start") from next(iter(self.errors), None)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        self._thread.join(timeout=10)
        assert not self._thread.is_alive(), "the test server does not end"
        if self.errors and kind is None:
            raise self.errors[0]

    def stop(self) -> None:
        """From any thread, or a handler of a signal; a second call does nothing."""
        if self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        try:
            asyncio.run(self.serve())
        except Exception as error:
            self.errors.append(error)
        finally:
            self._ready.set()

    async def serve(self, port_file: Path | None = None) -> None:
        """Until `stop`: then whatever is open is cut, so nothing can hold the end up."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # children inherit
        server = await self._loop.create_server(lambda: Connection(self), sock=listening)
        self.port = listening.getsockname()[1]
        if port_file:
            write_atomically(port_file, f"{self.port}\n")
        self._ready.set()
        await self._stop.wait()
        server.close()
        await asyncio.sleep(0)  # connections that are just being accepted
        tasks = [connection.task for connection in self.connections if connection.task]
        while self.connections:  # cutting one off cancels what is being answered there
            for connection in list(self.connections):
                connection.transport.abort()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._log:
            self._log.close()

    def behaviour(self, path: str) -> Behaviour:
        exact = self.routes.get(path)
        if exact is not None:
            return exact
        found = [r for r in self.routes if r.endswith("*") and path.startswith(r[:-1])]
        return self.routes[max(found, key=len)] if found else MISSING

    def began(self, exchange: Exchange) -> None:
        target, host = exchange.target, exchange.host
        self.hits[target] += 1
        exchange.number = self.hits[target]
        self.headers[target] = exchange.headers
        assert self._loop is not None
        self.times.setdefault(target, []).append(self._loop.time())
        self._working += 1
        self.most_at_once = max(self.most_at_once, self._working)
        self.at_once[host] += 1
        if self.at_once[host] > self.most_at_once_of[host]:
            self.most_at_once_of[host] = self.at_once[host]
        if self._log:
            self._log.write(f"{target}\n".encode("latin-1"))

    def sending(self, exchange: Exchange, count: int) -> None:
        self.sent[exchange.target] += count

    def ended(self, exchange: Exchange) -> None:
        self.finished[exchange.target] += 1

    def left(self, exchange: Exchange) -> None:
        self._working -= 1
        self.at_once[exchange.host] -= 1


def write_atomically(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


async def serve_a_life(server: Server, port_file: Path, life: float) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    loop.call_later(life, server.stop)
    await server.serve(port_file)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve different small pictures on loopback.")
    parser.add_argument("--port-file", type=Path, required=True, help="the port is written here")
    parser.add_argument("--pictures", type=int, default=10_000, help="/many/N.jpg for N below")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--life", type=float, default=600.0, help="seconds until it ends by itself")
    parser.add_argument("--log", type=Path, help="a line for each request, its target, at once")
    options = parser.parse_args()
    pictures = many(options.pictures)
    behaviour = slow(options.delay, pictures) if options.delay else pictures
    server = Server({"/many/*": behaviour}, log=options.log)
    asyncio.run(serve_a_life(server, options.port_file, options.life))


if __name__ == "__main__":
    main()
