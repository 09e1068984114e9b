"""Pictures for the page: always decoded and encoded anew, so that no byte of a file reaches a browser.

What is shown is what was judged: a file that has changed since, or that cannot be read, is drawn as a
placeholder.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

from tellapart.data.images import decode, read_bytes
from tellapart.errors import ImageError

__all__ = ["FULL", "THUMB", "Pictures", "Shown"]

THUMB: Final = 256
FULL: Final = 1600
"""The longer side at most, in px."""

_QUALITY = 85
_MOST_BYTES = 96 << 20
_AT_ONCE = 2  # pictures that are decoded: a large one may take a gigabyte


@dataclass(frozen=True)
class Shown:
    """The bytes of a JPEG, and whether they show the picture or stand in its place."""

    jpeg: bytes
    readable: bool


class Pictures:
    """The pictures at `paths` below `root`, whose contents had the hashes `sha256`, as JPEGs.

    The ones that were asked for last are kept in memory, up to `most_bytes`. May be used from several
    threads.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        sha256: Sequence[str],
        *,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._root, self._paths, self._sha256 = root, paths, sha256
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[int, int], Shown] = OrderedDict()
        self._lock = threading.Lock()  # of what is kept
        self._decoding = threading.BoundedSemaphore(_AT_ONCE)

    def tag(self, row: int, side: int) -> str:
        """What names the picture at this size in caches: another content has another."""
        return f'"{self._sha256[row]}-{side}"'

    def shown(self, row: int, side: int) -> Shown:
        """The picture of a row within `side` × `side` px, never enlarged."""
        key = row, side
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._decoding:
            shown = self._draw(row, side)
        if shown.readable:  # the others may be mended
            with self._lock:
                self._keep(key, shown)
        return shown

    def _keep(self, key: tuple[int, int], shown: Shown) -> None:
        if key in self._kept:
            return
        self._kept[key] = shown
        self._bytes += len(shown.jpeg)
        while self._bytes > self._most_bytes and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.jpeg)

    def _draw(self, row: int, side: int) -> Shown:
        path = self._paths[row]
        try:
            content = read_bytes(self._root / path, path)
            if hashlib.sha256(content).hexdigest() != self._sha256[row]:
                raise ImageError(path, "changed", "the file has changed since it was looked at")
            image = decode(content, path, shorter_side=side)
        except ImageError:
            return Shown(_jpeg(_placeholder()), readable=False)
        image.thumbnail((side, side))
        return Shown(_jpeg(image), readable=True)


def _jpeg(image: Image.Image) -> bytes:
    image.info = {}  # Pillow would write a comment on
    raw = BytesIO()
    image.save(raw, "JPEG", quality=_QUALITY)
    return raw.getvalue()


def _placeholder() -> Image.Image:
    """A grey card with a cross."""
    image = Image.new("RGB", (THUMB, THUMB), "#d8d8d8")
    draw = ImageDraw.Draw(image)
    near, far = THUMB // 4, THUMB - THUMB // 4
    for ends in ((near, near, far, far), (near, far, far, near)):
        draw.line(ends, fill="#8a8a8a", width=6)
    return image
