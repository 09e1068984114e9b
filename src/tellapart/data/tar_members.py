"""Members of tar files, read where they lie: the picture `shards/train-000.tar/cat/1.jpg`.

The headers of a tar are read once; what they say, name, place and size, is kept for the tars that were
used last (`tar_index`). A member is then read by its place, of a URL as a range. Nothing is ever unpacked,
so a hostile name is just a name. Compressed tars have no places to read from, and are refused.
"""

import os
import re
import tarfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import SEEK_CUR, SEEK_SET
from pathlib import Path
from typing import Final

from tellapart.data.places import is_url
from tellapart.data.remote import read_url, stat_url
from tellapart.errors import ImageError

__all__ = ["Member", "TarIndex", "read_member", "split_tar", "tar_index"]

_TRUSTED_SECONDS: Final = 10.0  # else every member would cost a second request
_MOST_MEMBERS: Final = 2_000_000
_MOST_KEPT: Final = 2_000_000  # members of all tars that are kept, but for the last tar
_MOST_HEAD: Final = 1 << 18  # bytes that one header may have, long names included
_MOST_AFTER: Final = 1 << 20  # bytes behind the end mark that are looked at
_HEADER: Final = 512
_DIGITS: Final = re.compile(rb"[0-9]{400}")
_LEAST_BLOCK: Final = 64 << 10  # bytes of a remote tar that are read at a time
_MOST_BLOCK: Final = 4 << 20
_TAR: Final = re.compile(r"\.tar(?=/)", re.IGNORECASE)
_LABELS: Final = (".cls", ".txt", ".json")
_MOST_TEXT: Final = 4 << 10  # bytes of a label that is kept with the index
_MOST_TEXTS: Final = 16 << 20  # bytes of all of them in a tar
_COMPRESSED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")

Member = tuple[int, int]
"""Where a member's bytes begin in the tar, and how many there are."""


@dataclass(frozen=True)
class TarIndex:
    """The regular members of a tar by name. `twice` are names that stand there again, of which the first
    counts; `fault` says why not all could be read, and is empty where they could. `texts` are the short
    labels of a remote tar, which would cost a request each. `none` is why there is no tar behind a URL, which
    may be the folder x.tar."""

    members: Mapping[str, Member]
    twice: tuple[str, ...] = ()
    fault: str = ""
    texts: Mapping[str, bytes] = field(default_factory=dict)
    none: ImageError | None = None


def split_tar(name: str) -> tuple[str, str] | None:
    """The tar and the member that a path or URL names; None where it names none.

    A folder may be called x.tar too: of paths, the part before has to be a file.

    >>> split_tar("s3://bucket/train-000.tar/cat/1.jpg")
    ('s3://bucket/train-000.tar', 'cat/1.jpg')
    """
    for found in _TAR.finditer(name):
        tar, member = name[: found.end()], name[found.end() + 1 :]
        if member and (is_url(name) or Path(tar).is_file()):
            return tar, member
    return None


def read_member(tar: str, member: str, name: str, most: int) -> bytes:
    """The bytes of a member of the tar at a path or URL; at most `most`.

    Raises ImageError with the reason `missing`, `too large`, `empty`, `truncated`, `cannot be read`, or
    as `read_url` does.
    """
    index = _index(tar)
    if index.none is not None:
        return read_url(f"{tar}/{member}", most=most, name=name)
    place = index.members.get(member)
    if place is None:
        raise ImageError(name, "missing", index.fault or "the tar has no such member")
    start, size = place
    if size > most:
        raise ImageError(name, "too large", f"{size:,} bytes; at most {most:,} are read")
    if (text := index.texts.get(member)) is not None:
        return text
    if not size:
        raise ImageError(name, "empty", "the member has 0 bytes")
    if is_url(tar):
        return read_url(tar, start=start, length=size, most=most, name=name)
    try:
        with Path(tar).open("rb") as file:
            file.seek(start)
            content = file.read(size)
    except OSError as error:
        raise ImageError(name, "cannot be read", error.strerror or str(error)) from None
    if len(content) < size:
        raise ImageError(name, "truncated", "the tar ends early; fetch it again")
    return content


@dataclass(frozen=True)
class _Kept:
    """An index, the size and tag of the tar that it is of, and when these were last asked for."""

    index: TarIndex
    size: int
    tag: str
    asked: float


_indices: OrderedDict[str, _Kept] = OrderedDict()
_lock = threading.Lock()
_reading: dict[str, threading.Lock] = {}


def tar_index(tar: str) -> TarIndex:
    """What is in the tar at a path or URL; read anew when its size or date has changed.

    A server is asked whether they have every ten seconds, and one that tells nothing but sizes gives the
    headers anew then. Raises ImageError where it is no tar or cannot be read.
    """
    index = _index(tar)
    if index.none is not None:
        raise index.none.with_traceback(None)
    return index


def _index(tar: str) -> TarIndex:
    with _lock:
        turn = _reading.setdefault(tar, threading.Lock())
    with turn:  # many threads want the first picture of a shard at once
        try:
            return _kept_index(tar)
        finally:
            with _lock:
                _reading.pop(tar, None)


def _kept_index(tar: str) -> TarIndex:
    with _lock:
        if (found := _indices.get(tar)) is not None:
            _indices.move_to_end(tar)
    if found is not None and is_url(tar) and time.monotonic() - found.asked < _TRUSTED_SECONDS:
        return found.index
    asked = time.monotonic()
    try:
        size, tag, read = _opened(tar)
        same = found is not None and bool(tag) and (found.size, found.tag) == (size, tag)
        index = found.index if found is not None and same else _read_index(tar, size, read)
    except ImageError as error:
        if not is_url(tar) or error.reason not in ("missing", "not a file", "not a tar"):
            raise
        index, size, tag, same = TarIndex({}, none=error), 0, "", False
    with _lock:
        _indices[tar] = _Kept(index, size, tag, asked)
        _indices.move_to_end(tar)
        if not same:
            _forget_oldest()
    return index


def _forget_oldest() -> None:
    room = _MOST_KEPT - sum(map(_weight, _indices.values()))
    while room < 0 and len(_indices) > 1:
        room += _weight(_indices.popitem(last=False)[1])


def _weight(kept: _Kept) -> int:
    return max(100, len(kept.index.members))


Read = Callable[[int, int], bytes]
"""Some bytes of a file, by their place and number."""


def _opened(tar: str) -> tuple[int, str, Read]:
    if is_url(tar):
        stated = stat_url(tar)
        most = 2 * _MOST_BLOCK
        return (
            stated.size,
            stated.tag,
            lambda start, n: read_url(tar, start=start, length=n, most=most),
        )
    try:
        info = Path(tar).stat()
    except OSError as error:
        raise ImageError(tar, "cannot be read", error.strerror or str(error)) from None

    def read(start: int, count: int) -> bytes:
        with Path(tar).open("rb") as file:
            return os.pread(file.fileno(), count, start)

    return info.st_size, str(info.st_mtime_ns), read


def _read_index(tar: str, size: int, read: Read) -> TarIndex:
    members: dict[str, Member] = {}
    texts: dict[str, bytes] = {}
    twice: list[str] = []
    fault, last, room = "", -1, _MOST_TEXTS if is_url(tar) else 0
    file = _Blocks(size, read)
    try:
        for number, (name, place) in enumerate(_members(file, members)):
            if number >= _MOST_MEMBERS:
                fault = f"the tar has more than {_MOST_MEMBERS:,} members; the first are used"
                break
            if name in members:
                twice.append(name)
                continue
            members[name] = place
            ahead = place[0] > last  # and no link to what stands before
            last = max(last, place[0])
            if ahead and name.lower().endswith(_LABELS) and place[1] <= min(_MOST_TEXT, room):
                texts[name] = file.at(*place)
                room -= place[1]
    except (
        tarfile.TarError, EOFError, OSError, ValueError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        told = "headers within headers" if isinstance(error, RecursionError) else str(error)
        if not members:
            raise ImageError(tar, "not a tar", _seems(read, size, told)) from None
        fault = f"the tar is cut or damaged ({told}); what stands before is used"
    return TarIndex(members, tuple(twice), fault, texts)


def _members(file: "_Blocks", before: Mapping[str, Member]) -> Iterator[tuple[str, Member]]:
    """Those that are files, and hard links to those `before`. Raises ReadError where the tar goes on."""
    last = -1
    opened = tarfile.open(fileobj=file, mode="r:", errors="surrogateescape")  # type: ignore[call-overload]  # noqa: SIM115
    while (info := opened.next()) is not None:
        opened.members = []  # else it keeps all of them
        opened.pax_headers = {}  # else those for all that follows are copied for each
        if info.offset_data <= last or info.size < 0:
            raise tarfile.ReadError("a member that points backwards")
        last = info.offset_data
        name = info.name.removeprefix("./")
        if info.islnk() and (place := before.get(info.linkname.removeprefix("./"))) is not None:
            yield name, place
        elif info.isreg() and not info.issparse():
            if info.offset_data + info.size > file.size:
                raise tarfile.ReadError("it ends early")
            yield name, (info.offset_data, info.size)
    _check_end(file, opened.offset)


def _check_end(file: "_Blocks", end: int) -> None:
    """tarfile takes a damaged header, a cut one and none at all for the end of the tar."""
    mark = file.at(end, _HEADER)
    if len(mark) < _HEADER:
        raise tarfile.ReadError("it ends early")
    if any(mark):
        raise tarfile.ReadError(f"a damaged header at byte {end:,}")
    for start in range(end, min(end + _MOST_AFTER, file.size), _LEAST_BLOCK):
        if any(file.at(start, _LEAST_BLOCK)):
            raise tarfile.ReadError("more follows behind its end, as where two tars were joined")


def _seems(read: Read, size: int, error: str) -> str:
    head = read(0, min(6, size)) if size else b""
    if head.startswith(_COMPRESSED):
        return "it is compressed; unpack it to a plain .tar, whose members can be read in place"
    return error


class _Blocks:
    """A file for tarfile: headers are read in blocks, which grow while what follows is wanted too, so that
    a remote tar of small members takes few requests, and one of large members few bytes."""

    def __init__(self, size: int, read: Read) -> None:
        self.size, self._read = size, read
        self._at = self._start = 0
        self._block = b""
        self._step = _LEAST_BLOCK

    def read(self, count: int = -1) -> bytes:
        if count > _MOST_HEAD or count < 0:
            raise tarfile.ReadError(f"a header of more than {_MOST_HEAD:,} bytes")
        found = self._taken(count)
        if count > _HEADER and _DIGITS.search(found):  # tarfile's search takes their square
            raise tarfile.ReadError("a header of many digits")
        return found

    def _taken(self, count: int) -> bytes:
        end = min(self._at + count, self.size)
        if end <= self._at:
            return b""
        if not self._start <= self._at <= end <= self._start + len(self._block):
            self._load(end)
        found = self._block[self._at - self._start : end - self._start]
        self._at += len(found)
        return found

    def at(self, start: int, count: int) -> bytes:
        self.seek(start)
        return self._taken(count)

    def _load(self, end: int) -> None:
        after = self._start + len(self._block)
        near = after - _MOST_HEAD <= self._at < after + self._step
        self._step = min(2 * self._step, _MOST_BLOCK) if near else _LEAST_BLOCK
        stop = min(max(end, self._at + self._step), self.size)
        self._start, self._block = self._at, self._read(self._at, stop - self._at)

    def seek(self, place: int, whence: int = SEEK_SET) -> int:
        base = {SEEK_SET: 0, SEEK_CUR: self._at}.get(whence, self.size)
        self._at = base + place
        return self._at

    def tell(self) -> int:
        return self._at
