"""Pictures for the review page: shapes whose class can be seen, some of them in the wrong folder."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["HOSTILE", "MANY", "WRONG", "draw_many_classes", "draw_shapes"]

PER_CLASS = 20
HOSTILE = "square/<img src=x onerror=alert(1)>.png"
"""A circle among the squares, whose name would run as a script if it were markup."""

WRONG = (
    HOSTILE,
    "square/18.png",
    "circle/17.png",
    "circle/18.png",
    "stripes/18.png",
    "stripes/19.png",
)
"""The pictures that lie in the wrong folder."""

MANY = (
    "a class with a name so long that it can never be shown in full " + "x" * 60,
    "🐈‍⬛ black cats",
    "حصان",
    "<b>bold & brave",
    *(f"class {number:02d}" for number in range(5, 13)),
)
"""Twelve classes, more than there are digits."""


def draw_shapes(root: Path) -> Path:
    """Sixty circles, squares and stripes; `WRONG` lie in the next class's folder, three are there twice."""
    rng = np.random.default_rng(3)
    drawn = ("circle", "square", "stripes")
    for place, label in enumerate(drawn):
        (root / label).mkdir(parents=True)
        for number in range(PER_CLASS):
            path = f"{label}/{number:02d}.png"
            path = HOSTILE if path == "square/19.png" else path
            kind = drawn[place - 1] if path in WRONG else label
            _shape(rng, kind).save(root / path)
    for label in drawn:
        shutil.copy(root / label / "00.png", root / label / "copy of 00.png")
    return root


def draw_many_classes(root: Path) -> Path:
    """Five pictures in each of the classes `MANY`, each class in a colour of its own."""
    rng = np.random.default_rng(4)
    for number, label in enumerate(MANY):
        (root / label).mkdir(parents=True)
        for picture in range(5):
            colour = np.array([37 * number % 256, 91 * number % 256, 53 * number % 256])
            pixels = np.clip(colour + rng.integers(-30, 30, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((64, 64)).save(root / label / f"{picture}.png")
    return root


def _shape(rng: np.random.Generator, kind: str) -> Image.Image:
    """A dark shape on a light ground that is clouded, so that no two look like copies."""
    ground = Image.fromarray(rng.integers(120, 256, (3, 4, 3), np.uint8))
    image = ground.resize((96, 72), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    x, y, side = (int(n) for n in rng.integers((5, 5, 36), (30, 20, 50)))
    ink = tuple(map(int, rng.integers(0, 90, 3)))
    if kind == "circle":
        draw.ellipse((x, y, x + side, y + side), fill=ink)
    elif kind == "square":
        draw.rectangle((x, y, x + side, y + side), fill=ink)
    else:
        width = int(rng.integers(4, 9))
        for left in range(x % (2 * width), 96, 2 * width):
            draw.rectangle((left, 0, left + width - 1, 72), fill=ink)
    return image
