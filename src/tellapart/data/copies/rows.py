"""Rows of a matrix that need not lie in memory: an array, a mapped file, or whatever can be sliced."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "taken"]


class Rows(Protocol):
    """Numbers (N, D) of which `rows[start:stop]` gives some as an array, and nothing needs all."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Rows of a slice, (stop − start, D)."""
        ...


def taken(rows: Rows, numbers: NDArray[np.intp]) -> NDArray[Any]:
    """The rows with these numbers, (n, D), in their order.

    Of an array, a mapped one too, they are taken at once; of anything else in slices, one for each run
    of numbers that follow each other.

    >>> taken(np.arange(10).reshape(5, 2), np.array([3, 1])).tolist()
    [[6, 7], [2, 3]]
    """
    if isinstance(rows, np.ndarray):
        return rows[numbers]
    if not len(numbers):
        return np.asarray(rows[0:0])
    wanted, place = np.unique(numbers, return_inverse=True)
    ends = np.flatnonzero(np.diff(wanted) > 1) + 1
    runs = [rows[int(run[0]) : int(run[-1]) + 1] for run in np.split(wanted, ends)]
    return np.concatenate(runs)[place]
