"""Does 0.9 mean nine times in ten? The error of confidences, and one temperature that mends them.

NumPy alone. The temperature can make answers more or less sure; it moves no picture to another class,
and it cannot mend a class that is taken too often, or pictures of another kind than those it saw.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tellapart.evaluation.metrics import wilson_interval

__all__ = [
    "Calibration",
    "ReliabilityBin",
    "apply_temperature",
    "calibration",
    "check_pairs",
    "cross_fitted",
    "fit_temperature",
]

Array = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]

HOTTEST: Final = 5.0
"""Temperatures lie in [1 / HOTTEST, HOTTEST]."""

_SPREAD = 0.25  # standard deviation of the prior on ln T: a handful of pictures moves it little
_SMALLEST = 1e-30
_BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """`n` pictures whose confidences are neighbours: their mean confidence, and how many were right."""

    n: int
    confidence: float
    correct: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(self.correct, self.n)

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "n": self.n, "confidence": self.confidence, "accuracy": self.accuracy,
            "accuracy_low": low, "accuracy_high": high,
        }  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """How far confidences are from accuracies, over `n` pictures; 0 is perfect.

    `error` is the mean distance of the two over the bins, each weighing as its pictures do; a sample of
    a perfect model has more than 0. `debiased_error` has about half of that taken off (of 400 pictures
    of one, 0.041 of 0.073 are left), and is what to report.
    `bins` are the table of a reliability diagram, the least sure first.
    """

    n: int
    error: float
    debiased_error: float
    bins: tuple[ReliabilityBin, ...]

    def sentence(self) -> str:
        """In one line: "calibration error 0.012 (debiased; plain 0.021) over 450 pictures"."""
        return (
            f"calibration error {self.debiased_error:.3f} (debiased; plain {self.error:.3f}) over "
            f"{self.n:,} pictures"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "error": self.error,
            "debiased_error": self.debiased_error,
            "bins": [part.to_json() for part in self.bins],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Calibration":
        bins = tuple(
            ReliabilityBin(int(b["n"]), float(b["confidence"]), round(b["n"] * b["accuracy"]))
            for b in values["bins"]
        )
        return cls(int(values["n"]), float(values["error"]), float(values["debiased_error"]), bins)


def check_pairs(probabilities: Array, targets: Indices) -> None:
    """Raises ValueError where (N, K) and (N,) do not fit, N is 0, or a target is no class."""
    if probabilities.ndim != 2 or targets.shape != probabilities.shape[:1] or not len(targets):
        raise ValueError(
            f"probabilities {probabilities.shape} and targets {targets.shape}; expected (N, K) and "
            "(N,) with N of 1 or more"
        )
    classes = probabilities.shape[1]
    if targets.min() < 0 or targets.max() >= classes:
        raise ValueError(
            f"targets from {targets.min()} to {targets.max()}, expected 0 … {classes - 1}"
        )


def calibration(probabilities: Array, targets: Indices, *, bins: int = _BINS) -> Calibration:
    """The calibration error of the most probable class, in `bins` of equally many pictures.

    `probabilities` (N, K), rows summing to 1, `targets` (N,) in 0 … K − 1. Equal masses (Nguyen &
    O'Connor 2015); the bias of the plain estimate is taken off as in Kumar, Liang & Ma 2019, in closed
    form; why it matters: Roelofs et al. 2022. Raises ValueError where the shapes do not fit.

    >>> import numpy as np
    >>> p = np.tile([0.9, 0.1], (100, 1))
    >>> right = calibration(p, np.arange(100) // 90)
    >>> wrong = calibration(p, np.arange(100) // 60)
    >>> f"{right.debiased_error:.2f} {wrong.debiased_error:.2f}"
    '0.00 0.30'
    """
    check_pairs(probabilities, targets)
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == targets
    parts = _equal_parts(confidence, bins)
    n = np.asarray([len(part) for part in parts])
    sure = np.asarray([confidence[part].mean() for part in parts])
    right = np.asarray([correct[part].mean() for part in parts])
    gap = sure - right
    spread = np.sqrt(np.maximum(right * (1 - right), 0) / np.maximum(n - 1, 1))
    weight = n / n.sum()
    plain = float(weight @ np.abs(gap))
    expected = float(weight @ _folded_mean(gap, spread))
    table = tuple(
        ReliabilityBin(len(part), float(s), int(correct[part].sum()))
        for part, s in zip(parts, sure, strict=True)
    )
    return Calibration(len(targets), plain, min(max(2 * plain - expected, 0.0), plain), table)


def _equal_parts(values: Array, count: int) -> list[Indices]:
    """Rows in `count` parts, about equally many in each, by their values; equal ones stay together."""
    order = np.argsort(values, kind="stable")
    cuts = np.searchsorted(
        values[order], values[order[np.arange(1, count) * len(order) // count]], side="left"
    )
    return [part for part in np.split(order, np.unique(cuts)) if len(part)]


def _folded_mean(mean: Array, spread: Array) -> Array:
    """The expected size of a normal variable, whatever its sign (Leone et al. 1961)."""
    ratio = np.abs(mean) / np.maximum(spread, 1e-12)
    erf = np.asarray([math.erf(min(r, 30.0) / math.sqrt(2)) for r in ratio])
    tail = np.sqrt(2 / np.pi) * np.exp(-(np.minimum(ratio, 30.0) ** 2) / 2)
    return np.asarray(spread * tail + np.abs(mean) * erf)


def apply_temperature(probabilities: Array, temperature: float) -> Array:
    """What the softmax gives when its logits are divided by `temperature`; above 1 is less sure.

    >>> import numpy as np
    >>> apply_temperature(np.array([[0.9, 0.1]]), 2.0).round(2)
    array([[0.75, 0.25]])
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    answer = np.exp(logits)
    answer /= answer.sum(axis=1, keepdims=True)
    return answer.astype(probabilities.dtype)


def fit_temperature(probabilities: Array, targets: Indices) -> float:
    """The temperature with the lowest log loss for `probabilities` (N, K) and `targets` (N,).

    Guo et al. 2017, with a normal prior on ln T (mean 0, standard deviation 0.25): few pictures leave
    it near 1, and many outweigh it. The probabilities have to be of pictures that the model was not
    fitted on. Raises ValueError where the shapes do not fit.

    >>> import numpy as np
    >>> boastful = np.tile([0.99, 0.01], (1000, 1))
    >>> f"{fit_temperature(boastful, np.arange(1000) // 900):.1f}"
    '2.0'
    """
    check_pairs(probabilities, targets)
    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))
    own = logits[np.arange(len(targets)), targets]
    low, high = -math.log(HOTTEST), math.log(HOTTEST)
    cold = 0.0  # ln(1 / T); the slope of the loss in it rises where it is near its minimum
    for _ in range(40):
        slope, curvature = _slope(logits, own, cold)
        low, high = (cold, high) if slope < 0 else (low, cold)
        step = cold - slope / curvature if curvature > 0 else math.inf
        after = step if low < step < high else (low + high) / 2
        if abs(after - cold) < 1e-6:
            break
        cold = after
    return math.exp(-cold)


def _slope(logits: Array, own: Array, cold: float) -> tuple[float, float]:
    """First and second derivative, in ln(1 / T), of the summed log loss and the prior."""
    inverse = math.exp(cold)
    p = np.exp(inverse * (logits - logits.max(axis=1, keepdims=True)))
    p /= p.sum(axis=1, keepdims=True)
    mean = (p * logits).sum(axis=1)
    variance = (p * logits**2).sum(axis=1) - mean**2
    first = inverse * float((mean - own).sum())
    prior = _SPREAD**-2
    return first + prior * cold, first + inverse**2 * float(variance.sum()) + prior


def cross_fitted(
    probabilities: Array, targets: Indices, folds: Indices
) -> tuple[Array, tuple[float, ...]]:
    """Each fold at the temperature that the other folds give, and these temperatures.

    `probabilities` (N, K) are out-of-fold, `folds` (N,) numbers from 0. So a picture's own label has no
    part in the temperature that it is scored with.
    """
    answer, temperatures = probabilities.copy(), []
    for fold in range(int(folds.max()) + 1):
        inside = folds == fold
        some = not inside.all() and inside.any()
        temperatures.append(
            fit_temperature(probabilities[~inside], targets[~inside]) if some else 1.0
        )
        answer[inside] = apply_temperature(probabilities[inside], temperatures[-1])
    return answer, tuple(temperatures)
