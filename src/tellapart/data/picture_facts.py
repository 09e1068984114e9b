"""Cheap facts about a picture, computed while it is decoded anyway: a thumbnail and a few numbers.

They are kept beside the features (`training/feature_cache.py`), so that a check decodes no picture again.
All of it is Pillow's C over a picture of about 65,536 px; `docs/benchmarks.md` has the cost.

They know nothing of what is shown. Brightness is of the encoded values, as the eye judges it, and not
of light; colour counts in the thumbnail alone.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import numpy as np
from PIL import Image, ImageChops

from tellapart.data.images import Picture

__all__ = ["FACT", "LEAST_SIDE", "SIDE", "picture_facts"]

SIDE: Final = 48
"""Of the thumbnail, px. It shows the whole picture, squeezed into a square."""

LEAST_SIDE: Final = 256
"""Px along the shorter side that a picture decoded at a smaller scale must keep for its facts."""

FACT: Final = np.dtype(
    [
        ("width", "<u4"),  # px, of the whole picture, upright
        ("height", "<u4"),
        ("bytes", "<u4"),  # of the file
        ("format", "S8"),  # of the content: JPEG, PNG …
        ("orientation", "u1"),  # of EXIF, 1 to 8; 1 is upright
        ("exif", "?"),  # whether it has EXIF data
        ("alpha", "?"),  # whether it has an alpha channel or a transparent colour
        ("darkest", "<f4"),  # brightness in [0, 1] that 0.1 % of the pixels are at most
        ("dark", "<f4"),  # … 1 %
        ("light", "<f4"),  # … 99 %
        ("lightest", "<f4"),  # … 99.9 %
        ("edge", "<f4"),  # the steepest step of brightness per px, of a picture of 256 × 256 px
        ("entropy", "<f4"),  # of the brightness's histogram, in bits, 0 to 8
        ("thumbnail", "u1", (SIDE, SIDE, 3)),
    ]
)
"""A record for each picture, fixed in length, so that N of them are one array."""

_WORKING_SIDE = 256  # px, about the square root of the area that the numbers are taken from
_MOST_READ = 400  # likewise; of a larger picture every second (third …) row and column is looked at
_STEEP = 0.998  # all but 0.2 % of the steps between neighbours are smaller


def picture_facts(content: bytes, picture: Picture) -> np.void:
    """What the bytes of a file and the picture in them say; a record of `FACT`.

    `picture` comes from `read_picture`, decoded whole or so that `LEAST_SIDE` px are left.

    >>> from io import BytesIO
    >>> from tellapart.data.images import read_picture
    >>> file = BytesIO()
    >>> Image.linear_gradient("L").save(file, "PNG")
    >>> facts = picture_facts(file.getvalue(), read_picture(file))
    >>> facts["format"].decode(), int(facts["width"]), round(float(facts["light"]), 2)
    ('PNG', 256, 0.99)
    """
    small = _reduced(picture.pixels)
    grey = small.convert("L")
    darkest, dark, light, lightest = _quantiles(grey, (0.001, 0.01, 0.99, 0.999))
    record = np.zeros(1, FACT)
    record["width"], record["height"] = picture.width, picture.height
    record["bytes"], record["format"] = len(content), picture.format.encode()
    record["orientation"], record["exif"] = picture.orientation, picture.exif
    record["alpha"] = picture.alpha
    record["darkest"], record["dark"] = darkest / 255, dark / 255
    record["light"], record["lightest"] = light / 255, lightest / 255
    record["edge"] = _steepest(grey) / 255
    record["entropy"] = grey.entropy()
    thumbnail = small.resize((SIDE, SIDE), Image.Resampling.BOX)  # the mean of each part, exactly
    record["thumbnail"] = np.frombuffer(thumbnail.tobytes(), np.uint8).reshape(SIDE, SIDE, 3)
    return record[0]


def _reduced(pixels: Image.Image) -> Image.Image:
    """By whole numbers, to about `_WORKING_SIDE` squared; a smaller one stays as it is."""
    side = (pixels.width * pixels.height) ** 0.5
    step = int(side / _MOST_READ)
    if step > 1:
        size = (max(1, pixels.width // step), max(1, pixels.height // step))
        pixels = pixels.resize(size, Image.Resampling.NEAREST)
    factor = round(side / max(1, step) / _WORKING_SIDE)
    return pixels.reduce(factor) if factor > 1 else pixels


def _steepest(grey: Image.Image) -> float:
    """The steepest step of brightness from a pixel to its lower right neighbour, in 1 / 255.

    Scaled to a picture of `_WORKING_SIDE` squared, so that it says the same at every size.
    """
    width, height = grey.size
    if width == 1 or height == 1:
        return 0.0
    here, there = grey.crop((0, 0, width - 1, height - 1)), grey.crop((1, 1, width, height))
    (steepest,) = _quantiles(ImageChops.difference(here, there), (_STEEP,))
    return float(steepest * (width * height) ** 0.5 / _WORKING_SIDE)


def _quantiles(grey: Image.Image, shares: Sequence[float]) -> list[int]:
    """The least levels, 0 to 255, that these shares of the pixels are at most."""
    sums = list(accumulate(grey.histogram()))  # 256 numbers: NumPy would cost more
    return [bisect_left(sums, share * sums[-1]) for share in shares]
