"""Pairs of pictures that may be copies: the nearest in the network's vectors, and in what they look like."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.rows import Rows, taken
from tellapart.data.copies.search import CROWD, Search, search_rows

__all__ = ["Candidates", "find_candidates"]

Array = NDArray[np.float32]
Indices = NDArray[np.intp]

_LEAST_LEVEL: Final = 0.3  # nearness of those where there are few pictures or none alike
_NEIGHBOURS: Final = 5  # in the vectors that each picture is compared with, lookalikes aside
_USUAL_COSINE: Final = 0.4  # of two pictures; what is assumed before any are seen


@dataclass(frozen=True)
class Candidates:
    """P pairs (a, b), a < b, numbers of pictures. `nearness` (P,) is the cosine of their vectors on a
    scale on which that of any two pictures is 0; `standing_out` (P,) is how much nearer they are than
    the 8th nearest neighbours of both."""

    a: Indices
    b: Indices
    nearness: Array
    standing_out: Array

    def __len__(self) -> int:
        return len(self.a)

    def at(self, rows: NDArray[np.bool_] | slice) -> Self:
        """Those of some of the pairs."""
        return type(self)(*(value[rows] for value in vars(self).values()))


def find_candidates(
    rows: Indices,
    thumbnails: NDArray[np.uint8],
    vectors: Rows,
    seed: int,
    search: Search = search_rows,
) -> Candidates:
    """Pairs among some rows of N pictures, ascending; those without contrast are left out.

    A pair stands out as far as it is nearer than both ends' 8th nearest neighbours.
    """
    found = search(rows, thumbnails, vectors, seed)
    rows = found.rows
    if len(rows) < 2:
        return Candidates(rows[:0], rows[:0], *np.empty((2, 0), np.float32))
    keys = np.unique(np.concatenate([a * len(rows) + b for a, b in (found.near, found.alike)]))
    a, b = keys // len(rows), keys % len(rows)
    nearness = _nearness(vectors, rows[a], rows[b], _usual_cosine(vectors, rows, seed))
    rank, level = _ranks(a, b, nearness, len(rows))
    out = np.asarray(nearness - (level[a] + level[b]) / 2, np.float32)
    alike = np.isin(keys, found.alike[0] * len(rows) + found.alike[1])
    return Candidates(rows[a], rows[b], nearness, out).at(alike | (rank < _NEIGHBOURS))


def _nearness(vectors: Rows, a: Indices, b: Indices, usual: float) -> Array:
    cosine = np.empty(len(a), np.float32)
    for start in range(0, len(a), 512):
        part = slice(start, start + 512)
        cosine[part] = (_unit(taken(vectors, a[part])) * _unit(taken(vectors, b[part]))).sum(axis=1)
    return (cosine - np.float32(usual)) / np.float32(1 - usual)


def _usual_cosine(vectors: Rows, rows: Indices, seed: int) -> float:
    """The mean cosine of two pictures' vectors, from at most 1,024 of them."""
    some = np.random.default_rng(seed).permutation(len(rows))[:1024]
    sample = _unit(taken(vectors, rows[some]))
    count = len(sample)
    between = (float((sample.sum(axis=0) ** 2).sum()) - count) / (count * (count - 1))
    return min((count * between + 50 * _USUAL_COSINE) / (count + 50), 0.6)


def _unit(vectors: NDArray[np.floating]) -> Array:
    values = np.asarray(vectors, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _ranks(a: Indices, b: Indices, nearness: Array, count: int) -> tuple[Indices, Array]:
    """How near a pair is among those of its ends, from 0, the better of both, (P,); and the nearness of
    each picture's 8th, (N,)."""
    ends, values = np.concatenate([a, b]), np.concatenate([nearness, nearness])
    order = np.lexsort((-values, ends))
    first = np.searchsorted(ends[order], np.arange(count + 1))
    ranks = np.empty(len(ends), np.intp)
    ranks[order] = np.arange(len(ends)) - first[ends[order]]
    crowded = np.flatnonzero(np.diff(first) >= CROWD)
    level = np.full(count, _LEAST_LEVEL, np.float32)
    level[crowded] = np.maximum(values[order[first[crowded] + CROWD - 1]], _LEAST_LEVEL)
    return np.minimum(*np.split(ranks, 2)), level
