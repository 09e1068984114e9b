"""Lay one picture over another as exactly as thumbnails allow, and measure how well they agree.

An affine alignment by Gauss-Newton steps (Lucas and Kanade, 1981, in the inverse compositional form of
Baker and Matthews, 2004), with brightness and contrast free and large residuals weighing less, so
that a watermark over a part does not pull at it. Many pairs at a time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Alignment", "align"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Alignment:
    """How P templates lie in P pictures. Places are in [−1, 1] along both axes.

    `affine` float32 (P, 2, 3) maps a place (x, y, 1) of the template into the picture. `inside`
    bool (P, S, S) tells which pixels of the template lie in the picture, and `values` float32
    (P, S, S) what the picture has there.
    """

    affine: Array
    inside: NDArray[np.bool_]
    values: Array


def align(templates: Array, pictures: Array, start: Array, steps: int, spread: float) -> Alignment:
    """Align templates (P, S, S) with pictures (P, S, S), from the affine maps `start` (P, 2, 3).

    `spread` is the residual, in standard deviations of the template, that takes three quarters of a
    pixel's weight: large while lines still lie beside each other, small to leave out a watermark.
    """
    side = templates.shape[1]
    x, y = _grid(side)
    down, right = np.gradient(templates, 2 / side, axis=(1, 2))
    right, down = (part.reshape(len(templates), -1) for part in (right, down))
    steepest = np.stack(
        [
            right * x,
            right * y,
            right,
            down * x,
            down * y,
            down,
            np.zeros_like(right),
            np.ones_like(right),
        ],
        axis=2,
    )
    template = templates.reshape(len(templates), -1)
    steepest[:, :, 6] = template
    scale = spread * np.maximum(template.std(axis=1, keepdims=True), 2)
    affine = start.copy()
    ridge = np.zeros((8, 8), np.float32)
    for _ in range(steps):
        values, inside = sample(pictures, affine, side)
        gain, offset = _fit(template, values, inside)
        residual = (values - offset) / gain - template
        weight = inside / (1 + (residual / scale) ** 2) ** 2
        weighted = steepest * weight[:, :, None]
        normal = weighted.swapaxes(1, 2) @ steepest
        ridge = (
            np.eye(8, dtype=np.float32)
            * (1e-3 * np.trace(normal, axis1=1, axis2=2) / 8 + 1e-6)[:, None, None]
        )
        change = np.linalg.solve(normal + ridge, weighted.swapaxes(1, 2) @ residual[:, :, None])[
            :, :6, 0
        ]
        affine = _compose(affine, np.clip(change, -0.2, 0.2).reshape(-1, 2, 3))
    values, inside = sample(pictures, affine, side)
    shape = templates.shape
    return Alignment(affine, inside.reshape(shape), values.reshape(shape))


def _grid(side: int) -> tuple[Array, Array]:
    places = ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)
    y, x = np.meshgrid(places, places, indexing="ij")
    return x.reshape(-1), y.reshape(-1)


def _fit(template: Array, values: Array, inside: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Contrast and brightness that bring the template nearest to the values, (P, 1) each."""
    count = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    t = np.where(inside, template, 0)
    v = np.where(inside, values, 0)
    mean_t, mean_v = t.sum(axis=1, keepdims=True) / count, v.sum(axis=1, keepdims=True) / count
    t, v = np.where(inside, template - mean_t, 0), np.where(inside, values - mean_v, 0)
    gain = np.sqrt(
        (v * v).sum(axis=1, keepdims=True) / np.maximum((t * t).sum(axis=1, keepdims=True), 1e-3)
    )
    gain = np.clip(gain, 0.33, 3)
    return gain, mean_v - gain * mean_t


def _compose(affine: Array, change: Array) -> Array:
    """The map that undoes `change` (added to the identity) first, then does `affine`."""
    a, b, c = 1 + change[:, 0, 0], change[:, 0, 1], change[:, 0, 2]
    d, e, f = change[:, 1, 0], 1 + change[:, 1, 1], change[:, 1, 2]
    scale = np.maximum(a * e - b * d, 0.1)
    inverse = np.stack([np.stack([e, -b], 1), np.stack([-d, a], 1)], 1) / scale[:, None, None]
    shift = -inverse @ np.stack([c, f], 1)[:, :, None]
    linear = affine[:, :, :2] @ inverse
    return np.concatenate([linear, affine[:, :, :2] @ shift + affine[:, :, 2:]], axis=2)


def sample(pictures: Array, affine: Array, side: int) -> tuple[Array, NDArray[np.bool_]]:
    """Pictures (P, S, S) at the places that a grid of side² px is mapped to, (P, side²), bilinearly."""
    size = pictures.shape[1]
    x, y = _grid(side)
    places = affine @ np.stack([x, y, np.ones_like(x)])
    u = (places[:, 0] + 1) * (size / 2) - 0.5
    v = (places[:, 1] + 1) * (size / 2) - 0.5
    inside = (u >= -0.5) & (u <= size - 0.5) & (v >= -0.5) & (v <= size - 0.5)
    u, v = np.clip(u, 0, size - 1.001), np.clip(v, 0, size - 1.001)
    left, top = u.astype(np.intp), v.astype(np.intp)
    u -= left
    v -= top
    flat = pictures.reshape(-1)
    place = left + size * top + (size * size * np.arange(len(pictures)))[:, None]
    upper = flat[place] * (1 - u) + flat[place + 1] * u
    lower = flat[place + size] * (1 - u) + flat[place + size + 1] * u
    return upper * (1 - v) + lower * v, inside
