"""The same picture as files of every kind that users have, so that an export is held against all of them."""

from collections.abc import Callable, Mapping
from io import BytesIO
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from PIL import Image

__all__ = ["KINDS", "as_kind"]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_ORIENTATION = 0x0112


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _odd(image: Image.Image, turn: int) -> bytes:
    """Sides that no block of a JPEG divides, its colours at half the resolution."""
    width, height = (max(1, side - 1 - side % 2) for side in image.size)
    return _saved(image.crop((0, 0, width, height)), "JPEG", quality=88, subsampling=2)


def _tall(image: Image.Image, turn: int) -> bytes:
    """A strip of it, two and a half times as high as wide, or lying: shapes for which resizing is hardest."""
    width, height = image.size
    side = max(1, round(min(width, height) / 2.5))
    strip = (0, 0, side, min(height, round(2.5 * side)))
    if turn % 2:
        strip = (0, 0, min(width, round(2.5 * side)), side)
    return _saved(image.crop(strip), "JPEG", quality=92)


def _tiny(image: Image.Image, turn: int) -> bytes:
    small = image.copy()
    small.thumbnail((40, 40))
    return _saved(small, "PNG", compress_level=1)


def _progressive(image: Image.Image, turn: int) -> bytes:
    return _saved(image, "JPEG", quality=80, progressive=True)


def _turned(image: Image.Image, turn: int) -> bytes:
    """Stored lying or mirrored, with the orientation in its EXIF data."""
    orientation = 2 + turn % len(_TURNS)
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return _saved(image.transpose(_TURNS[orientation]), "JPEG", quality=92, exif=exif)


def _grey(image: Image.Image, turn: int) -> bytes:
    return _saved(image.convert("L"), "JPEG", quality=90)


def _cmyk(image: Image.Image, turn: int) -> bytes:
    return _saved(image.convert("CMYK"), "JPEG", quality=92)


def _plain(image: Image.Image, turn: int) -> bytes:
    return _saved(image, "PNG", compress_level=1)


def _alpha(image: Image.Image, turn: int) -> bytes:
    """Fading away to one side."""
    ramp = np.linspace(255, 40, image.width).astype(np.uint8)
    alpha = Image.fromarray(np.broadcast_to(ramp, (image.height, image.width)).copy())
    faded = image.copy()
    faded.putalpha(alpha)
    return _saved(faded, "PNG", compress_level=1)


def _palette(image: Image.Image, turn: int) -> bytes:
    return _saved(image.quantize(64), "PNG", compress_level=1)


def _deep(image: Image.Image, turn: int) -> bytes:
    """Grey of 16 bits."""
    grey = np.asarray(image.convert("L"), np.uint16) * np.uint16(257)
    return _saved(Image.fromarray(grey), "PNG", compress_level=1)


def _webp(image: Image.Image, turn: int) -> bytes:
    return _saved(image, "WEBP", quality=85, method=0)


def _gif(image: Image.Image, turn: int) -> bytes:
    return _saved(image.quantize(128), "GIF")


KINDS: Final[Mapping[str, Callable[[Image.Image, int], bytes]]] = MappingProxyType(
    {
        "JPEG of odd size": _odd,
        "tall or wide JPEG": _tall,
        "tiny PNG": _tiny,
        "progressive JPEG": _progressive,
        "JPEG turned by EXIF": _turned,
        "grey JPEG": _grey,
        "CMYK JPEG": _cmyk,
        "PNG": _plain,
        "PNG with alpha": _alpha,
        "PNG with a palette": _palette,
        "PNG of 16 bits": _deep,
        "WebP": _webp,
        "GIF": _gif,
    }
)


def as_kind(image: Image.Image, kind: str, turn: int = 0) -> bytes:
    """A file of one of `KINDS` that shows the RGB picture; `turn` counts through the EXIF orientations.

    >>> as_kind(Image.new("RGB", (40, 30)), "grey JPEG")[:2]
    b'\\xff\\xd8'
    """
    return KINDS[kind](image, turn)
