"""How a work of art came to be a file: a mount around it, the light it was photographed in.

The same chances hold in every class, so that neither frame nor exposure tells one from another.
"""

import numpy as np

from tellapart.data.gallery.palettes import tinted
from tellapart.data.gallery.texture import Planes, colour

__all__ = ["photograph"]

_MOUNTS = (
    (0.94, 0.93, 0.90),
    (0.80, 0.76, 0.68),
    (0.22, 0.21, 0.20),
    (0.50, 0.48, 0.46),
    (0.42, 0.28, 0.16),
    (0.30, 0.36, 0.34),
    (0.52, 0.20, 0.16),
    (0.70, 0.58, 0.34),
)


def photograph(rng: np.random.Generator, picture: Planes) -> Planes:
    """The picture (3, H, W) as a camera or a scanner saw it, of the same shape, within [0, 1]."""
    if rng.random() < 0.22:
        picture = _mounted(rng, picture)
    warmth, tint = rng.normal(0, 0.07), rng.normal(0, 0.02)
    # Nobody exposes white paper until the lines on it are gone.
    exposure = min(float(np.exp(rng.normal(0, 0.16))), 0.95 / float(picture.mean()))
    gain = colour(exposure * (1 + warmth), exposure * (1 + tint), exposure * (1 - warmth))
    contrast = np.float32(rng.uniform(0.78, 1.12))
    haze = np.float32(rng.uniform(0.0, 0.05))
    seen = picture * gain
    seen -= np.float32(0.5)
    seen *= contrast
    seen += np.float32(0.5) + haze
    return np.clip(seen, 0, 1, out=seen)


def _mounted(rng: np.random.Generator, picture: Planes) -> Planes:
    """A passe-partout over the rim of the picture, its bevel lit from above."""
    _, height, width = picture.shape
    rim = max(4, int(min(height, width) * rng.uniform(0.03, 0.1)))
    inner = np.s_[:, rim : height - rim, rim : width - rim]
    out = np.empty_like(picture)
    out[:] = tinted(rng, _MOUNTS)
    out[:, rim - 2 : height - rim + 2, rim - 2 : width - rim + 2] *= np.float32(0.82)
    out[inner] = picture[inner]
    out[:, rim : rim + 3, rim : width - rim] *= np.float32(0.8)
    return out
