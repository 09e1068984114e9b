"""When to stay silent: how many errors are left among the answers that are sure enough.

A promise ("at most 2 % of the answers are wrong") holds for pictures that come as those did which it was
found on. Nothing here knows of pictures of another kind; `novelty.py` is about those.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tellapart.evaluation.calibration import Array, Indices, check_pairs

__all__ = [
    "CONFIDENCE",
    "RiskCoverage",
    "Threshold",
    "binomial_tail",
    "risk_coverage",
    "threshold_for",
]

CONFIDENCE: Final = 0.9
"""How certain a promise is to be kept: in nine of ten data sets like the one it was found on."""

_POINTS = 400  # of a curve
_STARTS = 4
_MOST_NEEDED = 1_000_000


@dataclass(frozen=True)
class RiskCoverage:
    """What is answered, and wrongly, at each threshold on the confidence, over `n` pictures.

    `thresholds` fall; at `thresholds[i]` and above lie `answered[i]` pictures, `errors[i]` of them wrong.
    `area` is the mean error rate over all coverages (AURC), in [0, 1], low is good.
    """

    n: int
    thresholds: tuple[float, ...]
    answered: tuple[int, ...]
    errors: tuple[int, ...]
    area: float

    def at(self, threshold: float) -> tuple[int, int]:
        """How many were answered and how many of these wrongly, by the curve, at most this threshold."""
        rows = [i for i, value in enumerate(self.thresholds) if value >= threshold]
        return (self.answered[rows[-1]], self.errors[rows[-1]]) if rows else (0, 0)

    def to_json(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "RiskCoverage":
        return cls(
            int(values["n"]), tuple(map(float, values["thresholds"])),
            tuple(map(int, values["answered"])), tuple(map(int, values["errors"])),
            float(values["area"]),
        )  # fmt: skip


def risk_coverage(probabilities: Array, targets: Indices, *, points: int = _POINTS) -> RiskCoverage:
    """The risk–coverage curve (El-Yaniv & Wiener 2010) of `probabilities` (N, K) and `targets` (N,).

    At most `points` thresholds are kept, evenly over the pictures; equal confidences are never parted.
    Raises ValueError where the shapes do not fit.

    >>> import numpy as np
    >>> p = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]])
    >>> curve = risk_coverage(p, np.array([0, 1, 0]))
    >>> curve.thresholds, curve.answered, curve.errors
    ((0.9, 0.8, 0.6), (1, 2, 3), (0, 0, 1))
    """
    check_pairs(probabilities, targets)
    confidence = probabilities.max(axis=1).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    sure = confidence[order]
    wrong = np.cumsum(probabilities.argmax(axis=1)[order] != targets[order])
    last = np.append(np.flatnonzero(np.diff(sure)), len(sure) - 1)  # of each confidence
    answered = last + 1
    steps = np.diff(np.append(0, answered))
    area = float((steps * wrong[last] / answered).sum() / len(sure))
    if len(last) > points:
        wanted = np.linspace(1, len(sure), points)
        last = last[np.unique(np.searchsorted(answered, wanted))]
    return RiskCoverage(
        len(sure), tuple(sure[last].tolist()), tuple((last + 1).tolist()),
        tuple(wrong[last].tolist()), area,
    )  # fmt: skip


@dataclass(frozen=True)
class Threshold:
    """The confidence from which an answer is sure, for at most `target_error` errors among these.

    `value` is None where the pictures at hand can promise nothing; `needed` says then how many of them
    it would take, or is None too where no number would do. Of `n` pictures `answered` were at or above
    it, and `errors` of these wrong. The promise is kept with probability `confidence`.
    """

    target_error: float
    confidence: float
    value: float | None
    n: int
    answered: int
    errors: int
    needed: int | None = None

    def sentence(self) -> str:
        """What is promised and what it costs, or why nothing can be promised."""
        share = f"{100 * self.target_error:g} %"
        if self.value is not None:
            return (
                f"sure from {self.value:.3f}: {self.answered:,} of {self.n:,} answered, {self.errors:,} "
                f"wrong; at most {share} errors, with {100 * self.confidence:g} % confidence"
            )
        if self.needed is None:
            return f"no threshold keeps errors below {share}: even the surest answers are wrong too often"
        return (
            f"{self.n:,} training pictures cannot promise errors below {share}; about "
            f"{self.needed:,} such pictures could"
        )

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Threshold":
        return cls(**values)


def threshold_for(
    target_error: float, curve: RiskCoverage, *, confidence: float = CONFIDENCE
) -> Threshold:
    """The lowest threshold for which at most `target_error`, in (0, 1), of the answers will be wrong.

    Learn then test (Angelopoulos et al. 2021): thresholds are tested from the highest down, each by the
    exact binomial tail, and the first that fails ends the row. There are four rows, that begin at
    more and more answered pictures, for one early error not to end it all; they share the risk
    1 − `confidence` (Bonferroni). What begins where depends on the confidences alone.

    Raises ValueError where `target_error` or `confidence` is no share.

    >>> import numpy as np
    >>> p = np.linspace(1, 0.5, 1000)
    >>> late = (np.arange(1000) >= 800).astype(int)  # the least sure fifth is wrong
    >>> found = threshold_for(0.05, risk_coverage(np.stack([p, 1 - p], axis=1), late))
    >>> f"{found.value:.2f} {found.answered} {found.errors}"
    '0.59 828 28'
    """
    for share in (target_error, confidence):
        if not 0 < share < 1:
            raise ValueError(f"a share of {share}; expected more than 0 and less than 1")
    risk = (1 - confidence) / _STARTS
    least = math.ceil(math.log(risk) / math.log1p(-target_error))  # with no error among them
    answered = np.asarray(curve.answered)
    best = -1
    for start in range(_STARTS):
        row = int(np.searchsorted(answered, least * 2**start))
        while row < len(answered) and (
            binomial_tail(curve.errors[row], curve.answered[row], target_error) <= risk
        ):
            best, row = max(best, row), row + 1
    if best < 0:
        needed = _needed(target_error, curve, risk, least)
        return Threshold(target_error, confidence, None, curve.n, 0, 0, needed)
    return Threshold(
        target_error, confidence, curve.thresholds[best], curve.n,
        curve.answered[best], curve.errors[best],
    )  # fmt: skip


def _needed(target_error: float, curve: RiskCoverage, risk: float, least: int) -> int | None:
    """About how many pictures it would take, if the surest half stayed as right as it is."""
    half = min(int(np.searchsorted(curve.answered, curve.n / 2)), len(curve.answered) - 1)
    rate = curve.errors[half] / curve.answered[half]
    if rate >= target_error:
        return None
    n = least
    while n < _MOST_NEEDED and binomial_tail(math.ceil(rate * n), n, target_error) > risk:
        n = math.ceil(1.1 * n)
    share = curve.answered[half] / curve.n
    return max(math.ceil(n / share), curve.n + 1) if n < _MOST_NEEDED else None


def binomial_tail(successes: int, n: int, p: float) -> float:
    """The probability of at most so many successes in `n` trials of probability `p`, in (0, 1).

    >>> f"{binomial_tail(0, 59, 0.05):.4f}"
    '0.0485'
    """
    if successes >= n:
        return 1.0
    k = np.arange(1, successes + 1)
    steps = np.log(n - k + 1) - np.log(k) + math.log(p) - math.log1p(-p)
    logs = n * math.log1p(-p) + np.append(0.0, np.cumsum(steps))
    peak = float(logs.max())
    return min(1.0, math.exp(peak) * float(np.exp(logs - peak).sum()))
