"""Pictures mirrored, turned, tilted or zoomed into, as the network is to see them."""

import hashlib
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tellapart.errors import UsageError
from tellapart.model.preprocess import PreprocessSpec

__all__ = ["CHANGES", "ChangedView"]

CHANGES: Final = {
    "flip": "mirrored left to right",
    "vertical flip": "mirrored top to bottom",
    "quarter turn": "turned by 90° one way or the other",
    "tilt": "tilted by 10° one way or the other",
    "zoom": "cropped to the middle 75 % of each side",
}
"""The changes that can be judged, in words."""

_TILT = 10.0  # degrees
_ZOOM = 0.75
_PIXELS = 1  # to be raised when the changes below give other pixels


@dataclass(frozen=True)
class ChangedView:
    """Pictures seen with one of `CHANGES`; a `View` of `training/embed.py`.

    >>> import numpy as np
    >>> from PIL import Image
    >>> spec = PreprocessSpec(size=32, fit="squish")
    >>> image = Image.fromarray(np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3))
    >>> plain, flipped = spec.apply(image), ChangedView("flip").pixels(image, spec, "00")
    >>> bool((flipped == plain[..., ::-1]).all())
    True
    """

    change: str

    def __post_init__(self) -> None:
        if self.change not in CHANGES:
            raise UsageError(f"change {self.change!r} is unknown; choose from {', '.join(CHANGES)}")

    @property
    def key(self) -> str:
        """What tells it from other views."""
        return f"changed {self.change} {_PIXELS}"

    def pixels(
        self, image: Image.Image, preprocess: PreprocessSpec, sha256: str
    ) -> NDArray[np.float32]:
        """The network's input, float32 (1, 3, S, S); the hash says which way to turn."""
        seed = hashlib.sha256(f"{self.change} {sha256}".encode()).digest()[0]
        return preprocess.apply(_changed(image, self.change, seed % 2 == 0, preprocess))


def _changed(
    image: Image.Image, change: str, clockwise: bool, preprocess: PreprocessSpec
) -> Image.Image:
    turns = Image.Transpose
    if change == "flip":
        return image.transpose(turns.FLIP_LEFT_RIGHT)
    if change == "vertical flip":
        return image.transpose(turns.FLIP_TOP_BOTTOM)
    if change == "quarter turn":
        return image.transpose(turns.ROTATE_270 if clockwise else turns.ROTATE_90)
    width, height = image.size
    if change == "zoom":
        x, y = (int(side * (1 - _ZOOM) / 2) for side in (width, height))
        return image.crop((x, y, width - x, height - y))
    return _tilted(image, -_TILT if clockwise else _TILT, preprocess.shorter_side)


def _tilted(image: Image.Image, degrees: float, shorter: int) -> Image.Image:
    """Turned about its middle; what comes in at the corners is the picture's own edge, mirrored."""
    scale = min(1.0, 2 * shorter / min(image.size))
    if scale < 1:  # a turn of all of a large picture would take long
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
            Image.Resampling.BICUBIC,
        )
    rise = math.sin(math.radians(abs(degrees))) / 2
    margin = [math.ceil(rise * side) + 2 for side in image.size]  # above and below, left and right
    padded = np.pad(
        np.asarray(image),
        ((margin[0], margin[0]), (margin[1], margin[1]), (0, 0)),
        mode="symmetric",
    )
    turned = Image.fromarray(padded).rotate(degrees, Image.Resampling.BICUBIC)
    return turned.crop((margin[1], margin[0], margin[1] + image.width, margin[0] + image.height))
