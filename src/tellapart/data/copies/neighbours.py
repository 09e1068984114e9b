"""The nearest neighbours of every row, exactly for thousands, within cells for up to a million.

Many rows are first dealt into about √N cells around as many of them (an inverted file: Sivic and
Zisserman, "Video Google", 2003), and each is compared with those of the few cells that are nearest to
it. All work is in matrix products.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.rows import Rows, taken

__all__ = ["EXACT", "Directions", "main_directions", "nearest", "principal"]

Array = NDArray[np.float32]

EXACT: Final = 12_000
"""Up to that many rows every one is compared with every other."""

_BLOCK = 1 << 23  # numbers in one block of similarities: 32 MiB
_RUN = 32  # columns of which only the largest is looked at first


@dataclass(frozen=True)
class Directions:
    """The mean of rows, (D,), and their main directions, (D, dimensions), float32."""

    mean: Array
    basis: Array

    def of(self, values: NDArray[np.floating]) -> Array:
        """Rows (n, D) centred, turned into these directions, and of unit length: (n, dimensions)."""
        kept = (np.asarray(values, np.float32) - self.mean) @ self.basis
        return kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-12)


def main_directions(
    vectors: Rows, rows: NDArray[np.intp], dimensions: int, seed: int
) -> Directions:
    """The main directions of some rows of (N, D), from at most 8,192 of them.

    By a randomised range finder (Halko, Martinsson and Tropp, 2011).
    """
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(rows))[:8192])
    sample = np.asarray(taken(vectors, rows[some]), np.float32)
    mean = sample.mean(0)
    sample = sample - mean
    width = min(dimensions, vectors.shape[1])
    basis = rng.standard_normal((vectors.shape[1], width)).astype(np.float32)
    for _ in range(3):
        basis = np.linalg.qr(sample.T @ (sample @ basis))[0]
    return Directions(mean, basis)


def principal(vectors: Rows, rows: NDArray[np.intp], dimensions: int, seed: int) -> Array:
    """Some rows of (N, D) in their main directions, of unit length: (rows, dimensions)."""
    directions = main_directions(vectors, rows, dimensions, seed)
    found = np.empty((len(rows), directions.basis.shape[1]), np.float32)
    for start in range(0, len(rows), 8192):
        part = rows[start : start + 8192]
        found[start : start + 8192] = directions.of(taken(vectors, part))
    return found


def nearest(
    rows: Array, count: int, *, least: float = -1.0, seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs (a, b) with a < b, each once, of rows (N, D) of unit length that are near each other.

    b is among the `count` rows with the largest products with a, or the other way round, and their
    product is at least `least`.
    """
    if len(rows) <= EXACT:
        numbers = np.arange(len(rows))
        a, b, products = _among(rows, numbers, count, least)
    else:
        a, b, products = _within_cells(rows, count, least, seed)
    a, b = _best(a, b, products, count, len(rows))
    keys = np.unique(np.minimum(a, b) * len(rows) + np.maximum(a, b))
    return keys // len(rows), keys % len(rows)


def _best(
    a: NDArray[np.intp], b: NDArray[np.intp], products: Array, count: int, rows: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The `count` nearest b of each a, of pairs that several cells may have found."""
    keys, first = np.unique(a * rows + b, return_index=True)
    a, b = keys // rows, keys % rows
    order = np.lexsort((-products[first], a))
    starts = np.searchsorted(a, np.arange(rows))
    rank = np.arange(len(a)) - starts[a[order]]
    kept = order[rank < count]
    return a[kept], b[kept]


_Found = tuple[NDArray[np.intp], NDArray[np.intp], Array]


def _among(rows: Array, numbers: NDArray[np.intp], count: int, least: float) -> _Found:
    """Each of some rows with its `count` nearest of them: the numbers of both, and their product."""
    own = rows[numbers]
    padding = -len(own) % _RUN
    padded = np.concatenate([own, np.zeros((padding, own.shape[1]), np.float32)])
    step = max(1, _BLOCK // max(1, len(padded)))
    found = []
    for start in range(0, len(own), step):
        block = own[start : start + step] @ padded.T
        if padding:
            block[:, -padding:] = -2
        a, b, products = _largest(block, min(count + 1, len(own)), least)
        other = a + start != b
        found.append((numbers[a[other] + start], numbers[b[other]], products[other]))
    return _together(found)


def _together(found: list[_Found]) -> _Found:
    none = np.zeros(0, np.intp)
    found = [(none, none, np.zeros(0, np.float32)), *found]
    a, b, products = zip(*found, strict=True)
    return np.concatenate(a), np.concatenate(b), np.concatenate(products)


def _largest(block: Array, count: int, least: float) -> _Found:
    """Rows and columns of the `count` largest numbers of each row, and these: runs first, then within."""
    runs = block.reshape(len(block), -1, _RUN)
    top = runs.max(axis=2)
    some = min(count, top.shape[1])
    chosen = np.argpartition(-top, some - 1, axis=1)[:, :some]
    numbers = np.take_along_axis(runs, chosen[:, :, None], axis=1).reshape(len(block), -1)
    places = np.argpartition(-numbers, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(numbers, places, axis=1)
    columns = np.take_along_axis(chosen, places // _RUN, axis=1) * _RUN + places % _RUN
    a, b = np.nonzero(values >= least)
    return a, columns[a, b], values[a, b]


_PROBES = 4
_CROWDED = 4  # times the usual size, at which a cell is divided: cost stays bounded


def _within_cells(rows: Array, count: int, least: float, seed: int) -> _Found:
    cells = round(len(rows) ** 0.5)
    rng = np.random.default_rng(seed)
    sample = rows[np.sort(rng.permutation(len(rows))[:8192])]
    middle = sample.mean(axis=0)  # what all rows share would draw them into the same few cells
    centres = _off(rows[np.sort(rng.permutation(len(rows))[:cells])], middle)
    for _ in range(2):
        own = _nearest_centres(rows, centres, middle, 1)[:, 0]
        centres = _means(rows, own, middle, cells)
    near = _nearest_centres(rows, centres, middle, _PROBES)
    order = np.argsort(near.reshape(-1), kind="stable")
    ends = np.searchsorted(near.reshape(-1)[order], np.arange(len(centres) + 1))
    found = []
    most = _CROWDED * _PROBES * len(rows) // cells
    for cell in range(len(centres)):
        members = order[ends[cell] : ends[cell + 1]] // _PROBES
        for part in np.array_split(members, max(1, -(-len(members) // most))):
            if len(part) > 1:
                found.append(_among(rows, part, count, least))
    return _together(found)


def _off(rows: Array, middle: Array) -> Array:
    off = rows - middle
    return off / np.maximum(np.linalg.norm(off, axis=1, keepdims=True), 1e-12)


def _nearest_centres(rows: Array, centres: Array, middle: Array, count: int) -> NDArray[np.intp]:
    step = max(1, _BLOCK // len(centres))
    parts = []
    for start in range(0, len(rows), step):
        block = _off(rows[start : start + step], middle) @ centres.T
        parts.append(
            np.argmax(block, axis=1)[:, None]
            if count == 1
            else np.argpartition(-block, count - 1, axis=1)[:, :count]
        )
    return np.concatenate(parts)


def _means(rows: Array, own: NDArray[np.intp], middle: Array, cells: int) -> Array:
    """The directions of the cells' means, as many as there are cells with rows."""
    order = np.argsort(own, kind="stable")
    starts = np.searchsorted(own[order], np.arange(cells))
    counts = np.bincount(own, minlength=cells)
    filled = np.flatnonzero(counts)
    sums = np.add.reduceat(rows[order], starts[filled], axis=0)
    return _off(np.asarray(sums / counts[filled, None], np.float32), middle)
