"""What copies on both sides of a split do to a score: the figures with them and without them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tellapart.evaluation.metrics import Metrics, evaluate

__all__ = ["LeakEffect", "leak_effect"]


@dataclass(frozen=True)
class LeakEffect:
    """Figures of held-out pictures: of all, of those without a copy in training, and of the leaked.

    `honest` is None where every held-out picture has leaked.
    """

    all: Metrics
    honest: Metrics | None
    leaked: Metrics

    def sentence(self) -> str:
        """In one line, with counts and intervals."""
        found = (
            f"{self.leaked.n} of {self.all.n} held-out pictures have a copy in training: "
            f"{self.all.sentence()} with them"
        )
        if self.honest is None:
            return f"{found}, and nothing is left without them"
        return f"{found}, {self.honest.sentence()} without them"

    def to_json(self) -> dict[str, Any]:
        return {
            "n": self.leaked.n,
            "all": self.all.to_json(),
            "honest": None if self.honest is None else self.honest.to_json(),
        }


def leak_effect(
    probabilities: NDArray[np.floating[Any]],
    targets: NDArray[np.intp],
    leaked: NDArray[np.bool_],
    classes: Sequence[str],
) -> LeakEffect | None:
    """The effect of held-out pictures that are marked as `leaked` (N,); None where there are none.

    `probabilities` (N, K) are of a classifier that was trained on the other side.

    >>> p = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    >>> found = leak_effect(p, np.array([0, 1, 1]), np.array([True, False, False]), ["cat", "dog"])
    >>> found.all.errors, found.all.n, found.honest.errors, found.honest.n
    (1, 3, 1, 2)
    """
    if not leaked.any():
        return None
    parts = (np.ones_like(leaked), ~leaked, leaked)
    found = [evaluate(probabilities[p], targets[p], classes) if p.any() else None for p in parts]
    whole, honest, own = found
    assert whole is not None
    assert own is not None
    return LeakEffect(whole, honest, own)
