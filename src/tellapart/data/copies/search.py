"""Which pictures are compared at all: the nearest in the network's vectors, and in what they look like.

Here in one process: every row with every other, or within cells. `sharded_search.py` asks indexes of
shards the same questions.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.descriptor import LENGTH, grey, turnless
from tellapart.data.copies.neighbours import nearest, principal
from tellapart.data.copies.rows import Rows

__all__ = ["CROWD", "DIMENSIONS", "LOOK", "LOOKALIKES", "Nearest", "Search", "looks", "search_rows"]

Array = NDArray[np.float32]
Indices = NDArray[np.intp]

DIMENSIONS: Final = 64  # of the vectors' main directions
CROWD: Final = 8  # nearest neighbours of each picture in them
LOOKALIKES: Final = 3  # nearest neighbours in the turnless descriptor …
LOOK: Final = 0.9  # … whose product with the picture's own is at least that
_FLAT: Final = 2.0  # levels; a thumbnail whose brightness varies less shows nothing to compare
_FEW: Final = 64  # pictures of which every pair is compared


@dataclass(frozen=True)
class Nearest:
    """The pictures that show anything, `rows` (n,) ascending, and pairs of them.

    `near` are those that are near in the vectors, `alike` those that look alike: two arrays each, a < b,
    places in `rows`, every pair once, in ascending order.
    """

    rows: Indices
    near: tuple[Indices, Indices]
    alike: tuple[Indices, Indices]


class Search(Protocol):
    """How the nearest are found, among some rows of N pictures."""

    def __call__(
        self, rows: Indices, thumbnails: NDArray[np.uint8], vectors: Rows, seed: int
    ) -> Nearest:
        """`rows` ascending, thumbnails uint8 (N, S, S, 3), vectors (N, D)."""
        ...


def search_rows(rows: Indices, thumbnails: NDArray[np.uint8], vectors: Rows, seed: int) -> Nearest:
    """The nearest in this process: exactly up to `neighbours.EXACT` pictures, above that within cells."""
    look, shown = looks(rows, thumbnails)
    rows, look = rows[shown], look[shown]
    if len(rows) <= _FEW:
        every = np.triu_indices(len(rows), 1)
        return Nearest(rows, every, every)
    main = principal(vectors, rows, DIMENSIONS, seed)
    near = nearest(main, CROWD, least=0.0, seed=seed)
    return Nearest(rows, near, nearest(look, LOOKALIKES, least=LOOK, seed=seed))


def looks(rows: Indices, thumbnails: NDArray[np.uint8]) -> tuple[Array, NDArray[np.bool_]]:
    """The turnless descriptor of each row, and whether there is anything to be seen."""
    look, shown = np.empty((len(rows), LENGTH), np.float32), np.empty(len(rows), bool)
    for start in range(0, len(rows), 1024):
        part = slice(start, start + 1024)
        light = grey(thumbnails[rows[part]])
        look[part], shown[part] = turnless(light), light.std(axis=(1, 2)) >= _FLAT
    return look, shown
