"""The frozen stage of training: standardise the features, then a multinomial logistic regression.

Regularisation and feature set (the final vector alone, or all stages) are chosen by stratified,
grouped cross-validation inside the training part. Every fold standardises with its own training
pictures. The out-of-fold probabilities of a fold come from the setting that the *other* folds' scores
chose, so that a picture's own score has no part in the choice of the setting it is scored with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.ordered_map import ordered_map
from tellapart.training.logistic import Array, Indices, Sketch, covariance_sketch, softmax, solve

__all__ = ["Candidate", "Probe", "ProbeFit", "balanced_weights", "fit_probe"]

LADDER: Final = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
"""Regularisations: the penalty on ‖W‖²/2, times the number of pictures. Those of `_ALWAYS` are tried,
others as long as the best one is an outermost."""

_ALWAYS: Final = ((10.0,), (30.0, 100.0))  # solved together; each takes about as long
_MOST_NUMBERS = 1 << 28  # float32 numbers that one batch of problems may hold: 1 GiB
_TOLERANCE = 3e-6
_FINAL_TOLERANCE = 1e-7


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
        """(N, K) for features (N, at least D)."""
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
    views: Sequence[Array] = (),
    balanced: bool = False,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> ProbeFit:
    """Choose by cross-validation over `folds` (N,), then fit on all N pictures.

    `features` is float32 (N, D); `widths` gives each feature set's name and how many of the D, from
    the first on, it takes. `views` are the features of the same pictures, changed: they are fitted
    too, in the fold of their picture, and never scored. With `balanced`, every class weighs the
    same. `workers` groups of problems are solved at a time, each by one thread, so that the answer
    does not depend on their number.
    """
    from threadpoolctl import threadpool_limits  # a run that only predicts does without

    plan = _Plan(targets, classes, folds, balanced, 1 + len(views))
    features = np.concatenate([features, *views]) if views else features
    with threadpool_limits(1, user_api="blas"):
        spaces = _spaces(features, widths, plan, seed)
        tried = _cross_validate(spaces, plan, workers, progress or (lambda done, total: None))
        losses = {key: plan.losses(answer.held_out) for key, answer in tried.items()}
        candidates = [
            Candidate(*key, plan.mean(losses[key]), plan.errors(answer.held_out))
            for key, answer in tried.items()
        ]
        chosen = min(candidates, key=lambda c: (c.log_loss, -c.strength))
        name, strength = chosen.features, chosen.strength
        probe = _fit_final(name, spaces[name], strength, tried[name, strength], plan)
    out_of_fold = _score_honestly(tried, losses, plan)[: len(targets)]
    return ProbeFit(probe, chosen, tuple(candidates), out_of_fold)


class _Plan:
    """Who is held out when, and what each picture weighs; the last row holds nobody out.

    Rows are the pictures `views` times over; the first time they are scored.
    """

    def __init__(
        self, targets: Indices, classes: int, folds: Indices, balanced: bool, views: int
    ) -> None:
        self.scored = np.arange(len(targets) * views) < len(targets)
        targets, folds = np.tile(targets, views), np.tile(folds, views)
        self.targets, self.classes = targets, classes
        self.n, self.count = len(targets), int(folds.max()) + 1
        self.inside = np.arange(self.count + 1)[:, None] != folds
        self.weight = np.zeros((self.count + 1, self.n), np.float32)
        for fold, inside in enumerate(self.inside):
            own = balanced_weights(targets[inside], classes) if balanced else 1.0
            self.weight[fold, inside] = own

    def losses(self, probabilities: Array) -> NDArray[np.float64]:
        own = probabilities[np.arange(self.n), self.targets].astype(np.float64)
        return np.asarray(-np.log(np.maximum(own, 1e-15)))

    def mean(self, losses: NDArray[np.float64], rows: NDArray[np.bool_] | None = None) -> float:
        chosen = self.scored if rows is None else rows & self.scored
        return float(np.average(losses[chosen], weights=self.weight[-1][chosen]))

    def errors(self, probabilities: Array) -> int:
        return int((probabilities.argmax(axis=1) != self.targets)[self.scored].sum())


@dataclass(frozen=True)
class _Space:
    """One feature set, standardised over the whole training part. `scale` (folds + 1, D) turns that
    into each fold's own standardisation, whose shift the bias takes up; the last row is all ones."""

    x: Array
    mean: Array
    std: Array
    scale: Array
    sketch: Sketch


@dataclass(frozen=True)
class _Tried:
    """One setting: probabilities for held-out pictures (N, K), and the fit on all pictures."""

    held_out: Array
    weights: Array
    bias: Array


Key = tuple[str, float]


def _spaces(features: Array, widths: dict[str, int], plan: _Plan, seed: int) -> dict[str, _Space]:
    """The feature sets share one array: each is its first columns."""
    mean = features.mean(axis=0, dtype=np.float64)
    std = features.std(axis=0, dtype=np.float64)
    std[std < 1e-6 * np.maximum(np.abs(mean), 1e-3)] = np.inf  # constant: it can say nothing
    x = features - mean.astype(np.float32)
    x /= std.astype(np.float32)
    inside = plan.inside.astype(np.float32)
    counts = inside.sum(axis=1, keepdims=True)
    variance = inside @ np.square(x) / counts - np.square(inside @ x / counts)
    scale = np.where(variance < 1e-6, 0, 1 / np.sqrt(np.maximum(variance, 1e-6)))
    scale[-1] = 1
    return {
        name: _Space(
            x[:, :d], mean[:d].astype(np.float32), std[:d].astype(np.float32),
            scale[:, :d].astype(np.float32), covariance_sketch(x[:, :d], seed),
        )
        for name, d in widths.items()
    }  # fmt: skip


def _cross_validate(
    spaces: dict[str, _Space], plan: _Plan, workers: int, report: Callable[[int, int], None]
) -> dict[Key, _Tried]:
    """Every setting that is always tried, then further rungs where the best is an outermost one."""
    tried: dict[Key, _Tried] = {}
    jobs: list[tuple[str, tuple[float, ...]]] = [
        (name, strengths) for name in reversed(list(spaces)) for strengths in _ALWAYS
    ]
    done = 0
    while jobs:
        total = done + len(jobs)
        report(done, total)
        answers = ordered_map(
            lambda job: _hold_out(*job, spaces[job[0]], plan), jobs, workers=workers
        )
        for answer in answers:
            tried |= answer
            done += 1
            report(done, total)
        rungs = {name: _next_rung(name, tried, plan) for name in spaces}
        jobs = [(name, (rung,)) for name, rung in rungs.items() if rung is not None]
    return dict(sorted(tried.items()))


def _next_rung(name: str, tried: dict[Key, _Tried], plan: _Plan) -> float | None:
    strengths = sorted(strength for key, strength in tried if key == name)
    best = min(strengths, key=lambda s: plan.mean(plan.losses(tried[name, s].held_out)))
    step = (best == strengths[-1]) - (best == strengths[0])
    rung = LADDER.index(best) + step
    return LADDER[rung] if step and 0 <= rung < len(LADDER) else None


def _hold_out(
    name: str, strengths: Sequence[float], space: _Space, plan: _Plan
) -> dict[Key, _Tried]:
    """All folds, and the fit on all pictures, at these strengths, as many together as memory allows."""
    everything = plan.count  # the number of the problem that holds nothing out
    problems = [(strength, fold) for strength in strengths for fold in range(everything + 1)]
    each = plan.classes * (24 * space.x.shape[1] + 8 * plan.n)
    at_once = max(1, _MOST_NUMBERS // each)
    held_out = {s: np.zeros((plan.n, plan.classes), np.float32) for s in strengths}
    fitted: dict[float, tuple[Array, Array]] = {}
    for start in range(0, len(problems), at_once):
        some = problems[start : start + at_once]
        folds = [fold for _, fold in some]
        penalty = np.asarray([s for s, _ in some]) / plan.inside[folds].sum(axis=1)
        solution = solve(
            space.x, plan.targets, plan.classes, plan.weight[folds], space.scale[folds], penalty,
            sketch=space.sketch, tolerance=_TOLERANCE,
        )  # fmt: skip
        for i, (strength, fold) in enumerate(some):
            out = ~plan.inside[fold]
            held_out[strength][out] = softmax(solution.scores[i][:, out].T)
            if fold == everything:
                fitted[strength] = solution.weights[i : i + 1], solution.bias[i : i + 1]
    return {(name, s): _Tried(held_out[s], *fitted[s]) for s in strengths}


def _fit_final(name: str, space: _Space, strength: float, tried: _Tried, plan: _Plan) -> Probe:
    """The fit on all pictures, solved further than comparing settings needs."""
    solution = solve(
        space.x, plan.targets, plan.classes, plan.weight[-1:], space.scale[-1:],
        np.asarray([strength / plan.n]), sketch=space.sketch, start=(tried.weights, tried.bias),
        tolerance=_FINAL_TOLERANCE,
    )  # fmt: skip
    weights = np.ascontiguousarray(solution.weights[0].T)
    return Probe(name, space.mean, space.std, weights, solution.bias[0])


def _score_honestly(
    tried: dict[Key, _Tried], losses: dict[Key, NDArray[np.float64]], plan: _Plan
) -> Array:
    """For each fold the held-out probabilities of the setting that did best on the other folds."""
    answer = np.zeros((plan.n, plan.classes), np.float32)
    for inside in plan.inside[:-1]:
        best = min(tried, key=lambda key: (plan.mean(losses[key], inside), -key[1]))
        answer[~inside] = tried[best].held_out[~inside]
    return answer
