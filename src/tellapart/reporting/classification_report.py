"""Precision, recall and F1 of every class with intervals, as a table for people."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tellapart.data.plain_text import plain
from tellapart.evaluation.metrics import Metrics, wilson_interval

__all__ = ["ClassRow", "ClassificationReport", "Share", "classification_report"]

_WIDEST = 32  # characters of a class name in text


@dataclass(frozen=True)
class Share:
    """A share in [0, 1] and its 95 % interval; `value` is None where nothing was counted."""

    value: float | None
    low: float
    high: float

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        return f"{100 * self.value:.1f} % ({100 * self.low:.0f}–{100 * self.high:.0f} %)"

    def to_json(self) -> dict[str, float | None]:
        return dict(vars(self))


@dataclass(frozen=True)
class ClassRow:
    """One class: `n` pictures of it, `predicted` pictures taken for it, `correct` of these rightly."""

    name: str
    n: int
    predicted: int
    correct: int

    @property
    def precision(self) -> Share:
        """Of the pictures taken for it, how many are of it; Wilson interval."""
        return _share(self.correct, self.predicted)

    @property
    def recall(self) -> Share:
        """Of its pictures, how many were taken for it; Wilson interval."""
        return _share(self.correct, self.n)

    @property
    def f1(self) -> Share:
        """The harmonic mean of the two, 0 where no picture of it was recognised.

        With J, the share of `correct` among all pictures that are of the class or were taken for it,
        F1 is 2J / (1 + J); so Wilson's interval of J gives that of F1.
        """
        either = self.n + self.predicted - self.correct
        if not either:
            return Share(None, 0.0, 1.0)
        low, high = wilson_interval(self.correct, either)
        return Share(_f1(self.correct / either), _f1(low), _f1(high))


@dataclass(frozen=True)
class ClassificationReport:
    """A row for each class, and the figures of all: `accuracy` with its interval, and plain means.

    `macro` holds the mean precision, recall and F1 of the classes that have pictures; where a class was
    never predicted its precision counts as 0, as in scikit-learn.

    >>> import numpy as np
    >>> found = classification_report(Metrics(("cat", "dog"), np.array([[8, 2], [1, 9]]), 0.4))
    >>> print(found)
    class      n         precision            recall                F1
    cat       10  88.9 % (57–98 %)  80.0 % (49–94 %)  84.2 % (61–95 %)
    dog       10  81.8 % (52–95 %)  90.0 % (60–98 %)  85.7 % (64–95 %)
    macro     20            85.4 %            85.0 %            85.0 %
    accuracy  20  85.0 % (64–95 %)
    """

    rows: tuple[ClassRow, ...]
    accuracy: Share
    n: int

    @property
    def macro(self) -> tuple[float, float, float]:
        there = [row for row in self.rows if row.n]
        columns = zip(*((row.precision, row.recall, row.f1) for row in there), strict=True)
        precision, recall, f1 = (
            sum(share.value or 0.0 for share in column) / len(there) for column in columns
        )
        return precision, recall, f1

    def to_json(self) -> dict[str, Any]:
        precision, recall, f1 = self.macro
        return {
            "n": self.n,
            "accuracy": self.accuracy.to_json(),
            "macro": {"precision": precision, "recall": recall, "f1": f1},
            "classes": {
                row.name: {
                    "n": row.n, "precision": row.precision.to_json(),
                    "recall": row.recall.to_json(), "f1": row.f1.to_json(),
                }
                for row in self.rows
            },
        }  # fmt: skip

    def cells(self) -> Iterator[tuple[str, str, str, str, str]]:
        """The table as text, line by line, without its header."""
        for row in self.rows:
            yield row.name, f"{row.n:,}", str(row.precision), str(row.recall), str(row.f1)
        precision, recall, f1 = (f"{100 * mean:.1f} %" for mean in self.macro)
        yield "macro", f"{self.n:,}", precision, recall, f1
        yield "accuracy", f"{self.n:,}", str(self.accuracy), "", ""

    def __str__(self) -> str:
        lines = [_HEADER, *((_cut(plain(name)), *rest) for name, *rest in self.cells())]
        widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADER))]
        return "\n".join(_aligned(line, widths) for line in lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in _HEADER)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(plain(cell))}</td>" for cell in line) + "</tr>"
            for line in self.cells()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_HEADER = ("class", "n", "precision", "recall", "F1")


def classification_report(metrics: Metrics) -> ClassificationReport:
    """The figures of every class from a confusion matrix."""
    rows = tuple(ClassRow(c.name, c.n, c.predicted, c.correct) for c in metrics.per_class)
    return ClassificationReport(rows, _share(metrics.n - metrics.errors, metrics.n), metrics.n)


def _share(part: int, n: int) -> Share:
    return Share(part / n if n else None, *wilson_interval(part, n))


def _f1(jaccard: float) -> float:
    return 2 * jaccard / (1 + jaccard)


def _cut(name: str) -> str:
    return name if len(name) <= _WIDEST else f"{name[: _WIDEST - 1]}…"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()
