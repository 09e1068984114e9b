"""What the guards of our servers share: headers that are read once, host names, and headers on every answer.

A browser tells by its Host, its Origin and Sec-Fetch-Site where a request comes from. Knows nothing of
tokens: what a caller must know is said by each server itself.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from tellapart.ship.listening import in_address

__all__ = [
    "Application", "Headers", "Hosts", "Message", "Receive", "Refusal", "Send", "every", "only",
    "policy_headers", "send_answer", "with_headers",
]  # fmt: skip

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered: the HTTP status, a sentence, and headers that go with it."""

    status: int
    sentence: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Hosts:
    """The names that requests may give a server at `port`: those of this machine, and no others.

    `host` is the one that was asked for; where it stands for all addresses, requests may name any
    address, and this machine, but no other name. A page elsewhere whose name is made to lead here (DNS
    rebinding) is known by that.

    >>> Hosts("127.0.0.1", 8000).has("localhost:8000"), Hosts("127.0.0.1", 8000).has("evil.example:8000")
    (True, False)
    """

    def __init__(self, host: str, port: int) -> None:
        self._port = str(port)
        self._any_address = host in ("0.0.0.0", "::", "")  # noqa: S104  # compared, not bound
        self._names = {"127.0.0.1", "localhost", "[::1]", in_address(host.lower())}
        if self._any_address:
            self._names.add(socket.gethostname().lower())

    def has(self, host: str) -> bool:
        """Whether the header Host, in lower case, names this server."""
        name, colon, port = host.rpartition(":")
        if not colon or not port.isdecimal():
            name, port = host, "80"
        if port != self._port:
            return False
        return name in self._names or (self._any_address and _is_address(name))


def policy_headers(policy: str) -> Headers:
    """The headers of every answer: the page's policy, and what keeps other pages from using an answer."""
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cache-control", b"no-store"),
    ]


def with_headers(send: Send, common: Headers) -> Send:
    """A `send` that puts these headers on every answer that has not got them."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"], *(pair for pair in common if pair[0] not in own)
            ]  # fmt: skip
        await send(message)

    return sending


async def send_answer(
    status: int, body: bytes, kind: bytes, send: Send, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """A whole answer of the content type `kind`."""
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def only(headers: Headers, name: bytes) -> str:
    """A header's value; "" where it is not there, and a value that nothing equals where it is twice.

    >>> only([(b"host", b"a"), (b"host", b"b")], b"host")
    '\\x00'
    """
    found = list(every(headers, name))
    return found[0] if len(found) == 1 else ("" if not found else "\0")


def every(headers: Headers, name: bytes, separator: str | None = None) -> Iterable[str]:
    """All values of a header, cut at `separator` where one is given."""
    for own, value in headers:
        if own.lower() == name:
            text = value.decode("latin-1")
            yield from text.split(separator) if separator else [text.strip()]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
