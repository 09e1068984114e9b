"""Forty pictures in two classes, three of them with the wrong label, and one twice with two labels."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["WRONG", "draw_photos"]

PER_CLASS = 20
WRONG = ("blue/17.png", "blue/18.png", "red/19.png")


def draw_photos(root: Path) -> Path:
    """Noise in red below `red` and in blue below `blue`; `WRONG` lie in the other's folder."""
    rng = np.random.default_rng(5)
    for channel, label in ((0, "red"), (2, "blue")):
        (root / label).mkdir(parents=True)
        for number in range(PER_CLASS):
            path = f"{label}/{number}.png"
            pixels = rng.integers(0, 120, (10, 12, 3), np.uint8)
            pixels[..., 2 - channel if path in WRONG else channel] += 120
            Image.fromarray(pixels).resize((96, 80)).save(root / path)
    shutil.copy(root / "red" / "0.png", root / "blue" / "copy.png")
    return root
