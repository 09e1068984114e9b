"""Rows of numbers that need not all be in memory: read a block at a time, from an array or elsewhere."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tellapart.data.ordered_map import ordered_map
from tellapart.data.scratch_array import scratch_array
from tellapart.errors import UsageError
from tellapart.training.logistic import Array, Indices

__all__ = [
    "MEMORY", "ArrayRows", "Rows", "StackedRows", "as_rows", "fold_blocks", "memory_budget",
    "spread_rows", "take_rows", "whole",
]  # fmt: skip

MEMORY: Final = 4 << 30
"""Bytes that fitting may take where neither an argument nor TELLAPART_MEMORY says otherwise: 4 GiB."""

_BLOCK_BYTES = 4 << 20  # of one block: small enough for a processor's cache
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

T = TypeVar("T")


class Rows(Protocol):
    """N rows of D numbers. `block` may be asked by several threads at once, and more than once."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        ...

    def block(self, start: int, stop: int) -> Array:
        """Rows `start` to `stop`, 0 ≤ start ≤ stop ≤ N, float32 (stop − start, D); not to be changed."""
        ...


@dataclass(frozen=True)
class ArrayRows:
    """The rows of an array (N, D), which may be a mapped file; nothing is copied.

    >>> ArrayRows(np.arange(6, dtype=np.float32).reshape(3, 2)).block(1, 3).tolist()
    [[2.0, 3.0], [4.0, 5.0]]
    """

    values: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def block(self, start: int, stop: int) -> Array:
        return np.asarray(self.values[start:stop], np.float32)


@dataclass(frozen=True)
class StackedRows:
    """One after the other, as if they were concatenated."""

    parts: Sequence[Rows]

    @property
    def shape(self) -> tuple[int, ...]:
        return sum(part.shape[0] for part in self.parts), self.parts[0].shape[1]

    def block(self, start: int, stop: int) -> Array:
        found, first = [], 0
        for part in self.parts:
            n = part.shape[0]
            low, high = max(start - first, 0), min(stop - first, n)
            if low < high:
                found.append(part.block(low, high))
            first += n
        return found[0] if len(found) == 1 else np.concatenate(found)


def as_rows(values: Array | Rows) -> Rows:
    """An array as rows; rows as they are."""
    return ArrayRows(values) if isinstance(values, np.ndarray) else values


def whole(values: Array | Rows) -> Array:
    """All of them in one array, float32 (N, D); an array as it is."""
    return values if isinstance(values, np.ndarray) else values.block(0, values.shape[0])


def memory_budget(given: int | str | None = None) -> int:
    """Bytes: `given`, else TELLAPART_MEMORY, else 4 GiB. K, M, G and T stand for powers of 1,024.

    Raises UsageError for what is no size.

    >>> memory_budget("512M"), memory_budget(1000)
    (536870912, 1000)
    """
    name, value = "memory", given
    if value is None:
        name, value = "TELLAPART_MEMORY", os.environ.get("TELLAPART_MEMORY") or MEMORY
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.I)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise UsageError(f"{name} is {value!r}; expected bytes or a size such as 512M or 4G")
    return size


def fold_blocks(
    function: Callable[[slice, Array], T],
    rows: Rows,
    *,
    columns: int | None = None,
    workers: int = 1,
    most: int | None = None,
) -> Iterator[T]:
    """`function(where, block)` of every block of rows, in order, by `workers` threads: one pass.

    A block has the first `columns` of the rows, and at most 4 MiB and `most` rows. How rows are parted
    does not depend on `workers`.
    """
    n, d = rows.shape
    size = max(1, min(_BLOCK_BYTES // (4 * d), most or n))

    def answer(start: int) -> T:
        where = slice(start, min(start + size, n))
        return function(where, rows.block(where.start, where.stop)[:, :columns])

    return ordered_map(answer, range(0, n, size), workers=workers, ahead=2)


def take_rows(
    values: Array | Rows, chosen: Indices, folder: Path, *, workers: int = 1
) -> NDArray[Any]:
    """`values[chosen]` for ascending `chosen` (M,), by one pass; above 64 MiB it rests below `folder`.

    float32 (M, D). Raises DatasetError where the disk has no room for it.

    >>> take_rows(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 2]), Path()).tolist()
    [[0.0, 1.0], [4.0, 5.0]]
    """
    rows = as_rows(values)
    answer = scratch_array((len(chosen), rows.shape[1]), folder)

    def copy(where: slice, block: Array) -> None:
        low, high = np.searchsorted(chosen, (where.start, where.stop))
        answer[low:high] = block[chosen[low:high] - where.start]

    for _ in fold_blocks(copy, rows, workers=workers):
        pass
    return answer


def spread_rows(targets: Indices, count: int, seed: int) -> Indices:
    """About `count` rows at random, in order: of each class its share, rounded up; all if they are few.

    >>> spread_rows(np.array([0] * 98 + [1] * 2), 10, seed=0).shape
    (11,)
    """
    n = len(targets)
    if n <= count:
        return np.arange(n)
    shuffled = np.random.default_rng(seed).permutation(n)
    by_class = shuffled[np.argsort(targets[shuffled], kind="stable")]
    sizes = np.bincount(targets)
    turn = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    share = -(-sizes * count // n)
    return np.sort(by_class[turn < share[targets[by_class]]])
