"""The frozen stage of training: standardise the features, then a multinomial logistic regression.

Regularisation and feature set (the final vector alone, or all stages) are chosen by stratified,
grouped cross-validation inside the training part. Every fold standardises with its own training
pictures. The out-of-fold probabilities of a fold come from the setting that the *other* folds chose,
so that no picture helps to choose the setting it is scored with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.training.logistic import Array, Indices, Sketch, covariance_sketch, softmax, solve

__all__ = ["Candidate", "Probe", "ProbeFit", "balanced_weights", "fit_probe"]

LADDER: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
"""Regularisations: the penalty on ‖W‖²/2, times the number of pictures. Those of `_ALWAYS` are tried,
others as long as the best one is an outermost."""

_ALWAYS: Final = (10.0, 30.0, 100.0, 300.0)
_MOST_NUMBERS = 1 << 28  # float32 numbers that one batch of problems may hold: 1 GiB
_TOLERANCE = 3e-6
_FINAL_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Probe:
    """A linear classifier on features: logits = ((f − mean) / std) · weights + bias.

    `mean` and `std` are float32 (D,), `weights` (D, K), `bias` (K,). `features` says which features
    it takes, "final" or "all"; in both cases the first D of the vector.
    """

    features: str
    mean: Array
    std: Array
    weights: Array
    bias: Array

    def probabilities(self, features: Array) -> Array:
        """(N, K), rows summing to 1, for features (N, at least D)."""
        standard = (features[:, : len(self.mean)] - self.mean) / self.std
        return softmax(standard @ self.weights + self.bias)


@dataclass(frozen=True)
class Candidate:
    """One setting and its cross-validated log loss (nats, lower is better) over the training part."""

    features: str
    strength: float
    log_loss: float
    errors: int


@dataclass(frozen=True)
class ProbeFit:
    """A trained probe, and what cross-validation said: `out_of_fold` probabilities, float32 (N, K)."""

    probe: Probe
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    out_of_fold: Array
    iterations: int


def balanced_weights(targets: Indices, classes: int) -> NDArray[np.float64]:
    """Weights (N,) that make every class count the same, with mean 1."""
    counts = np.bincount(targets, minlength=classes)
    return np.asarray(len(targets) / (np.count_nonzero(counts) * counts[targets]))


def fit_probe(
    features: Array,
    targets: Indices,
    classes: int,
    folds: Indices,
    widths: dict[str, int],
    *,
    balanced: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ProbeFit:
    """Choose by cross-validation over `folds` (N,), then fit on all N pictures.

    `features` is float32 (N, D); `widths` gives each feature set's name and how many of the D, from
    the first on, it takes. With `balanced`, every class weighs the same.
    """
    report = progress or (lambda done, total: None)
    plan = _Plan(targets, classes, folds, balanced)
    held_out: dict[tuple[str, float], Array] = {}
    spaces: dict[str, _Space] = {}
    iterations = 0
    report(0, len(widths) + 1)
    for done, (name, width) in enumerate(widths.items()):
        spaces[name] = space = _Space.of(features[:, :width], plan, seed)
        scores, count = _cross_validate(space, plan)
        held_out.update({(name, strength): p for strength, p in scores.items()})
        iterations = max(iterations, count)
        report(done + 1, len(widths) + 1)
    losses = {key: plan.losses(p) for key, p in held_out.items()}
    candidates = [
        Candidate(name, strength, float(plan.mean(losses[name, strength])), plan.errors(p))
        for (name, strength), p in held_out.items()
    ]
    chosen = min(candidates, key=lambda c: (c.log_loss, -c.strength))
    probe = _fit_final(spaces[chosen.features], chosen, plan)
    report(len(widths) + 1, len(widths) + 1)
    out_of_fold = _score_honestly(held_out, losses, plan)
    return ProbeFit(probe, chosen, tuple(candidates), out_of_fold, iterations)


class _Plan:
    """Who is held out when, and what each picture weighs."""

    def __init__(self, targets: Indices, classes: int, folds: Indices, balanced: bool) -> None:
        self.targets, self.classes, self.folds = targets, classes, folds
        self.n, self.count = len(targets), int(folds.max()) + 1
        self.inside = np.arange(self.count)[:, None] != folds
        self.weight = balanced_weights(targets, classes) if balanced else np.ones(self.n)
        self.fold_weight = np.zeros((self.count, self.n), np.float32)
        for fold, inside in enumerate(self.inside):
            own = balanced_weights(targets[inside], classes) if balanced else 1.0
            self.fold_weight[fold, inside] = own

    def losses(self, probabilities: Array) -> NDArray[np.float64]:
        own = probabilities[np.arange(self.n), self.targets].astype(np.float64)
        return np.asarray(-np.log(np.maximum(own, 1e-15)))

    def mean(self, losses: NDArray[np.float64], rows: NDArray[np.bool_] | None = None) -> float:
        chosen = slice(None) if rows is None else rows
        return float(np.average(losses[chosen], weights=self.weight[chosen]))

    def errors(self, probabilities: Array) -> int:
        return int((probabilities.argmax(axis=1) != self.targets).sum())


@dataclass(frozen=True)
class _Space:
    """One feature set, standardised over the whole training part; `scale` (folds, D) turns that into
    each fold's own standardisation, whose shift the bias takes up."""

    x: Array
    mean: Array
    std: Array
    scale: Array
    sketch: Sketch

    @classmethod
    def of(cls, features: Array, plan: _Plan, seed: int) -> "_Space":
        mean = features.mean(axis=0, dtype=np.float64)
        std = features.std(axis=0, dtype=np.float64)
        constant = std < 1e-6 * np.maximum(np.abs(mean), 1e-3)
        std[constant] = np.inf
        x = ((features - mean.astype(np.float32)) / std.astype(np.float32)).astype(np.float32)
        x = np.ascontiguousarray(x)
        inside = plan.inside.astype(np.float32)
        counts = np.maximum(inside.sum(axis=1, keepdims=True), 1)
        centre = inside @ x / counts
        variance = inside @ np.square(x) / counts - np.square(centre)
        scale = 1 / np.sqrt(np.maximum(variance, 1e-12))
        scale[variance < 1e-6] = 0  # constant in this fold: it can say nothing
        return cls(
            x, mean.astype(np.float32), std.astype(np.float32), scale, covariance_sketch(x, seed)
        )


def _cross_validate(space: _Space, plan: _Plan) -> tuple[dict[float, Array], int]:
    """For each strength that was tried the held-out probabilities (N, K)."""
    answers, iterations = _hold_out(space, plan, _ALWAYS)
    while True:
        tried = sorted(answers)
        best = min(tried, key=lambda strength: plan.mean(plan.losses(answers[strength])))
        rung = LADDER.index(best)
        step = (best == tried[-1]) - (best == tried[0])
        if step == 0 or not 0 <= rung + step < len(LADDER):
            return answers, iterations
        more, count = _hold_out(space, plan, [LADDER[rung + step]])
        answers |= more
        iterations = max(iterations, count)


def _hold_out(
    space: _Space, plan: _Plan, strengths: Sequence[float]
) -> tuple[dict[float, Array], int]:
    """All folds at all of these strengths, as many together as memory allows."""
    problems = [(strength, fold) for strength in strengths for fold in range(plan.count)]
    each = plan.classes * (24 * space.x.shape[1] + 8 * plan.n)
    at_once = max(1, _MOST_NUMBERS // each)
    answers = {s: np.zeros((plan.n, plan.classes), np.float32) for s in strengths}
    iterations = 0
    for start in range(0, len(problems), at_once):
        some = problems[start : start + at_once]
        folds = [fold for _, fold in some]
        weight = plan.fold_weight[folds]
        penalty = np.asarray([s for s, _ in some]) / plan.inside[folds].sum(axis=1)
        solution = solve(
            space.x, plan.targets, plan.classes, weight, space.scale[folds], penalty,
            sketch=space.sketch, tolerance=_TOLERANCE,
        )  # fmt: skip
        iterations = max(iterations, solution.iterations)
        for (strength, fold), scores in zip(some, solution.scores, strict=True):
            out = ~plan.inside[fold]
            answers[strength][out] = softmax(scores[:, out].T)
    return answers, iterations


def _fit_final(space: _Space, chosen: Candidate, plan: _Plan) -> Probe:
    ones = np.ones((1, space.x.shape[1]), np.float32)
    solution = solve(
        space.x, plan.targets, plan.classes, plan.weight[None].astype(np.float32), ones,
        np.asarray([chosen.strength / plan.n]), sketch=space.sketch, tolerance=_FINAL_TOLERANCE,
    )  # fmt: skip
    weights = np.ascontiguousarray(solution.weights[0].T)
    return Probe(chosen.features, space.mean, space.std, weights, solution.bias[0])


def _score_honestly(
    held_out: dict[tuple[str, float], Array],
    losses: dict[tuple[str, float], NDArray[np.float64]],
    plan: _Plan,
) -> Array:
    """For each fold the held-out probabilities of the setting that did best on the other folds."""
    answer = np.zeros((plan.n, plan.classes), np.float32)
    for inside in plan.inside:
        best = min(held_out, key=lambda key: (plan.mean(losses[key], inside), -key[1]))
        answer[~inside] = held_out[best][~inside]
    return answer
