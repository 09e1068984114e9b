"""A coarse look at pairs of pictures: which part of one is the whole of the other, and which way it lies.

Each window of a picture, made small, is correlated with the other picture in all its eight turns. The
windows are the products of intervals along both axes, so that a crop may keep more of the width than
of the height, and the inside of a frame is a window too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.descriptor import grey
from tellapart.data.copies.turns import turn_order
from tellapart.data.ordered_map import ordered_map

__all__ = ["Match", "match_windows"]

Array = NDArray[np.float32]
Indices = NDArray[np.intp]

_SMALL: Final = 8  # px, side of a window when it is compared
_LENGTHS: Final = {1.0: 1, 0.9: 3, 0.8: 3, 0.7: 4}  # of an interval: how many places it is tried at
_FLAT: Final = 2.0  # grey levels; a window that varies less looks like nothing
_CHUNK: Final = 2048  # pairs that a worker looks at, at a time


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


def match_windows(
    thumbnails: NDArray[np.uint8],
    a: Indices,
    b: Indices,
    workers: int = 1,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Match:
    """The best fit of each pair of pictures, thumbnails uint8 (N, S, S, 3); either may be the whole."""
    ends, places = np.unique(np.concatenate([a, b]), return_inverse=True)
    small = _smalls(thumbnails, ends)
    around, whole = places, np.concatenate(np.split(places, 2)[::-1])
    order = np.argsort(around, kind="stable")
    intervals, weights = _intervals(thumbnails.shape[1])
    correlation, best = np.empty(len(order), np.float32), np.empty(len(order), np.int16)

    def look(rows: Indices) -> tuple[Indices, Array, NDArray[np.intp]]:
        numbers, place = np.unique(around[rows], return_inverse=True)
        bank = _windows(grey(thumbnails[ends[numbers]]), weights)
        return rows, *_best(bank, small[whole[rows]], place)

    chunks = [order[start : start + _CHUNK] for start in range(0, len(order), _CHUNK)]
    for done, (rows, value, number) in enumerate(ordered_map(look, chunks, workers=workers), 1):
        correlation[rows], best[rows] = value, number
        report(done, len(chunks))
    forward, back = np.split(correlation, 2)
    kept = np.arange(len(a)) + len(a) * (back > forward + 1e-6)
    turn, window = np.divmod(best[kept].astype(np.intp), len(intervals) ** 2)
    y, x = np.divmod(window, len(intervals))
    boxes = np.stack([intervals[x, 0], intervals[y, 0], intervals[x, 1], intervals[y, 1]], axis=1)
    return Match(ends[around[kept]], ends[whole[kept]], turn, boxes, correlation[kept])


def _smalls(thumbnails: NDArray[np.uint8], rows: Indices) -> Array:
    """Whole pictures made small and normalised, (rows, 64)."""
    small = np.empty((len(rows), _SMALL * _SMALL), np.float32)
    for start in range(0, len(rows), 1024):
        part = slice(start, start + 1024)
        small[part] = _small(grey(thumbnails[rows[part]]))
    return small


def _best(bank: Array, wholes: Array, place: Indices) -> tuple[Array, NDArray[np.intp]]:
    """The largest correlation of each whole with a window of `bank[place]`, in any turn, and its number."""
    correlation, best = np.empty(len(place), np.float32), np.empty(len(place), np.intp)
    turns = turn_order(_SMALL)
    ends = np.searchsorted(place, np.arange(len(bank) + 1))
    for number, windows in enumerate(bank):
        own = slice(ends[number], ends[number + 1])
        turned = wholes[own][:, turns].reshape(-1, _SMALL * _SMALL)
        products = (turned @ windows.T).reshape(own.stop - own.start, -1)
        best[own] = products.argmax(axis=1)
        correlation[own] = products.max(axis=1)
    return correlation, best


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
