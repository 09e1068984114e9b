"""What was just read from URLs, kept for who hashed it: a picture is hashed first and decoded later.

Bounded in bytes and in time, and each is given once. It may have changed since, so that it is for those
alone who compare the hash.
"""

import threading
import time
from collections import OrderedDict
from typing import Final

__all__ = ["keep", "take"]

_MOST_BYTES: Final = 128 << 20
_MOST_SECONDS: Final = 600.0

_kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
_lock = threading.Lock()
_size = 0


def keep(name: str, content: bytes) -> None:
    """Keep the bytes of `name`; the oldest go where there is no room, and what is too large is not kept."""
    global _size
    with _lock:
        _forget(name)
        _forget_old()
        if len(content) > _MOST_BYTES // 4:
            return
        _kept[name] = time.monotonic(), content
        _size += len(content)
        while _size > _MOST_BYTES:
            _forget(next(iter(_kept)))


def take(name: str) -> bytes | None:
    """The bytes of `name` where they are kept, which they are no longer then.

    >>> keep("s3://bucket/cat.jpg", b"cat")
    >>> take("s3://bucket/cat.jpg"), take("s3://bucket/cat.jpg")
    (b'cat', None)
    """
    with _lock:
        found = _forget(name)
    return found[1] if found and time.monotonic() - found[0] < _MOST_SECONDS else None


def _forget_old() -> None:
    early = time.monotonic() - _MOST_SECONDS
    while _kept and next(iter(_kept.values()))[0] < early:
        _forget(next(iter(_kept)))


def _forget(name: str) -> tuple[float, bytes] | None:
    global _size
    found = _kept.pop(name, None)
    if found is not None:
        _size -= len(found[1])
    return found
