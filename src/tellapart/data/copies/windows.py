"""A coarse look at pairs of pictures: which part of one is the whole of the other, and which way it lies.

Each window of a picture, made small, is correlated with the other picture in all its eight turns. The
windows are the products of intervals along both axes, so that a crop may keep more of the width than
of the height, and the inside of a frame is a window too.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.descriptor import grey
from tellapart.data.copies.turns import turn_order

__all__ = ["Match", "match_windows"]

Array = NDArray[np.float32]
Indices = NDArray[np.intp]

_SMALL: Final = 8  # px, side of a window when it is compared
_LENGTHS: Final = {1.0: 1, 0.9: 3, 0.8: 3, 0.7: 4}  # of an interval: how many places it is tried at
_FLAT: Final = 2.0  # grey levels; a window that varies less looks like nothing
_BLOCK: Final = 256


@dataclass(frozen=True)
class Match:
    """How P pairs fit at best: the whole of `whole`, laid as `turn` says, is a window of `around`.

    `correlation` (P,) is that of the brightness at 8 × 8 px. `window` float32 (P, 4) gives the
    window's left, top, width and height as shares of the picture `around`.
    """

    around: Indices
    whole: Indices
    turn: Indices
    window: Array
    correlation: Array

    def at(self, rows: NDArray[np.bool_] | slice) -> "Match":
        """That of some of the pairs."""
        return Match(*(value[rows] for value in vars(self).values()))


def match_windows(thumbnails: NDArray[np.uint8], a: Indices, b: Indices) -> Match:
    """The best fit of each pair of pictures, thumbnails uint8 (N, S, S, 3); either may be the whole."""
    around, whole = np.concatenate([a, b]), np.concatenate([b, a])
    order = np.argsort(around, kind="stable")
    correlation = np.zeros(len(around), np.float32)
    best = np.zeros(len(around), np.intp)
    turns = turn_order(_SMALL)
    intervals, weights = _intervals(thumbnails.shape[1])
    for start in range(0, len(order), 8 * _BLOCK):
        rows = order[start : start + 8 * _BLOCK]
        numbers, place = np.unique(around[rows], return_inverse=True)
        bank = _windows(grey(thumbnails[numbers]), weights)
        wholes = _small(grey(thumbnails[whole[rows]]))[:, turns]
        ends = np.searchsorted(place, np.arange(len(numbers) + 1))
        for number in range(len(numbers)):
            own = slice(ends[number], ends[number + 1])
            products = wholes[own].reshape(-1, _SMALL * _SMALL) @ bank[number].T
            flat = products.reshape(own.stop - own.start, -1)
            best[rows[own]] = flat.argmax(1)
            correlation[rows[own]] = flat.max(1)
    forward, back = np.split(correlation, 2)
    kept = np.arange(len(a)) + len(a) * (back > forward + 1e-6)
    turn, window = np.divmod(best[kept], len(intervals) ** 2)
    y, x = np.divmod(window, len(intervals))
    boxes = np.stack([intervals[x, 0], intervals[y, 0], intervals[x, 1], intervals[y, 1]], axis=1)
    return Match(around[kept], whole[kept], turn, boxes, correlation[kept])


def _intervals(side: int) -> tuple[Array, Array]:
    """Start and length of each interval as shares, (n, 2), and its means over runs of px, (n, 8, side)."""
    pairs = [
        (place, length)
        for length, places in _LENGTHS.items()
        for place in np.linspace(0, 1 - length, places)
    ]
    edges = np.arange(side)
    weights = np.zeros((len(pairs), _SMALL, side), np.float32)
    for number, (start, length) in enumerate(pairs):
        cuts = (start + length * np.arange(_SMALL + 1) / _SMALL) * side
        low, high = cuts[:-1, None], cuts[1:, None]
        weights[number] = np.clip(np.minimum(high, edges + 1) - np.maximum(low, edges), 0, None)
    return np.array(pairs, np.float32), weights / weights.sum(axis=2, keepdims=True)


def _windows(pictures: Array, weights: Array) -> Array:
    """All windows of pictures (B, S, S), normalised: (B, n², 64)."""
    count = len(weights)
    every = weights.reshape(-1, weights.shape[2])
    made = (every @ pictures @ every.T).reshape(-1, count, _SMALL, count, _SMALL)
    return _normalised(made.swapaxes(2, 3).reshape(len(pictures), count * count, -1))


def _small(pictures: Array) -> Array:
    runs = pictures.shape[1] // _SMALL
    shape = (len(pictures), _SMALL, runs, _SMALL, runs)
    return _normalised(
        np.asarray(pictures.reshape(shape).mean(axis=(2, 4)), np.float32).reshape(len(pictures), -1)
    )


def _normalised(values: NDArray[np.floating]) -> Array:
    values = values - values.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(
        np.where(length < _FLAT * _SMALL, 0, values / np.maximum(length, 1e-6)), np.float32
    )
