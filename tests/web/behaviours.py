"""How the test server answers: well, badly, slowly, or not at all.

A behaviour is a function of an `Exchange` that answers at once and returns None, or returns what is
to be awaited. Each function here makes one; `first`, `slow` and `by_query` are made of others. Where
a behaviour takes `body`, None stands for a sample picture of 320×240 pixels, a valid JPEG.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType

from .connection import PIECE, Behaviour, Exchange
from .pictures import gzip_of_zeros, jpeg_head, png_bomb, sample

Headers = Mapping[str, str]
NONE: Headers = MappingProxyType({})
JPEG = "image/jpeg"
BAD_LINES = (
    b"A line without a colon",
    b": no name",
    b"Space-Before : colon",
    b"Control: \x01\x02\x7f",
    b"Not-Ascii: \xff\xfe\xc3\x28",
    b"Folded: first\r\n  second",
    b"Bare: newline\nNext: line",
)


def reply(body: bytes, code: int, headers: Headers) -> Behaviour:
    """A whole answer, of the right length."""
    head = head_of(code, {"Content-Length": str(len(body)), **headers})
    return lambda exchange: exchange.finish(head, body)


def head_of(code: int, headers: Headers, version: str = "HTTP/1.1") -> bytes:
    reason = HTTPStatus(code).phrase if code in set(HTTPStatus) else "Unknown"
    lines = [f"{version} {code} {reason}", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


# Answers that keep to HTTP


def picture(
    body: bytes | None = None, content_type: str = JPEG, headers: Headers = NONE
) -> Behaviour:
    """200 and these bytes."""
    return reply(_or_sample(body), 200, {"Content-Type": content_type, **headers})


def cut(body: bytes | None = None, keep: float = 0.5) -> Behaviour:
    """The first part of a picture, sent as if it were all: HTTP is content, the decoder is not."""
    whole = _or_sample(body)
    return picture(whole[: int(len(whole) * keep)])


def status(code: int, body: bytes = b"", headers: Headers = NONE) -> Behaviour:
    """A status alone: `status(429, headers={"Retry-After": "1"})`."""
    return reply(body, code, headers)


def redirect(location: str, code: int = 302) -> Behaviour:
    """To a path or a whole URL. Loops are made of routes."""
    return status(code, headers={"Location": location})


def html(code: int = 200) -> Behaviour:
    """A web page that says it is a JPEG, as hosts send where a picture is gone."""
    page = b"<!DOCTYPE html><html><title>Gone</title><body>This picture is gone.</body></html>"
    return reply(page, code, {"Content-Type": JPEG})


def robots(directive: str = "noai", body: bytes | None = None) -> Behaviour:
    """A picture whose owner forbids some uses: `robots("noai, noimageai")`."""
    return picture(body, headers={"X-Robots-Tag": directive})


def bomb(side: int = 50_000) -> Behaviour:
    """A small PNG of very many pixels."""
    return lambda exchange: picture(png_bomb(side), "image/png")(exchange)


def gzip_bomb(megabytes: int = 256) -> Behaviour:
    """A small body whose Content-Encoding unpacks to this much."""
    headers = {"Content-Encoding": "gzip"}
    return lambda exchange: picture(gzip_of_zeros(megabytes), headers=headers)(exchange)


def chunked(body: bytes | None = None, piece: int = 1000) -> Behaviour:
    """A picture by Transfer-Encoding: chunked, well done."""
    whole = _or_sample(body)
    parts = [whole[start : start + piece] for start in range(0, len(whole), piece)]
    head = head_of(200, {"Content-Type": JPEG, "Transfer-Encoding": "chunked"})
    return lambda exchange: exchange.finish(head, b"".join(map(_chunk, [*parts, b""])))


def many(count: int) -> Behaviour:
    """Any path that ends in /N.jpg: sample picture N where N is below the count, else 404."""
    jpeg_head()  # the strips are made now, not at the first request
    missing = status(404)

    def answer(exchange: Exchange) -> Awaitable[None] | None:
        name = exchange.path.rpartition("/")[2].removesuffix(".jpg")
        if not name.isdecimal() or int(name) >= count:
            return missing(exchange)
        body = sample(int(name))
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
        return exchange.finish(head % len(body), body)

    return answer


# Behaviours made of others


def first(count: int, behaviour: Behaviour, then: Behaviour) -> Behaviour:
    """One behaviour for the first requests of a target, another for later ones."""
    return lambda exchange: (behaviour if exchange.number <= count else then)(exchange)


def by_query(choose: Callable[[str], Behaviour]) -> Behaviour:
    """The behaviour that `choose` gives for the query, which is the text after `?`, or ""."""
    return lambda exchange: choose(exchange.query)(exchange)


def slow(seconds: float, behaviour: Behaviour | None = None) -> Behaviour:
    """Waits before the first byte."""
    behaviour = behaviour or picture()

    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        rest = behaviour(exchange)
        if rest is not None:
            await rest

    return answer


# Answers that never come, or never end


def never() -> Behaviour:
    """Takes the request and says nothing until the client goes."""
    return lambda exchange: asyncio.Event().wait()


def drip(body: bytes | None = None, seconds_between: float = 0.1, piece: int = 1) -> Behaviour:
    """The head at once, then byte by byte."""
    whole = _or_sample(body)
    head = head_of(200, {"Content-Type": JPEG, "Content-Length": str(len(whole))})

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head)
        for start in range(0, len(whole), piece):
            await asyncio.sleep(seconds_between)
            part = whole[start : start + piece]
            if start + piece < len(whole):
                await exchange.send(part)
            else:
                exchange.finish_with(part)

    return answer


def stall(body: bytes | None = None, sent: int = 1000) -> Behaviour:
    """The head and the first bytes, and then nothing until the client goes."""
    whole = _or_sample(body)
    head = head_of(200, {"Content-Type": JPEG, "Content-Length": str(len(whole))})

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head + whole[:sent])
        await asyncio.Event().wait()

    return answer


def endless(content_type: str = JPEG, in_chunks: bool = True) -> Behaviour:
    """A JPEG's head and zeros, as fast as the client takes them, until it goes."""
    headers = {"Content-Type": content_type}
    headers |= {"Transfer-Encoding": "chunked"} if in_chunks else {"Connection": "close"}
    head = head_of(200, headers)
    wrap = _chunk if in_chunks else bytes

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head + wrap(jpeg_head()))
        zeros = wrap(bytes(PIECE))
        while True:
            await exchange.send(zeros)

    return answer


# Answers that break HTTP


def reset() -> Behaviour:
    """RST instead of an answer."""
    return lambda exchange: exchange.reset()


def reset_midway(body: bytes | None = None, sent: int | None = None) -> Behaviour:
    """The head, some of the body (half of it by default), and RST."""
    whole = _or_sample(body)
    head = head_of(200, {"Content-Type": JPEG, "Content-Length": str(len(whole))})
    part = whole[: len(whole) // 2 if sent is None else sent]

    async def answer(exchange: Exchange) -> None:
        for start in range(0, len(part), PIECE):
            await exchange.send((b"" if start else head) + part[start : start + PIECE])
        await asyncio.sleep(0.02)  # RST throws away what has not arrived
        exchange.reset()

    return answer


def hang_up() -> Behaviour:
    """Closes in order without a byte, as hosts do with a connection kept alive for too long."""
    return lambda exchange: exchange.hang_up()


def wrong_length(body: bytes | None = None, more: int = 100) -> Behaviour:
    """A Content-Length that is larger than what is sent, or smaller if `more` is negative; then
    the connection is closed."""
    whole = _or_sample(body)
    head = head_of(200, {"Content-Type": JPEG, "Content-Length": str(len(whole) + more)})

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head + whole)
        exchange.hang_up()

    return answer


def raw(data: bytes) -> Behaviour:
    """These bytes instead of an answer, and the connection is closed."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.hang_up()

    return answer


def http_1_0(body: bytes | None = None) -> Behaviour:
    """HTTP/1.0 without a length: the answer ends where the connection does. No fault, only old."""
    whole = _or_sample(body)
    head = head_of(200, {"Content-Type": JPEG}, "HTTP/1.0")

    def answer(exchange: Exchange) -> Awaitable[None] | None:
        exchange.hang_up()
        return exchange.finish(head, whole)

    return answer


def bad_headers(body: bytes | None = None, lines: tuple[bytes, ...] = BAD_LINES) -> Behaviour:
    """A picture with these lines among its headers."""
    whole = _or_sample(body)
    head = head_of(200, {"Content-Type": JPEG, "Content-Length": str(len(whole))})
    worse = b"\r\n".join([head[:-4], *lines, b"", b""])
    return lambda exchange: exchange.finish(worse, whole)


def oversized_header(size: int = 1 << 20, body: bytes | None = None) -> Behaviour:
    """A picture with a header line of this many bytes."""
    return picture(body, headers={"X-Large": "x" * size})


def garbage(size: int = 2000) -> Behaviour:
    """Bytes that are no HTTP, and no line end among them."""
    return raw(bytes(128 + (number * 73 + 29) % 128 for number in range(size)))


def _or_sample(body: bytes | None) -> bytes:
    return sample() if body is None else body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
