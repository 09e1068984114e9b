"""From a decoded picture to the array that a network takes: size, fit, interpolation, mean, deviation.

The geometry is torchvision's (`Resize`, then `CenterCrop`), which timm's evaluation uses, so that
pretrained weights see the pixels that they were trained for.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tellapart.errors import UsageError

__all__ = ["LONGEST", "Fit", "PreprocessSpec"]

Fit = Literal["crop", "pad", "squish"]
LONGEST = 32  # times the shorter side; the ends of a longer picture lie far from its centre crop
_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class PreprocessSpec:
    """How pixels become a network's input; travels with the backbone, the run and the export.

    `size` is the side in px of the square that the network sees. `fit` says how a picture of another
    shape gets there: `crop` scales the shorter side to `size / crop_pct` and takes the centre, `pad`
    scales the longer side to `size` and fills with white, `squish` changes the aspect ratio. `mean`
    and `std` are per channel (red, green, blue), of values in [0, 1].

    >>> import numpy as np
    >>> from PIL import Image
    >>> spec = PreprocessSpec(size=224, fit="crop", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    >>> spec.apply(Image.new("RGB", (640, 480), "white")).shape
    (1, 3, 224, 224)
    """

    size: int
    fit: Fit = "crop"
    crop_pct: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        if self.fit not in get_args(Fit):
            raise UsageError(f"fit {self.fit!r} is unknown; choose from {', '.join(get_args(Fit))}")
        if self.interpolation not in _RESAMPLING:
            raise UsageError(f"interpolation {self.interpolation!r}: use {', '.join(_RESAMPLING)}")
        if not isinstance(self.size, int) or not 32 <= self.size <= 1024:
            raise UsageError(f"size {self.size} px: choose a size from 32 to 1024")
        if not 0 < self.crop_pct <= 1:
            raise UsageError(f"crop_pct {self.crop_pct}: expected a share above 0 and at most 1")
        if not all(isinstance(value, int | float) for value in (*self.mean, *self.std)):
            raise UsageError(f"mean {self.mean}, std {self.std}: expected numbers")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(value > 0 for value in self.std):
            raise UsageError(
                f"mean {self.mean}, std {self.std}: expected three numbers, std above 0"
            )

    @property
    def shorter_side(self) -> int:
        """Pixels that the decoder must keep along the shorter side; more is thrown away."""
        return int(self.size / self.crop_pct) if self.fit == "crop" else self.size

    def apply(self, image: Image.Image) -> NDArray[np.float32]:
        """The network's input, float32 (1, 3, size, size), of an RGB image of any size."""
        return self.normalise(self.resize(image))

    def normalise(self, square: Image.Image) -> NDArray[np.float32]:
        """The network's input of a square that `resize` gave."""
        pixels = np.asarray(square, np.float32).transpose(2, 0, 1)
        mean = np.float32(255) * np.asarray(self.mean, np.float32)
        std = np.float32(255) * np.asarray(self.std, np.float32)
        values = np.subtract(pixels, mean[:, None, None], order="C")
        values /= std[:, None, None]
        return values[None]

    def resize(self, image: Image.Image) -> Image.Image:
        """The square of `size` px that the network sees, before normalisation."""
        resampling = _RESAMPLING[self.interpolation]
        square = (self.size, self.size)
        if self.fit == "squish":
            return _resized(image, square, resampling)
        if self.fit == "pad":
            scale = self.size / max(image.size)
            fitted = _resized(image, _scaled(image.size, scale), resampling)
            canvas = Image.new("RGB", square, "white")
            canvas.paste(fitted, tuple((self.size - side) // 2 for side in fitted.size))  # type: ignore[arg-type]
            return canvas
        image = _middle(image)
        width, height = _shorter_to(image.size, self.shorter_side)
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        resized = _resized(image, (width, height), resampling)
        return resized.crop((left, top, left + self.size, top + self.size))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        lists: dict[str, Any] = {k: tuple(values[k]) for k in ("mean", "std") if k in values}
        return cls(**{**values, **lists})


def _resized(
    image: Image.Image, size: tuple[int, int], resampling: Image.Resampling
) -> Image.Image:
    """First the width, then the height: Pillow's own order depends on its version and on the sizes, and
    since it rounds in between, so would the pixels. ONNX Runtime has this order."""
    width, height = size
    if image.width != width:
        image = image.resize((width, image.height), resampling)
    return image if image.height == height else image.resize(size, resampling)


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _middle(image: Image.Image) -> Image.Image:
    """The middle of a thin line: scaled up as a whole, 20,000 × 1 px would take gigabytes."""
    longest = LONGEST * min(image.size)
    left, top = (max(0, side - longest) // 2 for side in image.size)
    if not left and not top:
        return image
    return image.crop((left, top, image.width - left, image.height - top))


def _shorter_to(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter
