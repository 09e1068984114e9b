"""One request: an answer that is bounded in bytes and seconds, on disk, or the reason why there is none.

A body of more than half a mebibyte goes to a file piece by piece, so that memory does not grow with it,
and what cannot be a picture by its first bytes is not received further. Redirects are answers, not
followed here. Whether the body is a picture is seen later.
"""

import socket
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import version
from io import FileIO
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from tellapart.data.gather.addresses import REFUSED, open_guarded_socket
from tellapart.data.gather.claim import unwritable
from tellapart.data.gather.options import GatherOptions
from tellapart.data.gather.robots import refused_by_robots
from tellapart.data.gather.store import write_all
from tellapart.data.gather.urls import BadLink, request_url
from tellapart.data.images import check_head
from tellapart.errors import ImageError

__all__ = ["HOST_FAILS", "Body", "Fault", "Redirect", "fetch", "is_passing"]

_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 529, 530)
HOST_FAILS = "host does not answer"
_PASSING = (
    HOST_FAILS,
    "timeout",
    "connection failed",
    "connection broken",
    "incomplete",
    "name not found",
)
_HEAD = 32  # bytes that tell whether it can be a picture
_IN_MEMORY = 1 << 19  # bytes of a body that are held; so many times the concurrency is the bound


@dataclass(frozen=True, slots=True)
class Body:
    """A whole body of `size` bytes: here, or where `content` is None in the file."""

    http_status: int
    size: int
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another address has it."""

    http_status: int
    to: str


class Fault(Exception):
    """Why nothing came: a short reason, details for people, and whether a retry may help."""

    def __init__(
        self,
        reason: str,
        detail: str = "",
        *,
        http_status: int | None = None,
        again: bool = False,
        wait: float | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.http_status = http_status
        self.again = again
        self.wait = wait
        self.size = size


def is_passing(reason: str, http_status: int | None) -> bool:
    """Whether a failure may be over another day, such as a timeout; a 404 is for good."""
    return reason in _PASSING or (reason.startswith("HTTP ") and http_status in _PASSING_STATUS)


async def fetch(
    session: aiohttp.ClientSession, url: str, file: Path, options: GatherOptions
) -> Body | Redirect:
    """Ask for `url` once; a large body is in `file` then.

    Raises Fault where it did not come, DatasetError where it cannot be written.
    """
    status: int | None = None
    try:
        async with session.get(URL(url, encoded=True), allow_redirects=False) as response:
            status = response.status
            if status in _REDIRECTS:
                return Redirect(status, _location(response, url))
            _check_answer(response, options)
            size, content = await _receive(response, file, options.max_bytes)
            return Body(status, size, content)
    except ImageError as error:
        raise Fault(error.reason, error.detail, http_status=status) from None
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
        raise _network_fault(error, status, options) from None


def _check_answer(response: aiohttp.ClientResponse, options: GatherOptions) -> None:
    status = response.status
    if status != 200:
        raise Fault(
            f"HTTP {status}",
            _phrase(status),
            http_status=status,
            again=status in _PASSING_STATUS,
            wait=_retry_after(response.headers.get("Retry-After", "")),
        )
    said = response.headers.getall("X-Robots-Tag", [])
    if not options.ignore_robots and (word := refused_by_robots(said)):
        raise Fault("refused by robots tag", f"X-Robots-Tag: {word}", http_status=status)
    length = response.content_length
    if length is not None and length > options.max_bytes:
        text = f"{length:,} bytes; at most {options.max_bytes:,} are taken"
        raise Fault("too large", text, http_status=status, size=length)


async def _receive(
    response: aiohttp.ClientResponse, file: Path, most: int
) -> tuple[int, bytes | None]:
    """The size of the body in bytes; and the body itself, or None where it went into `file`."""
    pieces = _Inflate(response.headers.get("Content-Encoding", ""))
    size, head, checked = 0, b"", False
    with _Sink(file) as sink:
        async for chunk in response.content.iter_any():
            for piece in pieces.of(chunk):
                if not checked:
                    head += piece[:_HEAD]
                    if checked := len(head) >= _HEAD:
                        check_head(head)
                size += len(piece)
                if size > most:
                    text = f"more than {most:,} bytes came"
                    raise Fault("too large", text, http_status=response.status, size=size)
                sink.write(piece)
        if not size:
            raise Fault("empty", "0 bytes came", http_status=response.status, size=0)
        return size, sink.content()


class _Sink:
    """Where a body goes: into memory, and from half a mebibyte on into a file, whose errors are told apart
    from those of the network."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces: list[bytes] = []
        self._held = 0
        self._file: FileIO | None = None

    def __enter__(self) -> "_Sink":
        return self

    def write(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held += len(piece)
        if self._file is not None or self._held > _IN_MEMORY:
            self._spill()

    def content(self) -> bytes | None:
        return b"".join(self._pieces) if self._file is None else None

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = FileIO(self._path, "w")
            for piece in self._pieces:
                write_all(self._file, piece)
        except OSError as error:
            raise unwritable(self._path.parent.parent, error) from None
        self._pieces.clear()

    def __exit__(self, kind: object, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._file is not None and kind is not None:
            self._path.unlink(missing_ok=True)


class _Inflate:
    """Bodies that a server compressed although it was asked not to, in pieces of bounded size."""

    _MOST = 1 << 18

    def __init__(self, encoding: str) -> None:
        name = encoding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise Fault("unknown encoding", f"Content-Encoding: {name}")
        self._inflate = zlib.decompressobj(47) if name not in ("", "identity") else None
        self._bare = name == "deflate"  # many servers leave zlib's header out

    def of(self, chunk: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            yield chunk
            return
        try:
            while chunk:
                yield self._inflated(self._inflate, chunk)
                chunk = self._inflate.unconsumed_tail or self._inflate.unused_data
                if self._inflate.eof:  # gzip may have several members; else padding follows
                    if not chunk.startswith(b"\x1f\x8b"):
                        return
                    self._inflate = zlib.decompressobj(47)
        except zlib.error as error:
            raise Fault("damaged", f"its compression: {error}") from None

    def _inflated(self, inflate: "zlib._Decompress", chunk: bytes) -> bytes:
        try:
            return inflate.decompress(chunk, self._MOST)
        except zlib.error:
            if not self._bare:
                raise
            self._inflate = zlib.decompressobj(-15)
            return self._inflate.decompress(chunk, self._MOST)
        finally:
            self._bare = False


def _location(response: aiohttp.ClientResponse, url: str) -> str:
    place = response.headers.get("Location", "")
    if not place:
        raise Fault("bad redirect", "no Location", http_status=response.status)
    try:
        return request_url(urljoin(url, place))
    except BadLink as error:
        text = f"to {place[:200]}: {error.reason}"
        raise Fault("bad redirect", text, http_status=response.status) from None


def _network_fault(error: Exception, status: int | None, options: GatherOptions) -> Fault:
    text = str(getattr(error, "os_error", error)) or type(error).__name__
    if isinstance(error, TimeoutError):
        return Fault("timeout", f"no whole answer within {options.timeout:g} s", http_status=status)
    if REFUSED in text:
        return Fault(REFUSED, f"{text[text.index(REFUSED) :]}; --allow-private would ask it")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        again = getattr(error.os_error, "errno", None) == socket.EAI_AGAIN
        return Fault("name not found", f"the name {error.host} leads nowhere", again=again)
    if isinstance(error, aiohttp.ClientSSLError):
        return Fault("TLS failed", text)
    if isinstance(error, aiohttp.ClientConnectorError):
        return Fault("connection failed", text, again=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return Fault("incomplete", "the connection ended early", http_status=status, again=True)
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | OSError):
        return Fault("connection broken", text, http_status=status, again=True)
    reason = "not a URL" if isinstance(error, aiohttp.InvalidURL) else "bad answer"
    return Fault(reason, text[:300], http_status=status)


def _retry_after(text: str) -> float | None:
    """Seconds that a server asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError):
        return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def new_session(options: GatherOptions) -> aiohttp.ClientSession:
    """A session that keeps no cookies, follows nothing, and says who it is."""
    guard = None if options.allow_private else open_guarded_socket
    agent = (
        options.user_agent
        or f"tellapart/{version('tellapart')} (gathers pictures from lists of links)"
    )
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # the schedule bounds them
            resolver=aiohttp.ThreadedResolver(),
            socket_factory=guard,
        ),
        timeout=aiohttp.ClientTimeout(total=options.timeout),
        headers={
            "User-Agent": agent,
            "Accept": "image/jpeg, image/png, image/webp, image/*;q=0.9, */*;q=0.1",
            "Accept-Encoding": "identity",
        },
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
