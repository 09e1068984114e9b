"""One picture of the gallery, from nothing but its class, its number and the seed."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from tellapart.data.gallery.composition import SUBJECTS, canvas_size, compose
from tellapart.data.gallery.drawings import render_drawing
from tellapart.data.gallery.engraving import render_engraving
from tellapart.data.gallery.iconography import render_icon
from tellapart.data.gallery.painting import render_painting
from tellapart.data.gallery.photograph import photograph
from tellapart.data.gallery.scenes import Scene
from tellapart.data.gallery.sculpture import render_sculpture
from tellapart.data.gallery.texture import Planes
from tellapart.errors import UsageError

__all__ = ["CLASSES", "Encoding", "Plan", "draw_picture", "encode", "plan_picture"]

_STYLES: dict[str, Callable[[Scene, np.random.Generator], Planes]] = {
    "drawings": render_drawing,
    "engraving": render_engraving,
    "iconography": render_icon,
    "painting": render_painting,
    "sculpture": render_sculpture,
}
CLASSES = tuple(_STYLES)


@dataclass(frozen=True)
class Encoding:
    """How a picture becomes bytes: "jpg" with a quality and chroma subsampling, or "png"."""

    suffix: str
    quality: int = 90
    subsampling: int = 0


@dataclass(frozen=True)
class Plan:
    """What a picture will be, known before it is drawn: subject, (width, height), encoding."""

    subject: str
    size: tuple[int, int]
    encoding: Encoding


def plan_picture(style: str, index: int, seed: int) -> Plan:
    """The subject, size and encoding of a picture.

    >>> plan_picture("painting", 0, 0) == plan_picture("painting", 0, 0)
    True
    """
    rng = _generator(style, index, seed, 0)
    subject = list(SUBJECTS)[int(rng.integers(len(SUBJECTS)))]
    size = canvas_size(rng)
    quality, subsampling = int(rng.integers(75, 96)), int(rng.choice([0, 2]))
    if rng.random() < 0.75:
        return Plan(subject, size, Encoding("jpg", quality, subsampling))
    return Plan(subject, size, Encoding("png"))


def draw_picture(style: str, index: int, seed: int) -> Image.Image:
    """Draw one picture of the gallery.

    `style` is one of `CLASSES`; `index` and `seed` are numbers from 0. The picture is RGB, its
    longer side 180 to 480 pixels, and depends on the three arguments alone. Raises UsageError for
    another style or a negative number.

    >>> image = draw_picture("engraving", 3, 0)
    >>> image.mode, image == draw_picture("engraving", 3, 0)
    ('RGB', True)
    """
    plan = plan_picture(style, index, seed)
    rng = _generator(style, index, seed, 1)
    scene = compose(rng, plan.subject, plan.size)
    planes = photograph(rng, _STYLES[style](scene, rng))
    pixels = (planes * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return Image.merge("RGB", [Image.fromarray(plane) for plane in pixels])


def encode(image: Image.Image, encoding: Encoding) -> bytes:
    """The image file's bytes; no time or place is written into it."""
    out = BytesIO()
    if encoding.suffix == "png":
        image.save(out, "PNG", compress_level=1)
    else:
        image.save(out, "JPEG", quality=encoding.quality, subsampling=encoding.subsampling)
    return out.getvalue()


def _generator(style: str, index: int, seed: int, stream: int) -> np.random.Generator:
    if style not in _STYLES:
        raise UsageError(f"There is no style {style!r}. Choose one of: {', '.join(CLASSES)}.")
    if index < 0 or seed < 0:
        raise UsageError(f"index and seed count from 0; got index {index} and seed {seed}.")
    return np.random.default_rng([seed, CLASSES.index(style), index, stream])
