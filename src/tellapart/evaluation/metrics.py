"""What predictions are worth: every figure with its count and its interval.

NumPy alone, since base installs evaluate too; the tests hold these against scikit-learn and SciPy.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassMetrics", "Confusion", "Metrics", "evaluate", "wilson_interval"]

_Z95 = 1.959963984540054
_SMALLEST = 1e-15


def wilson_interval(successes: int, n: int, z: float = _Z95) -> tuple[float, float]:
    """The interval for a proportion, in [0, 1], at 95 % by default (Wilson 1927).

    >>> low, high = wilson_interval(104, 105)
    >>> f"{low:.3f} {high:.3f}"
    '0.948 0.998'
    """
    if n == 0:
        return 0.0, 1.0
    p, zz = successes / n, z * z
    centre = (p + zz / (2 * n)) / (1 + zz / n)
    half = z / (1 + zz / n) * float(np.sqrt(p * (1 - p) / n + zz / (4 * n * n)))
    return (
        0.0 if successes == 0 else max(0.0, centre - half),
        1.0 if successes == n else min(1.0, centre + half),
    )


@dataclass(frozen=True)
class ClassMetrics:
    """One class: `n` pictures of it; precision and recall in [0, 1], None where nothing was counted."""

    name: str
    n: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float | None:
        return self.correct / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        return self.correct / self.n if self.n else None

    def to_json(self) -> dict[str, Any]:
        """With 95 % Wilson intervals."""
        return {
            "n": self.n,
            "precision": self.precision,
            "precision_interval": wilson_interval(self.correct, self.predicted),
            "recall": self.recall,
            "recall_interval": wilson_interval(self.correct, self.n),
        }


@dataclass(frozen=True)
class Confusion:
    """`n` pictures of class `actual` were taken for `predicted`."""

    actual: str
    predicted: str
    n: int


@dataclass(frozen=True)
class Metrics:
    """What N predictions are worth.

    `matrix` counts pictures, int (K, K): rows are actual classes, columns predicted ones. `log_loss`
    is the mean of −ln p of the actual class, in nats, 0 is perfect.
    """

    classes: tuple[str, ...]
    matrix: NDArray[np.intp]
    log_loss: float

    @property
    def n(self) -> int:
        return int(self.matrix.sum())

    @property
    def errors(self) -> int:
        return self.n - int(np.trace(self.matrix))

    @property
    def accuracy(self) -> float:
        return 1 - self.errors / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(self.n - self.errors, self.n)

    @property
    def per_class(self) -> tuple[ClassMetrics, ...]:
        m = self.matrix
        return tuple(
            ClassMetrics(name, int(m[i].sum()), int(m[:, i].sum()), int(m[i, i]))
            for i, name in enumerate(self.classes)
        )

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that occur."""
        return float(np.mean([c.recall for c in self.per_class if c.recall is not None]))

    def most_confused(self, least: int = 1) -> tuple[Confusion, ...]:
        """Pairs confused at least so often, the most frequent first."""
        actual, predicted = np.nonzero(self.matrix >= max(least, 1))
        pairs = [
            Confusion(self.classes[a], self.classes[p], int(self.matrix[a, p]))
            for a, p in zip(actual, predicted, strict=True)
            if a != p
        ]
        return tuple(sorted(pairs, key=lambda pair: (-pair.n, pair.actual, pair.predicted)))

    def sentence(self) -> str:
        """In one line: "error rate 0.95 %: 1 of 105; 95 % interval 0.2–5.2 %"."""
        low, high = self.interval
        return (
            f"error rate {100 * self.errors / self.n:.2f} %: {self.errors} of {self.n}; "
            f"95 % interval {100 * (1 - high):.1f}–{100 * (1 - low):.1f} %"
        )

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "n": self.n,
            "errors": self.errors,
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "balanced_accuracy": self.balanced_accuracy,
            "log_loss": self.log_loss,
            "per_class": {c.name: c.to_json() for c in self.per_class},
            "most_confused": [[c.actual, c.predicted, c.n] for c in self.most_confused()[:20]],
            "confusion_matrix": self.matrix.tolist(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Metrics":
        matrix = np.asarray(values["confusion_matrix"], np.intp)
        return cls(tuple(values["per_class"]), matrix, float(values["log_loss"]))

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence())}</p>"


def evaluate(
    probabilities: NDArray[np.floating[Any]], targets: NDArray[np.intp], classes: Sequence[str]
) -> Metrics:
    """Metrics of `probabilities` (N, K), rows summing to 1, for `targets` (N,) in 0 … K − 1.

    Raises ValueError where shapes do not fit, a target is no class, or there is no picture.

    >>> import numpy as np
    >>> p = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    >>> evaluate(p, np.array([0, 1, 1]), ["cat", "dog"]).sentence()
    'error rate 33.33 %: 1 of 3; 95 % interval 6.1–79.2 %'
    """
    n, k = probabilities.shape
    if n == 0 or targets.shape != (n,) or k != len(classes):
        raise ValueError(
            f"probabilities {probabilities.shape}, targets {targets.shape}, {len(classes)} classes"
        )
    if targets.min() < 0 or targets.max() >= k:  # a negative one would count for the last class
        raise ValueError(f"targets from {targets.min()} to {targets.max()}, expected 0 … {k - 1}")
    matrix = np.zeros((k, k), np.intp)
    np.add.at(matrix, (targets, probabilities.argmax(axis=1)), 1)
    own = probabilities[np.arange(n), targets].astype(np.float64)
    loss = float(-np.log(np.clip(own, _SMALLEST, None)).mean())
    return Metrics(tuple(classes), matrix, loss)
