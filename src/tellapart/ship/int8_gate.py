"""What 8 bits cost: the answers of a network in float32 and in int8 to the same pictures, compared in pairs.

Few pictures are answered differently at all, so that two accuracies side by side say little; the pictures
that only one of the two gets right say it (McNemar 1947), and how large the loss may be comes of the same
pictures (Tango 1998, Statistics in Medicine 17:891, which is to pairs what Wilson's interval is to one
proportion). It does not know of copies among the pictures, nor of pictures of another kind.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tellapart.evaluation.paired import exact_p_value, mcnemar

__all__ = ["Int8Gate", "Verdicts", "compare_precisions", "loss_interval"]

Array = NDArray[np.floating[Any]]

_Z95: Final = 1.959963984540054
_SIGNIFICANT: Final = 0.05
_HALVINGS: Final = 60


@dataclass(frozen=True)
class Verdicts:
    """How many of the pictures are called `sure`, and `none_of_these`; `newly_strange` of these were known
    in float32. None where there is no such rule."""

    sure_float: int | None = None
    sure_int8: int | None = None
    strange_float: int | None = None
    strange_int8: int | None = None
    newly_strange: int | None = None


@dataclass(frozen=True)
class Int8Gate:
    """Of `n` pictures, `lost` are right in float32 alone and `gained` in int8 alone.

    `largest_change` is that of any class's probability in any picture, `mean_change` the mean over
    pictures of their largest; both in [0, 1]. `max_loss`, a share of the pictures, is what may be lost.
    """

    n: int
    errors_float: int
    errors_int8: int
    lost: int
    gained: int
    largest_change: float
    mean_change: float
    max_loss: float
    verdicts: Verdicts = Verdicts()

    @property
    def loss(self) -> float:
        """How much less accurate int8 is on these pictures, a share of them; below 0 it is better."""
        return (self.lost - self.gained) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the loss on pictures like these."""
        return loss_interval(self.lost, self.gained, self.n)

    @property
    def p_value(self) -> float:
        """Of McNemar's exact test, in [0, 1]."""
        return exact_p_value(self.lost, self.gained)

    @property
    def accepted(self) -> bool:
        """Whether no more is lost on these pictures than may be."""
        return self.lost - self.gained <= self.max_loss * self.n + 1e-9

    def sentence(self) -> str:
        """In one line, with what the pictures do not show.

        >>> Int8Gate(300, 7, 8, 1, 0, 0.08, 0.002, 0.01).sentence()
        'of 300 pictures 7 are wrong in float32 and 8 in int8 (1 lost, 0 gained): 0.33 points less accurate, \
95 % interval -0.94 to 1.86, no difference is shown (McNemar p = 1); accepted up to 1 point, and so few \
pictures do not rule out more'
        """
        low, high = (100 * bound for bound in self.interval)
        worse = "more" if self.loss < 0 else "less"
        shown = "no difference is shown"
        if self.p_value < _SIGNIFICANT:
            shown = "int8 is better" if self.loss < 0 else "int8 is worse"
        parts = [
            f"of {self.n} pictures {self.errors_float} are wrong in float32 "
            f"and {self.errors_int8} in int8 ({self.lost} lost, {self.gained} gained): "
            f"{100 * abs(self.loss):.2f} points {worse} accurate, 95 % interval {low:.2f} to {high:.2f}, "
            f"{shown} (McNemar p = {self.p_value:.2g})",
            self._decision(),
        ]
        if self.verdicts.newly_strange is not None:
            parts.append(
                f"of those known before {self.verdicts.newly_strange} are now called none of these"
            )
        return "; ".join(parts)

    def _decision(self) -> str:
        points = f"{100 * self.max_loss:g} point" + ("" if self.max_loss == 0.01 else "s")
        if not self.accepted:
            return f"refused above {points}"
        if self.interval[1] > self.max_loss:
            return f"accepted up to {points}, and so few pictures do not rule out more"
        return f"accepted up to {points}"

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "n": self.n,
            "errors_float32": self.errors_float,
            "errors_int8": self.errors_int8,
            "lost": self.lost,
            "gained": self.gained,
            "loss": self.loss,
            "loss_low": low,
            "loss_high": high,
            "p_value": self.p_value,
            "largest_change": self.largest_change,
            "mean_change": self.mean_change,
            "max_loss": self.max_loss,
            "accepted": self.accepted,
            **vars(self.verdicts),
        }


def compare_precisions(
    float_probabilities: Array,
    int8_probabilities: Array,
    targets: NDArray[np.integer[Any]],
    *,
    max_loss: float = 0.01,
    float_novelty: Array | None = None,
    int8_novelty: Array | None = None,
    strange_from: float | None = None,
    sure_from: float | None = None,
) -> Int8Gate:
    """What int8 costs on N pictures, by the probabilities (N, K) of both and the `targets` (N,) in 0 … K − 1.

    `max_loss`, in [0, 1), is the share of pictures by which int8 may be less accurate. Novelty scores (N,)
    of both and `strange_from` say also how many known pictures it takes for strange ones, `sure_from` how
    many answers are sure.

    Raises ValueError where shapes do not fit, there is no picture, or a number is not finite.

    >>> import numpy as np
    >>> both = np.array([[0.9, 0.1], [0.4, 0.6]])
    >>> compare_precisions(both, both, np.array([0, 1])).accepted
    True
    """
    first, second = np.asarray(float_probabilities), np.asarray(int8_probabilities)
    wanted = np.asarray(targets)
    if first.ndim != 2 or first.shape != second.shape or wanted.shape != first.shape[:1]:
        raise ValueError(f"probabilities {first.shape} and {second.shape}, targets {wanted.shape}")
    if not first.size or not 0 <= max_loss < 1:
        raise ValueError(
            f"{first.shape} probabilities and max_loss {max_loss}; expected 0 ≤ loss < 1"
        )
    if wanted.min() < 0 or wanted.max() >= first.shape[1]:
        raise ValueError(
            f"targets {wanted.min()} to {wanted.max()}; expected 0 … {first.shape[1] - 1}"
        )
    if not np.isfinite(first).all() or not np.isfinite(second).all():
        raise ValueError("a probability is not a finite number")
    right, still = first.argmax(axis=1) == wanted, second.argmax(axis=1) == wanted
    lost, gained, _ = mcnemar(right, still)
    change = np.abs(first.astype(np.float64) - second).max(axis=1)
    verdicts = _verdicts(first, second, float_novelty, int8_novelty, strange_from, sure_from)
    return Int8Gate(
        len(right), int((~right).sum()), int((~still).sum()), lost, gained,
        float(change.max()), float(change.mean()), float(max_loss), verdicts,
    )  # fmt: skip


def _verdicts(
    first: Array,
    second: Array,
    float_novelty: Array | None,
    int8_novelty: Array | None,
    strange_from: float | None,
    sure_from: float | None,
) -> Verdicts:
    strange = [np.zeros(len(first), bool)] * 2
    if strange_from is not None:
        strange = [
            _above(float_novelty, strange_from, len(first)),
            _above(int8_novelty, strange_from, len(first)),
        ]
    counts: list[int | None] = [None, None]
    if sure_from is not None:
        for i, probabilities in enumerate((first, second)):
            sure = (probabilities.max(axis=1) >= sure_from) & ~strange[i]
            counts[i] = int(sure.sum())
    if strange_from is None:
        return Verdicts(counts[0], counts[1])
    before, after = strange
    newly = int((after & ~before).sum())
    return Verdicts(counts[0], counts[1], int(before.sum()), int(after.sum()), newly)


def _above(scores: Array | None, bound: float, n: int) -> NDArray[np.bool_]:
    if scores is None or scores.shape != (n,):
        raise ValueError(
            f"expected {n} novelty scores of each precision, got "
            f"{'none' if scores is None else scores.shape}"
        )
    return np.asarray(scores > bound)


def loss_interval(lost: int, gained: int, n: int) -> tuple[float, float]:
    """The 95 % interval of (lost − gained) / n, the difference of two paired proportions (Tango 1998).

    >>> low, high = loss_interval(0, 0, 300)
    >>> f"{low:.4f} {high:.4f}"
    '-0.0126 0.0126'
    """
    return -_upper(gained, lost, n), _upper(lost, gained, n)


def _upper(b: int, c: int, n: int) -> float:
    """The largest difference d for which the score test of (b − c) / n against d does not reject."""
    low, high = (b - c) / n, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _score(b, c, n, middle) > -_Z95:
            low = middle
        else:
            high = middle
    return low


def _score(b: int, c: int, n: int, d: float) -> float:
    """Tango's statistic: how many deviations b − c lies above n · d, with the other probability at its most
    likely value under d."""
    linear = (2 * n - b + c) * d - b - c
    root = math.sqrt(max(0.0, linear * linear + 8 * n * c * d * (1 - d)))
    other = (root - linear) / (4 * n)
    variance = n * (2 * other + d * (1 - d))
    off = b - c - n * d
    return (
        off / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, off) if off else 0.0
    )
