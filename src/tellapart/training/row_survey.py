"""What one pass over rows tells of them: means, deviations, each fold's too, and where they vary most."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tellapart.training.logistic import Array, Indices, Sketch
from tellapart.training.row_blocks import Rows, fold_blocks

__all__ = ["Survey", "survey"]

_SAMPLE = 16_384  # rows, evenly spread, that the covariance is found in
_PART = 2_048  # of them multiplied at a time
_KEPT = 4_096  # rows
_RANK = 512
_SPARE = 32


@dataclass(frozen=True)
class Survey:
    """Of N rows of D numbers in F folds: `mean` and `std` (D,), the std infinite where a column is
    constant, and `scale` (F + 1, D), what standardises without each fold, and all rows. `covariance`
    (D, D) is that of standardised columns in a sample of the rows. `sample` (M, D) are rows at
    `sampled` (M,), as they are."""

    mean: Array
    std: Array
    scale: Array
    covariance: Array
    sample: Array
    sampled: Indices

    def sketch(self, columns: int, seed: int = 0) -> Sketch:
        """The leading directions of the first `columns`, by subspace iteration on the covariance."""
        c = self.covariance[:columns, :columns]
        rank = min(_RANK, columns)
        wide = min(rank + _SPARE, columns)
        basis = np.random.default_rng(seed).standard_normal((columns, wide), np.float32)
        for _ in range(3):
            basis, _ = np.linalg.qr(c @ basis)
        strengths, rotation = np.linalg.eigh(basis.T @ (c @ basis))
        strengths, rotation = strengths[-rank:], rotation[:, -rank:]
        rest = max(float(np.trace(c)) - float(strengths.sum()), 0.0) / max(columns - rank, 1)
        return Sketch(basis @ rotation, np.maximum(strengths, 0), rest)


def survey(rows: Rows, folds: Indices, count: int, *, workers: int = 1) -> Survey:
    """Of rows (N, D) whose `count` folds repeat `folds` (n,), as often as there are views of n pictures."""
    (total, d), n = rows.shape, len(folds)
    pivot = rows.block(0, min(total, 1024)).mean(axis=0, dtype=np.float64).astype(np.float32)
    stride = max(1, total // _SAMPLE)

    def sums(where: slice, block: Array) -> tuple[Array, Array, Array]:
        x = block - pivot
        own = folds[np.arange(where.start, where.stop) % n]
        one_hot = (own == np.arange(count)[:, None]).astype(np.float32)
        kept[-(-where.start // apart) : -(-where.stop // apart)] = block[
            -where.start % apart :: apart
        ]
        some = x[-where.start % stride :: stride].copy()
        first = one_hot @ x
        return first, one_hot @ np.square(x, out=x), some

    first, second = np.zeros((count, d)), np.zeros((count, d))
    sampled, apart = _Covariance(d), -(-total // _KEPT)
    kept = np.empty((-(-total // apart), d), np.float32)
    for block_first, block_second, some in fold_blocks(sums, rows, workers=workers):
        first += block_first
        second += block_second
        sampled.add(some)
    sizes = np.bincount(folds, minlength=count) * (total // n)
    inside = 1 - np.eye(count + 1, count)
    mean, variance = _moments(inside @ first, inside @ second, inside @ sizes)
    std = np.sqrt(variance[-1])
    constant = std < 1e-6 * np.maximum(np.abs(pivot + mean[-1]), 1e-3)  # it can say nothing
    std = np.where(constant, np.inf, std)
    ratio = variance / np.square(std)  # to the variance of all rows
    scale = np.where(ratio < 1e-6, 0, 1 / np.sqrt(np.maximum(variance, 1e-300)))
    scale[:, constant] = 0
    return Survey(
        (pivot + mean[-1]).astype(np.float32), std.astype(np.float32), scale.astype(np.float32),
        sampled.standardised(std), kept, np.arange(0, total, apart),
    )  # fmt: skip


def _moments(
    first: NDArray[np.float64], second: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = np.maximum(sizes, 1)[:, None]  # none are left without the only fold
    mean = first / rows
    return mean, np.maximum(second / rows - np.square(mean), 0)


class _Covariance:
    """Of rows that come a few at a time."""

    def __init__(self, d: int) -> None:
        self.products = np.zeros((d, d), np.float32)
        self.sums = np.zeros(d)
        self.count = 0
        self.waiting: list[Array] = []

    def add(self, some: Array) -> None:
        self.waiting.append(some)
        if sum(map(len, self.waiting)) >= _PART:
            self._multiply()

    def _multiply(self) -> None:
        x = np.concatenate(self.waiting)
        self.waiting = []
        self.products += x.T @ x
        self.sums += x.sum(axis=0, dtype=np.float64)
        self.count += len(x)

    def standardised(self, std: NDArray[np.float64]) -> Array:
        """Divided by the deviations of two columns each; 0 where one is infinite."""
        if self.waiting:
            self._multiply()
        mean, each = (self.sums / self.count).astype(np.float32), (1 / std).astype(np.float32)
        self.products /= np.float32(self.count)
        self.products -= np.outer(mean, mean)
        self.products *= each[:, None]
        self.products *= each
        return self.products
