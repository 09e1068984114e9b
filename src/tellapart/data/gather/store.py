"""A file on disk: is it a whole picture, how large, with which content; and a smaller copy if asked for."""

import errno
import hashlib
import itertools
import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path

from PIL import Image

from tellapart.data.images import MOST_BYTES, Picture, read_picture
from tellapart.errors import ImageError

__all__ = [
    "Verified",
    "encode_copy",
    "keep",
    "verify_file",
    "verify_picture",
    "write_all",
    "write_copy",
]

_SUFFIXES = {
    "JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp",
    "TIFF": ".tif", "AVIF": ".avif", "PPM": ".ppm", "ICO": ".ico",
}  # fmt: skip
_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF")
_NAMES = {".jpg": (".jpg", ".jpeg", ".jpe", ".jfif"), ".png": (".png",)}
_QUALITY = 92  # of stored copies; at 500 px the difference to the original cannot be seen


@dataclass(frozen=True, slots=True)
class Verified:
    """A whole picture: its content's hash (64 hexadecimal digits), sizes, and the suffix of its format."""

    bytes: int
    width: int
    height: int
    sha256: str
    suffix: str

    def is_small(self, side: int) -> bool:
        """Whether its shorter side is less than `side` px."""
        return min(self.width, self.height) < side


def verify_file(file: Path, name: str) -> Verified:
    """What a picture file holds, after every byte of it was decoded.

    Raises ImageError where it holds no picture, or not a whole one.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe would be waited for
            raise ImageError(name, "not a file", "expected a picture file")
        with file.open("rb") as opened:
            if (size := os.fstat(opened.fileno()).st_size) > MOST_BYTES:
                raise ImageError(name, "too large", f"{size:,} bytes; at most {MOST_BYTES:,}")
            if not size:
                raise ImageError(name, "empty", "the file has 0 bytes; fetch it again")
            return verify_picture(opened, size, name)[0]
    except FileNotFoundError:
        raise ImageError(name, "missing", "there is no such file") from None
    except OSError as error:
        raise ImageError(name, "cannot be read", error.strerror or str(error)) from None


def verify_picture(
    source: BufferedReader | BytesIO,
    size: int,
    name: str,
    *,
    max_size: int | None = None,
    min_side: int = 1,
) -> tuple[Verified, bytes | None]:
    """The same from `size` bytes that can be read; and the content of a copy, where the longer side is
    more than `max_size` px and the shorter one at least `min_side`: the facts are the copy's then."""
    # At an eighth a JPEG takes a third of the time; all its bytes are read all the same.
    picture = read_picture(source, name, shorter_side=max_size or 1)
    large = max_size is not None and max(picture.width, picture.height) > max_size
    if max_size is not None and large and min(picture.width, picture.height) >= min_side:
        return _copied(picture, max_size)
    source.seek(0)
    digest = hashlib.file_digest(source, "sha256").hexdigest()
    suffix = _SUFFIXES.get(picture.format, ".jpg")
    return Verified(size, picture.width, picture.height, digest, suffix), None


def _copied(picture: Picture, max_size: int) -> tuple[Verified, bytes]:
    content, suffix, (width, height) = encode_copy(picture, max_size)
    digest = hashlib.sha256(content).hexdigest()
    return Verified(len(content), width, height, digest, suffix), content


def encode_copy(picture: Picture, max_size: int | None) -> tuple[bytes, str, tuple[int, int]]:
    """A picture anew as upright RGB, its longer side at most `max_size` px: JPEG where it came with
    losses, PNG where without. Gives the content, the suffix and (width, height)."""
    pixels = picture.pixels
    if max_size is not None and max(pixels.size) > max_size:
        scale = max_size / max(picture.width, picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        pixels = pixels.resize(size, Image.Resampling.LANCZOS)
    content = BytesIO()
    lossy = picture.format in _LOSSY
    if lossy:
        pixels.save(content, "JPEG", quality=_QUALITY)
    else:
        pixels.save(content, "PNG")
    return content.getvalue(), ".jpg" if lossy else ".png", pixels.size


def keep(part: Path, content: bytes | None, places: Sequence[Path]) -> None:
    """Put `content`, or where it is None the file `part`, at every place, each whole or not at all.

    `part` is where the content is written first, on the same disk, and is gone afterwards.
    """
    if content is not None:
        with FileIO(part, "w") as opened:
            write_all(opened, content)
    *others, last = places
    for place in others:
        beside = part.with_name(f"{part.name}-copy")
        shutil.copyfile(part, beside)
        _move(beside, place)
    _move(part, last)


def write_all(opened: FileIO, content: bytes) -> None:
    """All of it into an unbuffered file; raises OSError on a disk that is full."""
    if opened.write(content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _move(file: Path, place: Path) -> None:
    """What is at the place already has the same name, so the same content, unless somebody edited it,
    which stays, or it has gone bad."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_file() and (_holds_its_name(place) or _is_picture(place)):
        file.unlink()
        return
    try:
        file.replace(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = place.with_name(f".{place.name}")  # the class folder is a link to another disk
        shutil.copyfile(file, beside)
        beside.replace(place)
        file.unlink()


def _holds_its_name(place: Path) -> bool:
    """Whether its content is the one it is named after; much cheaper than decoding it."""
    with place.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == place.stem


def _is_picture(file: Path) -> bool:
    try:
        verify_file(file, file.name)
    except ImageError:
        return False
    return True


def write_copy(file: Path, target: Path, max_size: int | None) -> tuple[Path, Verified]:
    """A clean copy of a verified file at `target`, whose name gets a suffix where the format changes,
    and a number where that name is taken. A plain JPEG or PNG of the right size stays byte for byte.

    Raises OSError, and ImageError where the file has changed since it was verified.
    """
    with file.open("rb") as opened:
        picture = read_picture(opened, str(file), shorter_side=max_size)
    fits = max_size is None or max(picture.width, picture.height) <= max_size
    suffix = ""
    if fits and picture.plain and picture.format in ("JPEG", "PNG"):
        content, size = file.read_bytes(), (picture.width, picture.height)
    else:
        content, kind, size = encode_copy(picture, max_size)
        suffix = "" if target.suffix.lower() in _NAMES[kind] else kind
    target.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        stem = (
            f"{target.name}{suffix}"
            if number == 1
            else f"{target.stem}-{number}{suffix or target.suffix}"
        )
        place = target.with_name(stem)
        try:
            with place.open("xb") as written:
                written.write(content)
            break
        except FileExistsError:
            continue
    digest = hashlib.sha256(content).hexdigest()
    return place, Verified(len(content), *size, digest, suffix)
