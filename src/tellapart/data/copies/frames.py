"""Plain frames around pictures: what lies inside of one is known more exactly than alignment finds it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["inside_frames"]

Array = NDArray[np.float32]

_EVEN: Final = 6.0  # levels that the brightness of a frame's line may vary by
_SAME: Final = 12.0  # levels by which its lines may differ
_WIDEST: Final = 3  # a frame takes at most a third of the side, at each end


def inside_frames(light: Array) -> Array:
    """What maps [−1, 1]² to the inside of each picture's frame: (P, 2, 3); `light` is float32 (P, S, S).

    A frame is of one brightness and may be missing at some sides. Without one it is the identity.

    >>> light = np.random.default_rng(0).uniform(0, 255, (1, 48, 48)).astype(np.float32)
    >>> light[:, :6] = 0
    >>> inside_frames(light)[0].round(3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.875, 0.125]]
    """
    first = light[:, :1].mean(axis=(1, 2))
    affine = np.zeros((len(light), 2, 3), np.float32)
    for axis, lines in ((0, light.swapaxes(1, 2)), (1, light)):
        low, high = _run(lines, first), _run(lines[:, ::-1], first)
        side = lines.shape[1]
        affine[:, axis, axis] = 1 - (low + high) / side
        affine[:, axis, 2] = (low - high) / side
    return affine


def _run(lines: Array, first: Array) -> NDArray[np.intp]:
    """How many lines (P, S, S) from the start belong to the frame."""
    some = lines[:, : lines.shape[1] // _WIDEST]
    off = np.abs(some.mean(axis=2) - first[:, None])
    even = (some.std(axis=2) < _EVEN) & (off < _SAME)
    return np.asarray(np.cumprod(even, axis=1).sum(axis=1), np.intp)
