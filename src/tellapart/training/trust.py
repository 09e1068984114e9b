"""What makes a run's probabilities mean something: temperature, threshold, sets, "none of these".

All of it is found on out-of-fold answers of the training part, which the probe that gave them had not
seen; validation and test pictures only score it. It is kept in the run, in `run.json` and
`trust.safetensors`, with the curve, so that another target error can be chosen afterwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tellapart.evaluation.abstention import (
    RiskCoverage,
    Threshold,
    risk_coverage,
    threshold_for,
)
from tellapart.evaluation.calibration import (
    Calibration,
    apply_temperature,
    calibration,
    cross_fitted,
    fit_temperature,
)
from tellapart.evaluation.conformal import least_probability
from tellapart.evaluation.novelty import Novelty
from tellapart.evaluation.trust_plot import plot_trust
from tellapart.training.logistic import Array, Indices
from tellapart.training.novel_classes import fit_novelty
from tellapart.training.probe import Probe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tellapart.training.recipe import HeadFit, Task  # they need pandas

__all__ = ["TARGET_ERROR", "Trust", "at_temperature", "fit_trust"]

TARGET_ERROR: Final = 0.05
"""How many of the answers called sure may be wrong, where nothing else is asked for."""

MISSES: Final = (0.01, 0.05, 0.1)
"""How often a set of classes may miss the right one: for these shares its bound is kept."""


@dataclass(frozen=True)
class Trust:
    """When to believe a run. All figures are out-of-fold.

    `temperature` is what the probe's logits were divided by; it is in its weights already. `before`
    and `after` say how calibrated the answers were without and with it, each picture at a
    temperature from other folds. `sets` gives, by the share of misses, from which probability on a
    class belongs into a picture's set.
    """

    temperature: float
    before: Calibration
    after: Calibration
    curve: RiskCoverage
    threshold: Threshold
    sets: Mapping[float, float]
    novelty: Novelty | None

    def threshold_for(self, target_error: float) -> Threshold:
        """Another target than the run's own, in (0, 1). Raises ValueError where it is no such share."""
        return threshold_for(target_error, self.curve)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, as notes of a run."""
        return () if self.threshold.value is not None else (self.threshold.sentence(),)

    def plot(self) -> "Figure":
        """A reliability diagram and the risk–coverage curve. Raises MissingExtra without matplotlib."""
        return plot_trust(self.before, self.after, self.temperature, self.curve, self.threshold)

    def calibration_of(self, probabilities: Array, targets: Indices) -> dict[str, Any]:
        """Calibration of other pictures, for JSON, from the calibrated probabilities (N, K)."""
        plain = apply_temperature(probabilities, 1 / self.temperature)
        return {
            "before": calibration(plain, targets).to_json(),
            "after": calibration(probabilities, targets).to_json(),
        }

    def to_json(self) -> dict[str, Any]:
        """All but the arrays."""
        return {
            "temperature": self.temperature,
            "calibration": {
                "out_of_fold": {"before": self.before.to_json(), "after": self.after.to_json()}
            },
            "curve": self.curve.to_json(),
            "threshold": self.threshold.to_json(),
            "sets": {str(miss): least for miss, least in self.sets.items()},
            "novelty": None if self.novelty is None else self.novelty.to_json(),
        }

    @property
    def arrays(self) -> dict[str, Array]:
        """Those of the novelty score; none where there is no such score."""
        return {} if self.novelty is None else self.novelty.arrays

    @classmethod
    def from_json(cls, values: Mapping[str, Any], arrays: Mapping[str, Array]) -> "Trust":
        """The same from `to_json` and `arrays`. Raises KeyError, TypeError or ValueError."""
        own, strange = values["calibration"]["out_of_fold"], values["novelty"]
        return cls(
            float(values["temperature"]),
            Calibration.from_json(own["before"]),
            Calibration.from_json(own["after"]),
            RiskCoverage.from_json(values["curve"]),
            Threshold.from_json(values["threshold"]),
            {float(miss): float(least) for miss, least in values["sets"].items()},
            None if strange is None else Novelty.from_json(strange, arrays),
        )


def fit_trust(
    task: "Task", fit: "HeadFit", target_error: float = TARGET_ERROR
) -> tuple["HeadFit", Trust]:
    """The head at its temperature, with out-of-fold probabilities to match, and what to trust of it.

    A picture's own label has no part in the temperature that its out-of-fold answer is given at. Raises
    ValueError where `target_error` is not in (0, 1).
    """
    before = calibration(fit.out_of_fold, task.targets)
    temperature = fit_temperature(fit.out_of_fold, task.targets)
    own, _ = cross_fitted(fit.out_of_fold, task.targets, task.folds)
    some = task.different  # a copy is no further trial: the promises count pictures that differ
    curve = risk_coverage(own[some], task.targets[some])
    trust = Trust(
        temperature, before, calibration(own, task.targets), curve,
        threshold_for(target_error, curve),
        {miss: least_probability(own[some], task.targets[some], miss) for miss in MISSES},
        fit_novelty(
            task.features, task.targets, task.folds, task.widths,
            seed=task.seed, workers=task.workers,
        ),
    )  # fmt: skip
    facts = {**fit.facts, "temperature": temperature}
    head = replace(fit, probe=at_temperature(fit.probe, temperature), out_of_fold=own, facts=facts)
    return head, trust


def at_temperature(probe: Probe, temperature: float) -> Probe:
    """The same probe with all logits divided by `temperature`, so that all who use it agree."""
    weights, bias = probe.weights / np.float32(temperature), probe.bias / np.float32(temperature)
    return replace(probe, weights=weights, bias=bias)
