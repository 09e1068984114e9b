"""Local colours for the slots of a scene, in many moods; which class asks makes no difference."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tellapart.data.gallery.sketch import Slot
from tellapart.data.gallery.texture import Planes

__all__ = ["Colours", "Mood", "hsv", "local_colours", "luminance", "tinted"]

Colours = NDArray[np.float32]
Mood = Literal["natural", "vivid", "warm", "cool", "muted", "grey", "pale", "dark"]

# Hue, saturation, value, and how far each may wander to either side.
_SLOTS: dict[Slot, tuple[float, float, float, float, float, float]] = {
    "sky": (0.57, 0.35, 0.80, 0.05, 0.20, 0.15),
    "far": (0.50, 0.30, 0.58, 0.15, 0.15, 0.12),
    "ground": (0.20, 0.45, 0.52, 0.12, 0.20, 0.15),
    "water": (0.54, 0.45, 0.52, 0.07, 0.20, 0.15),
    "wall": (0.50, 0.30, 0.52, 0.50, 0.25, 0.25),
    "table": (0.08, 0.45, 0.50, 0.06, 0.25, 0.20),
    "skin": (0.07, 0.40, 0.80, 0.02, 0.12, 0.20),
    "hair": (0.07, 0.50, 0.36, 0.04, 0.25, 0.24),
    "cloth": (0.50, 0.55, 0.55, 0.50, 0.25, 0.25),
    "cloth2": (0.50, 0.55, 0.50, 0.50, 0.30, 0.30),
    "lip": (0.98, 0.50, 0.66, 0.02, 0.10, 0.08),
    "eye": (0.10, 0.08, 0.92, 0.03, 0.05, 0.05),
    "iris": (0.35, 0.45, 0.30, 0.30, 0.20, 0.12),
    "leaf": (0.25, 0.46, 0.45, 0.09, 0.16, 0.13),
    "bloom": (0.98, 0.60, 0.80, 0.16, 0.25, 0.15),
    "bloom2": (0.14, 0.50, 0.86, 0.10, 0.30, 0.10),
    "fruit": (0.02, 0.72, 0.70, 0.05, 0.15, 0.15),
    "fruit2": (0.13, 0.72, 0.84, 0.04, 0.15, 0.10),
    "wood": (0.07, 0.50, 0.40, 0.03, 0.20, 0.14),
    "stone": (0.10, 0.14, 0.64, 0.06, 0.10, 0.15),
    "roof": (0.03, 0.55, 0.52, 0.06, 0.25, 0.15),
    "jar": (0.50, 0.45, 0.60, 0.50, 0.25, 0.22),
    "light": (0.13, 0.12, 0.94, 0.04, 0.10, 0.05),
    "dark": (0.60, 0.25, 0.18, 0.10, 0.15, 0.08),
}

# What a mood does to saturation and value (times), and the hue it veils all with (how far).
_MOODS: dict[Mood, tuple[float, float, float, float]] = {
    "natural": (1.0, 1.0, 0.1, 0.0),
    "vivid": (1.25, 1.02, 0.1, 0.0),
    "warm": (1.0, 1.0, 0.08, 0.45),
    "cool": (0.9, 0.95, 0.58, 0.45),
    "muted": (0.5, 0.95, 0.1, 0.2),
    "grey": (0.14, 1.0, 0.1, 0.3),
    "pale": (0.5, 1.3, 0.1, 0.0),
    "dark": (1.0, 0.6, 0.07, 0.35),
}


def hsv(
    hue: NDArray[np.float64], saturation: NDArray[np.float64], value: NDArray[np.float64]
) -> Colours:
    """Colours (N, 3) in [0, 1] from hue, saturation and value (N,), hue in turns.

    >>> hsv(np.array([0.0]), np.array([1.0]), np.array([1.0])).tolist()
    [[1.0, 0.0, 0.0]]
    """
    ramp = np.abs((hue[:, None] + (1.0, 2 / 3, 1 / 3)) % 1.0 * 6 - 3) - 1
    pure = np.clip(ramp, 0, 1)
    colours: Colours = (value[:, None] * (1 - saturation[:, None] * (1 - pure))).astype(np.float32)
    return colours


def local_colours(
    rng: np.random.Generator, slots: tuple[Slot, ...], tones: NDArray[np.float32], mood: Mood
) -> Colours:
    """One colour for each shape: float32 (P, 3) in [0, 1]; equal slots differ by their tone only.

    >>> tones = np.zeros(2, np.float32)
    >>> local_colours(np.random.default_rng(0), ("leaf", "sky"), tones, "warm").shape
    (2, 3)
    """
    table = np.array(list(_SLOTS.values()))
    spread = rng.uniform(-1, 1, (len(table), 3))
    h, s, v = (table[:, :3] + spread * table[:, 3:]).T
    more, lighter, pole, pull = _MOODS[mood]
    colours = hsv(h % 1.0, np.clip(s * more, 0, 0.84), np.clip(v * lighter, 0.04, 1.0))
    veil = hsv(np.array([pole]), np.array([0.4]), np.array([1.15])) * luminance(colours)[:, None]
    colours += (veil - colours) * np.float32(pull)
    index = {slot: i for i, slot in enumerate(_SLOTS)}
    own = colours[[index[slot] for slot in slots]]
    return np.clip(own * (1 + 1.3 * tones[:, None]), 0, 1)


def tinted(rng: np.random.Generator, choices: Sequence[tuple[float, float, float]]) -> Planes:
    """One of the colours, a little lighter or darker, warmer or cooler: float32 (3, 1, 1).

    >>> tinted(np.random.default_rng(0), [(0.5, 0.5, 0.5)]).shape
    (3, 1, 1)
    """
    colour = np.array(choices[int(rng.integers(len(choices)))])
    warmer = rng.normal(0, 0.025) * np.array([1.0, 0.2, -1.2])
    mixed = np.clip(colour * rng.normal(1, 0.05) + warmer, 0, 1)
    return mixed.astype(np.float32)[:, None, None]


def luminance(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """How light colours (..., 3) look, in [0, 1]."""
    return colours @ np.array([0.3, 0.59, 0.11], np.float32)
