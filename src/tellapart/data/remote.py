"""Reading bytes from URLs, by way of fsspec: s3://, gs://, https://, file://, memory:// and others.

Of S3 and HTTP the body's length is compared with what was announced, in one request. Other file systems
are asked for the size first. Credentials are what each library finds in the environment; nothing
is handed to them here. Sizes and times are bounded; retries are made and counted in `retrying.py`.

Not known here: what a server does not say. A body without an announced length that ends early looks
whole; the decoder finds it then.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

from tellapart.data.places import image_refusal, is_url, joined
from tellapart.data.retrying import Cut, patiently
from tellapart.errors import DatasetError, ImageError, MissingExtra, UsageError

__all__ = ["Stated", "glob_url", "list_url", "read_table_url", "read_url", "stat_url", "write_url"]

_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 30.0  # between two pieces; TELLAPART_READ_TIMEOUT has another
_WHOLE_SECONDS: Final = 900.0
_CONNECTIONS: Final = 64  # to one server; more threads than that wait
_MOST_LISTED: Final = 5_000_000
_MOST_TABLE: Final = 1 << 30


@dataclass(frozen=True)
class Stated:
    """What a server says of a file: its size in bytes, and what changes when the file does."""

    size: int
    tag: str


def read_url(
    url: str, *, start: int = 0, length: int | None = None, most: int, name: str | None = None
) -> bytes:
    """The bytes of a file, or `length` of them from `start`; at most `most`.

    Raises ImageError with the reason `missing`, `not allowed`, `not reachable`, `too large`, `empty`,
    `holds a secret` or `cannot be read`; MissingExtra without fsspec.
    """
    name = name if name is not None else url
    image_refusal(url)
    files = _file_system(url, name)
    if length is not None and length < 1:
        return b""

    def read() -> bytes:
        content = _fetched(files, url, name, start, length, most)
        if length is not None and len(content) != length:
            raise Cut
        return content

    content = patiently(name, read)
    if not content:
        raise ImageError(name, "empty", "the file has 0 bytes")
    return content


def read_table_url(url: str) -> bytes:
    """The bytes of a table, at most 1 GiB. Raises DatasetError."""
    try:
        return read_url(url, most=_MOST_TABLE)
    except ImageError as error:
        raise DatasetError(f"{error}. Give the URL of a table") from None


def write_url(url: str, content: bytes) -> None:
    """Put a file there, which an object store shows when all of it has come. Raises ImageError."""
    image_refusal(url)
    files = _file_system(url, url)
    patiently(url, lambda: files.pipe_file(_inside(files, url), content))


def stat_url(url: str) -> Stated:
    """Raises ImageError like `read_url`."""
    image_refusal(url)
    files = _file_system(url, url)
    info = patiently(url, lambda: files.info(_inside(files, url)))
    if info.get("type") == "directory":
        raise ImageError(url, "not a file", "it is a folder; end it with / to mean what is in it")
    size = info.get("size")
    if not isinstance(size, int):
        raise ImageError(url, "cannot be read", "its server does not say how large it is")
    found = (info.get(key) for key in _TAGS)
    return Stated(size, str(next((value for value in found if value), "")))


_TAGS: Final = (
    "ETag", "etag", "LastModified", "Last-Modified", "Content-MD5", "Digest", "mtime", "created",
)  # fmt: skip
"""What file systems call that which changes when a file does."""


def list_url(url: str) -> list[str]:
    """The paths of the files below a folder, relative to it, sorted.

    Raises DatasetError where there are none, or too many to list.
    """
    look = _linked if url.partition("://")[0].lower() in ("http", "https") else _found
    return _listed(url, url.rstrip("/"), look)


def _found(files: Any, inside: str) -> list[str]:
    found: list[str] = files.find(inside)
    return found


def _linked(files: Any, top: str) -> list[str]:
    """What the pages of a web server link to, below. fsspec's own walk passes over folders that time out."""
    found: dict[str, bool] = {}
    waiting = [top]
    while waiting and len(found) <= _MOST_LISTED:
        page = waiting.pop()
        for info in patiently(page, partial(files.ls, page, detail=True)):
            name = info["name"].rstrip("/")
            if name in found or not name.startswith(f"{top}/"):
                continue
            found[name] = info["type"] == "directory"
            if found[name]:
                waiting.append(info["name"])
    return [name for name, is_folder in found.items() if not is_folder]


def glob_url(pattern: str) -> list[str]:
    """The URLs of the files that match a pattern with `*`, sorted. Raises DatasetError."""
    base = pattern.partition("*")[0].rpartition("/")[0]
    found = _listed(pattern, base, lambda files, _: files.glob(_inside(files, pattern)))
    return [joined(base, path) for path in found]


def _listed(asked: str, base: str, look: Any) -> list[str]:
    try:
        image_refusal(asked)
        files = _file_system(asked, asked)
        inside = _inside(files, base).rstrip("/")
        found = patiently(asked, lambda: look(files, inside))
    except ImageError as error:
        raise DatasetError(
            f"{error}. Give the URL of a folder that can be listed, or a table of URLs"
        ) from None
    if len(found) > _MOST_LISTED:
        raise DatasetError(
            f"{asked}: {len(found):,} files are more than can be listed; give a table or tar shards"
        )
    below = [str(path).removeprefix(inside).lstrip("/") for path in found]
    if not (names := sorted(name for name in below if name and not name.endswith("/"))):
        raise DatasetError(f"{asked}: no file is found there; look whether it is spelt right")
    return names


def _inside(files: Any, url: str) -> str:
    return str(files._strip_protocol(url))


def _file_system(url: str, name: str) -> Any:
    if not is_url(url) or "\0" in url:
        raise ImageError(name, "cannot be read", "expected a URL such as s3://bucket/cat.jpg")
    protocol = url.partition("://")[0].lower()
    seconds = _read_seconds()
    try:
        own = tuple(sorted(pair for pair in os.environ.items() if pair[0].startswith("AWS_")))
        return _made(protocol, seconds, os.getpid(), own)
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error) or error from None
    except ImportError as error:
        package = _PACKAGES.get(protocol, "")
        detail = f"pip install {package}" if package else str(error)
        raise ImageError(
            name, "cannot be read", f"{protocol}:// needs a package: {detail}"
        ) from None
    except ValueError:
        known = "s3://, gs://, https://, file://"
        raise ImageError(name, "cannot be read", f"{protocol}:// is unknown; use {known}") from None


def _read_seconds() -> float:
    said = os.environ.get("TELLAPART_READ_TIMEOUT") or str(_READ_SECONDS)
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"TELLAPART_READ_TIMEOUT is {said!r}; expected seconds, such as 30")
    return seconds


_PACKAGES: Final = {
    "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs",
    "s3": '"tellapart[remote]"', "s3a": '"tellapart[remote]"', "sftp": "paramiko", "ssh": "paramiko",
    "http": "aiohttp", "https": "aiohttp", "hf": "huggingface_hub", "oss": "ossfs",
}  # fmt: skip
"""What the file systems that fsspec has not itself are installed with."""


@lru_cache(maxsize=16)
def _made(protocol: str, seconds: float, process: int, own: tuple[tuple[str, str], ...]) -> Any:
    """One for all threads of a process; after a fork, or with other credentials, a new one."""
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if protocol in ("s3", "s3a"):
        options["config_kwargs"] = {
            "retries": {"total_max_attempts": 1}, "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": seconds, "max_pool_connections": _CONNECTIONS,
        }  # fmt: skip
    if protocol in ("http", "https"):  # for listings and sizes too
        with suppress(ImportError):  # what follows names it
            from aiohttp import ClientTimeout

            patience = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=seconds)
            options["client_kwargs"] = {"timeout": patience}
    files = fsspec.filesystem(protocol, **options)
    if protocol in ("s3", "s3a"):
        files.retries = 1  # in listings; those of pictures do not pass there
    return files


def _fetched(files: Any, url: str, name: str, start: int, length: int | None, most: int) -> bytes:
    protocol = url.partition("://")[0].lower()
    fetch = _FETCHERS.get(protocol)
    if fetch is None:
        return _by_size(files, url, name, start, length, most)
    from fsspec.asyn import sync

    content: bytes = sync(
        files.loop, fetch, files, url, name, start, length, most, timeout=_WHOLE_SECONDS
    )
    return content


def _by_size(files: Any, url: str, name: str, start: int, length: int | None, most: int) -> bytes:
    inside = _inside(files, url)
    if length is None:
        info = files.info(inside)
        if info.get("type") == "directory":
            raise ImageError(name, "not a file", "expected a picture file")
        length = info.get("size")
        _check_size(length, name, most)
    content: bytes = files.cat_file(inside, start, None if length is None else start + length)
    if length is not None and len(content) != length:
        raise Cut
    return content


async def _from_s3(
    files: Any, url: str, name: str, start: int, length: int | None, most: int
) -> bytes:
    bucket, key, version = files.split_path(url)
    if not key:
        raise ImageError(name, "not a file", "it is a bucket; expected a picture file")
    asked = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
    if length is not None:
        asked["Range"] = f"bytes={start}-{start + length - 1}"
    await files.set_session()
    client = await files.get_s3(bucket)
    answer = await client.get_object(**asked, **files.req_kw)
    announced = answer["ContentLength"]
    async with answer["Body"] as body:
        _check_size(announced, name, most)
        content: bytes = await body.read()
    if len(content) != announced:
        raise Cut
    return content


async def _from_http(
    files: Any, url: str, name: str, start: int, length: int | None, most: int
) -> bytes:
    session = await files.set_session()
    headers = {"Accept-Encoding": "identity"}  # else the announced length is another
    if length is not None:
        headers["Range"] = f"bytes={start}-{start + length - 1}"
    async with session.get(files.encode_url(url), headers=headers) as answer:
        answer.raise_for_status()
        if length is not None and answer.status != 206:
            raise ImageError(name, "cannot be read", "its server gives no parts of a file")
        announced = answer.content_length
        _check_size(announced, name, most)
        content = bytearray()
        async for piece in answer.content.iter_chunked(1 << 18):
            content += piece
            _check_size(len(content), name, most)
    whole = announced is None or answer.headers.get("Content-Encoding")  # not to be told, then
    if not whole and len(content) != announced:
        raise Cut
    return bytes(content)


_FETCHERS: Final = {
    "s3": _from_s3, "s3a": _from_s3, "http": _from_http, "https": _from_http
}  # fmt: skip


def _check_size(size: int | None, name: str, most: int) -> None:
    if size is not None and size > most:
        raise ImageError(name, "too large", f"{size:,} bytes; at most {most:,} are read")
