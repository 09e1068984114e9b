"""Outlines of things as point lists: ellipses, smooth curves, tubes, turned profiles.

All points are float64 arrays of shape (N, 2), x to the right and y downwards, in whatever unit the
caller draws in. Nothing here knows about pixels, colours or styles.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Points",
    "box",
    "ellipse",
    "mirrored",
    "moved",
    "path",
    "points",
    "smooth",
    "tube",
    "turned",
]

Points = NDArray[np.float64]

# The Catmull-Rom basis: a curve through its control points needs no handles.
_CATMULL_ROM = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]], float)


def smooth(points: ArrayLike, *, closed: bool = True, steps: int = 6) -> Points:
    """A smooth curve through the points, `steps` samples from each to the next.

    >>> smooth([(0, 0), (2, 0), (2, 2), (0, 2)], steps=3).shape
    (12, 2)
    """
    knots = np.asarray(points, dtype=np.float64)
    count = len(knots)
    if closed:
        windows = knots[(np.arange(count)[:, None] + np.arange(-1, 3)) % count]
    else:
        padded = np.empty((count + 2, 2))
        padded[1:-1] = knots
        padded[0], padded[-1] = 2 * knots[0] - knots[1], 2 * knots[-1] - knots[-2]
        windows = padded[np.arange(count - 1)[:, None] + np.arange(4)]
    curve = (_weights(steps) @ windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


@cache
def _weights(steps: int) -> NDArray[np.float64]:
    t = np.arange(steps) / steps
    return np.stack([np.ones_like(t), t, t**2, t**3], axis=1) @ _CATMULL_ROM


def path(*points: tuple[float, float]) -> Points:
    """An open smooth curve through a few points.

    >>> path((0, 0), (1, 1))[-1].tolist()
    [1.0, 1.0]
    """
    return smooth(points, closed=False)


@cache
def points(text: str) -> Points:
    """Points written as in an SVG attribute; the array is shared, so do not change it.

    >>> points("0,1 2,3.5").tolist()
    [[0.0, 1.0], [2.0, 3.5]]
    """
    return np.array([pair.split(",") for pair in text.split()], dtype=np.float64)


def mirrored(half: ArrayLike) -> Points:
    """The right half of an outline, from its top to its foot, and its mirror image in x = 0.

    >>> mirrored([(0, 0), (1, 1), (0, 2)]).tolist()
    [[0.0, 0.0], [1.0, 1.0], [0.0, 2.0], [-1.0, 1.0]]
    """
    right = np.asarray(half, dtype=np.float64)
    return np.concatenate([right, right[right[:, 0] != 0][::-1] * (-1, 1)])


def ellipse(
    x: float, y: float, rx: float, ry: float, angle: float = 0.0, *, steps: int = 36
) -> Points:
    """An ellipse about (x, y), turned by `angle` radians.

    >>> ellipse(0, 0, 2, 1).max(axis=0).round(3).tolist()
    [2.0, 1.0]
    """
    t = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    u, v = rx * np.cos(t), ry * np.sin(t)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x + cos * u - sin * v, y + sin * u + cos * v], axis=1)


def moved(points: Points, x: float, y: float) -> Points:
    """The same points, x further to the right and y further down."""
    return np.add(points, (x, y))


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    """A rectangle, its four corners."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float64)


def tube(spine: Points, radii: float | Sequence[float]) -> Points:
    """The outline of a band along `spine`; `radii` are spread evenly from its start to its end.

    >>> tube(np.array([(0.0, 0.0), (4.0, 0.0)]), 1.0).tolist()
    [[0.0, 1.0], [4.0, 1.0], [4.0, -1.0], [0.0, -1.0]]
    """
    steps = np.gradient(spine, axis=0)
    normals = np.stack([-steps[:, 1], steps[:, 0]], axis=1)
    normals /= np.maximum(np.hypot(*steps.T), 1e-9)[:, None]
    ends = np.atleast_1d(np.asarray(radii, dtype=np.float64))
    radius = np.interp(np.linspace(0, 1, len(spine)), np.linspace(0, 1, len(ends)), ends)[:, None]
    return np.concatenate([spine + normals * radius, (spine - normals * radius)[::-1]])


def turned(profile: Sequence[tuple[float, float]], x: float = 0.0) -> Points:
    """The outline of a thing turned on a lathe about a vertical axis at `x`.

    `profile` lists (y, radius) from the top to the foot.

    >>> turned([(0, 1), (1, 2)])[0].tolist()
    [1.0, 0.0]
    """
    right = smooth([(radius, y) for y, radius in profile], closed=False)
    left = right[::-1] * (-1.0, 1.0)
    return moved(np.concatenate([right, left]), x, 0.0)
