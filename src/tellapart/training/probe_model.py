"""What a probe is, what cross-validation says of one, and the settings that it chooses among."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.training.logistic import Array, Indices, softmax

__all__ = [
    "ALWAYS", "FINAL_TOLERANCE", "LADDER", "TOLERANCE", "Candidate", "Key", "Probe", "ProbeFit",
    "balanced_weights", "best_setting", "judged", "next_rung",
]  # fmt: skip

LADDER: Final = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
"""Regularisations: the penalty on ‖W‖²/2, times the number of pictures. Those of `ALWAYS` are tried,
others as long as the best one is an outermost."""

ALWAYS: Final = ((10.0,), (30.0, 100.0))  # solved together; each takes about as long
TOLERANCE: Final = 3e-6
"""How far, in nats, from its minimum a loss may be where settings are compared; and at the end:"""

FINAL_TOLERANCE: Final = 1e-7

_BLOCK = 8192  # rows whose logits are computed at a time

Key = tuple[str, float]
"""A setting: the name of the feature set, and the strength."""


@dataclass(frozen=True)
class Probe:
    """A classifier on features: logits = x · weights + bias with x = (f − mean) / std.

    `mean` and `std` are float32 (D,), `weights` (D, K), `bias` (K,). `features` says which features
    it takes, "final" or "all"; in both cases the first D of the vector. With a hidden layer of H
    units x is max(0, x · hidden_weights + hidden_bias), and `weights` are (H, K).
    """

    features: str
    mean: Array
    std: Array
    weights: Array
    bias: Array
    hidden_weights: Array | None = None
    hidden_bias: Array | None = None

    @property
    def arrays(self) -> dict[str, Array]:
        """Its arrays by name; those of the hidden layer only where it has one."""
        named = {key: value for key, value in vars(self).items() if key != "features"}
        return {key: value for key, value in named.items() if value is not None}

    def logits(self, features: Array) -> Array:
        """(N, K) for features (N, at least D); of many rows, which may be a mapped file, by blocks."""
        if len(features) > _BLOCK:
            starts = range(0, len(features), _BLOCK)
            return np.concatenate([self.logits(features[i : i + _BLOCK]) for i in starts])
        x = (features[:, : len(self.mean)] - self.mean) / self.std
        if self.hidden_weights is not None and self.hidden_bias is not None:
            x = np.maximum(x @ self.hidden_weights + self.hidden_bias, 0)
        return x @ self.weights + self.bias

    def linear_at(self, features: Array) -> tuple[Array, Array]:
        """Weights (D, K) and bias (K,) with logits = (features − mean) · weights + bias.

        `features` is one picture's vector (at least D,). With a hidden layer they hold where the same of
        its units are active, so for this picture exactly.
        """
        if self.hidden_weights is None or self.hidden_bias is None:
            return self.weights / self.std[:, None], self.bias
        x = (features[: len(self.mean)] - self.mean) / self.std
        active = (x @ self.hidden_weights + self.hidden_bias) > 0
        inner = self.hidden_weights[:, active]
        weights, hidden_bias = self.weights[active], self.hidden_bias[active]
        return inner @ weights / self.std[:, None], self.bias + hidden_bias @ weights

    def probabilities(self, features: Array) -> Array:
        """(N, K), rows summing to 1, for features (N, at least D)."""
        return softmax(self.logits(features))


@dataclass(frozen=True)
class Candidate:
    """One setting and its cross-validated log loss (nats, lower is better) over the training part.

    Both it and `errors` are of the pictures that can judge a setting, see `judged`.
    """

    features: str
    strength: float
    log_loss: float
    errors: int


@dataclass(frozen=True)
class ProbeFit:
    """A trained probe, and what cross-validation said: `out_of_fold` probabilities, float32 (N, K).

    `passes` counts how often the rows were read where they were too many for memory, and is 0 elsewhere;
    `chosen_on` is then the number of pictures that the setting was chosen on.
    """

    probe: Probe
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    out_of_fold: Array
    chosen_on: int = 0
    passes: int = 0


def balanced_weights(targets: Indices, classes: int) -> NDArray[np.float64]:
    """Weights (N,) that make every class count the same, with mean 1."""
    counts = np.bincount(targets, minlength=classes)
    return np.asarray(len(targets) / (np.count_nonzero(counts) * counts[targets]))


def judged(sizes: NDArray[np.float64] | NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether held-out pictures judge a setting, by fold and class (F, K) as the pictures in `sizes` are.

    They do where other folds have their class too. No fit on the other folds has an optimum for a class
    that these lack: its bias, which nothing holds, falls for as long as the solver goes on, and the loss
    of such pictures says how long that was. Where no picture would be left, all judge.

    >>> judged(np.array([[5, 1, 0], [4, 0, 0]])).tolist()
    [[True, False, False], [True, True, False]]
    """
    elsewhere = sizes.sum(axis=0) - sizes > 0
    return elsewhere if (elsewhere & (sizes > 0)).any() else np.ones_like(elsewhere)


def best_setting(losses: Mapping[Key, float]) -> Key:
    """The least loss; of equal ones the strongest regularisation."""
    return min(losses, key=lambda key: (losses[key], -key[1]))


def next_rung(losses: Mapping[float, float]) -> float | None:
    """The strength to try beyond those of one feature set, where the best is an outermost of them.

    >>> next_rung({10.0: 0.5, 30.0: 0.4, 100.0: 0.3}), next_rung({10.0: 0.5, 30.0: 0.4, 100.0: 0.6})
    (300.0, None)
    """
    strengths = sorted(losses)
    best = min(strengths, key=lambda strength: losses[strength])
    step = (best == strengths[-1]) - (best == strengths[0])
    rung = LADDER.index(best) + step
    return LADDER[rung] if step and 0 <= rung < len(LADDER) else None
