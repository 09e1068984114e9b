"""How a server of tellapart listens: the address, the signals that end it, and a uvicorn that says nothing.

Knows nothing of what is served: the review page and the model server both stand on it.
"""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import uvicorn

from tellapart.errors import UsageError

__all__ = ["QuietServer", "address_of", "bind", "in_address", "stopped_by_signals"]


class QuietServer(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise them again when it has ended.

    `idle` is asked ten times a second; where it says yes, the server ends.
    """

    idle: Callable[[], bool] = staticmethod(lambda: False)

    def capture_signals(self) -> Any:
        return nullcontext()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self.idle()


def bind(host: str, port: int) -> socket.socket:
    """A socket at this address that nobody can connect to yet; port 0 is a free one. Raises UsageError.

    >>> with bind("127.0.0.1", 0) as bound:
    ...     bound.getsockname()[0]
    '127.0.0.1'
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(f"{host}:{port} is no address of this machine: {error}") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{host}:{port} cannot be had: {reason}. Choose another --port, or leave it out"
        ) from None
    return bound


def address_of(host: str, port: int) -> str:
    """Where a browser on this machine finds what listens at `host`.

    >>> address_of("::", 8000)
    'http://[::1]:8000/'
    """
    name = "127.0.0.1" if host == "0.0.0.0" else "::1" if host in ("::", "") else host  # noqa: S104
    return f"http://{in_address(name)}:{port}/"


def in_address(host: str) -> str:
    """A host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `stop` while the block runs, in the main thread: signals reach no other."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda number, frame: stop())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
