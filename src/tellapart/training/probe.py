"""The frozen stage of training: standardise the features, then a multinomial logistic regression.

Regularisation and feature set (the final vector alone, or all stages) are chosen by stratified,
grouped cross-validation inside the training part. Every fold standardises with its own training
pictures. The out-of-fold probabilities of a fold come from the setting that the *other* folds' scores
chose, so that a picture's own score has no part in the choice of the setting it is scored with.
Pictures of a class that only their own fold has get their probabilities, but judge no setting.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tellapart.data.ordered_map import ordered_map
from tellapart.model.backbones import cache_folder
from tellapart.training.logistic import Array, Indices, Sketch, covariance_sketch, softmax, solve
from tellapart.training.probe_model import (
    ALWAYS,
    FINAL_TOLERANCE,
    TOLERANCE,
    Candidate,
    Key,
    Probe,
    ProbeFit,
    balanced_weights,
    best_setting,
    judged,
    next_rung,
)
from tellapart.training.row_blocks import Rows, as_rows, memory_budget, whole
from tellapart.training.streamed_probe import fit_streamed

__all__ = ["Candidate", "Probe", "ProbeFit", "balanced_weights", "bytes_in_memory", "fit_probe"]

_MOST_NUMBERS = 1 << 28  # float32 numbers that one batch of problems may hold: 1 GiB


def fit_probe(
    features: Array | Rows,
    targets: Indices,
    classes: int,
    folds: Indices,
    widths: dict[str, int],
    *,
    views: Sequence[Array | Rows] = (),
    balanced: bool = False,
    seed: int = 0,
    workers: int = 2,
    memory: int | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ProbeFit:
    """Choose by cross-validation over `folds` (N,), then fit on all N pictures.

    `features` is float32 (N, D), an array or `Rows`; `widths` gives each feature set's name and how many
    of the D, from the first on, it takes. `views` are the features of the same pictures, changed: they
    are fitted too, in the fold of their picture, and never scored. With `balanced`, every class weighs
    the same. `workers` groups of problems are solved at a time, each by one thread, so that the answer
    does not depend on their number.

    Where that would take more than `memory` (bytes or, say, "512M"; by default TELLAPART_MEMORY or
    4 GiB) beside the features, the rows are read in passes instead (`streamed_probe.py`): the same
    regression, with answers that agree but for rounding. Raises UsageError for a memory that is no
    size, DatasetError where the disk has no room for what rests there.
    """
    from threadpoolctl import threadpool_limits  # a run that only predicts does without

    report, budget = progress or (lambda done, total: None), memory_budget(memory)
    with threadpool_limits(1, user_api="blas"):
        if bytes_in_memory(features.shape, classes, 1 + len(views), workers) > budget:
            return fit_streamed(
                [as_rows(part) for part in (features, *views)], targets, classes, folds, widths,
                folder=cache_folder(), balanced=balanced, seed=seed, workers=workers,
                most_numbers=max(budget // 16, 1 << 25), progress=report,
            )  # fmt: skip
        plan = _Plan(targets, classes, folds, balanced, 1 + len(views))
        spaces = _spaces(_stacked(features, views), widths, plan, seed)
        tried = _cross_validate(spaces, plan, workers, report)
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


def bytes_in_memory(shape: tuple[int, ...], classes: int, views: int = 1, workers: int = 2) -> int:
    """About what fitting in memory takes beside features of this shape, (N, D), in all their views.

    Two or three copies of them, and of each picture the scores of some dozens of problems.

    >>> round(bytes_in_memory((100_000, 2000), 4) / 1e9, 1)
    1.9
    """
    n, d = shape[0] * views, shape[1]
    copies = 2 if views == 1 else 3
    problems = 6 * sum(map(len, ALWAYS))  # five folds and all pictures, at each strength
    solving = min(problems * classes * (24 * d + 8 * n), max(1, workers) * _MOST_NUMBERS)
    return 4 * (n * (copies * d + (problems + 6) * classes) + solving)


def _stacked(features: Array | Rows, views: Sequence[Array | Rows]) -> Array:
    parts = [whole(part) for part in (features, *views)]
    return np.concatenate(parts) if views else parts[0]


class _Plan:
    """Who is held out when, and what each picture weighs; the last row holds nobody out.

    Rows are the pictures `views` times over; the first time they are scored, where other folds have
    their class too.
    """

    def __init__(
        self, targets: Indices, classes: int, folds: Indices, balanced: bool, views: int
    ) -> None:
        self.count = int(folds.max()) + 1
        sizes = np.zeros((self.count, classes), np.intp)
        np.add.at(sizes, (folds, targets), 1)
        self.scored = np.arange(len(targets) * views) < len(targets)
        targets, folds = np.tile(targets, views), np.tile(folds, views)
        self.scored &= judged(sizes)[folds, targets]
        self.targets, self.classes, self.n = targets, classes, len(targets)
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
        (name, strengths) for name in reversed(list(spaces)) for strengths in ALWAYS
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
        rungs = {
            name: next_rung({
                strength: plan.mean(plan.losses(answer.held_out))
                for (key, strength), answer in tried.items()
                if key == name
            })
            for name in spaces
        }  # fmt: skip
        jobs = [(name, (rung,)) for name, rung in rungs.items() if rung is not None]
    return dict(sorted(tried.items()))


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
            sketch=space.sketch, tolerance=TOLERANCE,
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
        tolerance=FINAL_TOLERANCE,
    )  # fmt: skip
    weights = np.ascontiguousarray(solution.weights[0].T)
    return Probe(name, space.mean, space.std, weights, solution.bias[0])


def _score_honestly(
    tried: dict[Key, _Tried], losses: dict[Key, NDArray[np.float64]], plan: _Plan
) -> Array:
    """For each fold the held-out probabilities of the setting that did best on the other folds."""
    answer = np.zeros((plan.n, plan.classes), np.float32)
    for inside in plan.inside[:-1]:
        best = best_setting({key: plan.mean(losses[key], inside) for key in tried})
        answer[~inside] = tried[best].held_out[~inside]
    return answer
