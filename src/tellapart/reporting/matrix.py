"""A confusion matrix as a page shows it: a table for few classes, a drawing of the most confused of many."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from tellapart.evaluation.metrics import Metrics

__all__ = ["MOST_IN_TABLE", "Cell", "Matrix", "matrix_of"]

MOST_IN_TABLE: Final = 12
_MOST_DRAWN: Final = 32
_SMALLEST_SHARE = 0.08  # what is there is to be seen


@dataclass(frozen=True)
class Cell:
    """`n` pictures, `share` of the row's class in [0, 1], in `row` and `column`; `right` on the diagonal."""

    row: int
    column: int
    n: int
    share: float
    right: bool

    @property
    def shade(self) -> float:
        """How strong to draw it, in [0, 1]."""
        return round(max(self.share, _SMALLEST_SHARE), 3) if self.n else 0.0


@dataclass(frozen=True)
class Matrix:
    """`rows` of cells in the order of `names`, the classes that are shown out of `classes`."""

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    classes: int

    @property
    def is_table(self) -> bool:
        return len(self.names) <= MOST_IN_TABLE

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Those with pictures."""
        return tuple(cell for row in self.rows for cell in row if cell.n)


def matrix_of(metrics: Metrics) -> Matrix:
    """All classes up to 32; of more those with the most confusions, in their order.

    >>> shown = matrix_of(Metrics(("a", "b"), np.array([[3, 1], [0, 4]]), 0.2))
    >>> shown.rows[0][1].share, shown.is_table
    (0.25, True)
    """
    matrix, k = metrics.matrix, len(metrics.classes)
    chosen = np.arange(k)
    if k > _MOST_DRAWN:
        off = matrix - np.diag(np.diag(matrix))
        confusions = off.sum(axis=0) + off.sum(axis=1)
        chosen = np.sort(np.argsort(-confusions, kind="stable")[:_MOST_DRAWN])
    totals = np.maximum(matrix.sum(axis=1), 1)
    rows = tuple(
        tuple(
            Cell(i, j, int(matrix[a, p]), float(matrix[a, p] / totals[a]), bool(a == p))
            for j, p in enumerate(chosen)
        )
        for i, a in enumerate(chosen)
    )
    return Matrix(tuple(metrics.classes[i] for i in chosen), rows, k)
