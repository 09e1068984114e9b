"""What a probe says of pictures that it has not seen, fast enough for a check.

Training chooses its setting from a ladder, on all D features; a check looks at ten thousand pictures in
a tenth of the time that embedding them took. So the features are standardised and turned onto their
leading principal components first, found without labels by a randomised range finder (Halko, Martinsson
& Tropp 2011) in a sample of the pictures, and a multinomial logistic regression is cross-validated on
these. The last vector alone is not tried: with all stages the regression was better on every data set
measured. What it does not know: copies that were given different groups still tell on each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.ordered_map import ordered_map
from tellapart.data.split import deal
from tellapart.errors import DatasetError
from tellapart.training.logistic import Array, Indices, Sketch, softmax, solve

__all__ = [
    "FoldFits", "deal_folds", "fit_folds", "held_out", "leading_axes", "out_of_fold",
    "principal_components", "refit_folds",
]  # fmt: skip

WIDTH: Final = 512
"""Components that are kept; of less than 1,950 pictures more, and of 1,000 or less all."""

STRENGTHS: Final = (5.0, 20.0, 80.0)
"""Penalties on ‖W‖²/2, times the number of pictures; the other folds' log loss chooses for a fold."""

_FREE = 1_000_000  # numbers of components that take little time, however few the pictures
_SAMPLE = 4096  # pictures in which the components are found
_SPARE = 16  # further directions of the range finder
_CHUNK = 1024  # pictures that one thread projects at a time
_MOST_FITTED = 20_000  # pictures that a regression is fitted on; all get their probabilities
_MOST_NUMBERS = 1 << 27  # float32 numbers that one batch of problems may hold: 512 MiB
_SKETCH = 128
_TOLERANCE = 1e-4


def out_of_fold(
    features: Array,
    targets: Indices,
    classes: int,
    groups: Indices,
    *,
    folds: int = 5,
    keys: Sequence[str] | None = None,
    seed: int = 0,
    workers: int = 2,
) -> tuple[NDArray[np.float32], Indices]:
    """Out-of-fold probabilities, float32 (N, K) with rows summing to 1, and the fold of each picture (N,).

    `features` float32 (N, D), `targets` (N,) in 0 … K − 1, `groups` (N,) with one number for all
    copies of a picture: they share a fold. Folds are stratified; `keys` (content hashes, say) make
    them independent of the rows' order. A class that has no picture outside a fold gets a
    probability of about 0 there. The answer does not depend on `workers`.

    Raises DatasetError where there are no two groups, or all pictures have one label.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> targets = np.arange(60) % 3
    >>> features = rng.normal(size=(60, 20)).astype(np.float32) + 3 * np.eye(20)[targets]
    >>> found, folds = out_of_fold(features.astype(np.float32), targets, 3, np.arange(60))
    >>> found.shape, int((found.argmax(axis=1) == targets).sum()) >= 55, np.bincount(folds).tolist()
    ((60, 3), True, [12, 12, 12, 12, 12])
    """
    if len(np.unique(targets)) < 2:
        raise DatasetError("all pictures have one label; a classifier needs two classes or more")
    components = principal_components(features, seed=seed, workers=workers)
    parts = deal_folds(targets, groups, folds=folds, keys=keys, seed=seed)
    return held_out(components, targets, classes, parts, workers=workers), parts


def deal_folds(
    targets: Indices,
    groups: Indices,
    *,
    folds: int = 5,
    keys: Sequence[str] | None = None,
    seed: int = 0,
) -> Indices:
    """The fold of each picture, (N,): stratified by `targets` (N,), a group never divided.

    There are as many folds as groups where these are fewer. Raises DatasetError where there are no
    two groups.
    """
    own = np.unique(groups, return_inverse=True)[1]
    count = min(folds, int(own.max(initial=-1)) + 1)
    if count < 2:
        raise DatasetError("all pictures are copies of one; cross-validation needs two that differ")
    labels = [str(target) for target in targets.tolist()]
    names = [f"{row:09d}" for row in range(len(labels))] if keys is None else list(keys)
    parts = deal(labels, own, [1 / count] * count, keys=names, seed=seed)
    return np.unique(parts, return_inverse=True)[1]


def principal_components(
    features: Array, *, width: int | None = None, seed: int = 0, workers: int = 2
) -> NDArray[np.float32]:
    """The standardised features along their leading directions, float32 (N, R), the strongest first.

    `features` is float32 (N, D); R is `width`, or less where N − 1 or D is.
    Without a `width` it is `WIDTH`, or 1,000,000 / N where that is more. The variance of a column
    is in units of a standardised feature's; columns are about uncorrelated. Mean, deviation and
    directions are those of at most 4,096 pictures, drawn by `seed`.

    >>> import numpy as np
    >>> features = np.random.default_rng(0).normal(size=(50, 9)).astype(np.float32)
    >>> principal_components(features).shape
    (50, 9)
    """
    from threadpoolctl import threadpool_limits  # as in training/probe.py

    n, d = features.shape
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(n, _SAMPLE, replace=False)) if n > _SAMPLE else np.arange(n)
    sample = features[rows]
    mean, std = sample.mean(axis=0), sample.std(axis=0)
    std[std < 1e-6 * np.maximum(np.abs(mean), 1e-3)] = np.inf  # constant: it can say nothing
    sample -= mean
    sample /= std
    wanted = max(WIDTH, _FREE // n) if width is None else width
    rank = max(1, min(wanted, len(rows) - 1, d))
    start = rng.standard_normal((d, min(rank + _SPARE, d)), np.float32)
    with threadpool_limits(1, user_api="blas"):
        basis = _leading(sample, start, workers)[:, :rank] / std[:, None]
        shift = mean @ basis
        answer = np.empty((n, rank), np.float32)

        def project(first: int) -> None:
            answer[first : first + _CHUNK] = features[first : first + _CHUNK] @ basis - shift

        for _ in ordered_map(project, range(0, n, _CHUNK), workers=workers):
            pass
    return answer


def _leading(x: Array, start: Array, workers: int) -> Array:
    """Leading directions (D, R) of xᵀx, the strongest first; one power iteration beyond the sketch."""
    parts = [x[first : first + _CHUNK] for first in range(0, len(x), _CHUNK)]
    basis = start
    for _ in range(2):
        basis = np.linalg.qr(sum(_products(parts, basis, workers), np.float32(0)))[0]
    narrow = x @ basis
    _, rotation = np.linalg.eigh(narrow.T @ narrow)
    return basis @ rotation[:, ::-1]


def _products(parts: Sequence[Array], basis: Array, workers: int) -> Iterator[Array]:
    return ordered_map(lambda part: part.T @ (part @ basis), parts, workers=workers)


@dataclass(frozen=True)
class FoldFits:
    """A regression per fold, fitted on the others: `probabilities` float32 (N, K) are of those left out.

    `strengths` (F,) are the penalties, `weights` float32 (F, K, R) and `bias` (F, K) the solutions.
    """

    probabilities: NDArray[np.float32]
    strengths: tuple[float, ...]
    weights: Array
    bias: Array


def held_out(
    components: Array,
    targets: Indices,
    classes: int,
    folds: Indices,
    *,
    sample_weight: Array | None = None,
    strengths: Sequence[float] = STRENGTHS,
    workers: int = 2,
) -> NDArray[np.float32]:
    """Probabilities of each picture from a regression on the other folds, float32 (N, K).

    The arguments are those of `fit_folds`.
    """
    return fit_folds(
        components, targets, classes, folds,
        sample_weight=sample_weight, strengths=strengths, workers=workers,
    ).probabilities  # fmt: skip


def fit_folds(
    components: Array,
    targets: Indices,
    classes: int,
    folds: Indices,
    *,
    sample_weight: Array | None = None,
    strengths: Sequence[float] = STRENGTHS,
    workers: int = 2,
    tolerance: float = _TOLERANCE,
) -> FoldFits:
    """Cross-validated regressions, each fold's at the strength that did best on the other folds.

    `components` float32 (N, R) are those of `principal_components`. `sample_weight` (N,) ≥ 0 says
    how much a picture counts in training, 0 for not at all; it gets its probabilities all the same.
    """
    weight = np.ones(len(targets), np.float32) if sample_weight is None else sample_weight
    count = int(folds.max()) + 1
    problems = [(strength, fold) for strength in strengths for fold in range(count)]
    rows, share = _fitted_on(targets, weight)
    problem = _Folds(components, targets, classes, folds, rows, share)
    answers = problem.solve(problems, None, workers, tolerance)
    tried = {
        strength: _left_out(components, folds, answers, [strength] * count)
        for strength in strengths
    }
    chosen = _chosen_strengths(tried, targets, folds, weight)
    return _fits(components, folds, answers, chosen)


def refit_folds(
    fits: FoldFits,
    components: Array,
    targets: Indices,
    folds: Indices,
    *,
    sample_weight: Array | None = None,
    workers: int = 2,
    tolerance: float = _TOLERANCE,
) -> FoldFits:
    """The same regressions after labels or weights have changed, at the strengths that they had.

    They begin where `fits` ended, so that after a few changes little is left to do.
    """
    weight = np.ones(len(targets), np.float32) if sample_weight is None else sample_weight
    classes = fits.weights.shape[1]
    rows, share = _fitted_on(targets, weight)
    problem = _Folds(components, targets, classes, folds, rows, share)
    problems = list(zip(fits.strengths, range(len(fits.strengths)), strict=True))
    answers = problem.solve(problems, (fits.weights, fits.bias), workers, tolerance)
    return _fits(components, folds, answers, fits.strengths)


Answers = dict[tuple[float, int], tuple[Array, Array]]
"""Weights (K, R) and bias (K,) by strength and the fold that was left out."""


@dataclass(frozen=True)
class _Folds:
    """The pictures that regressions are fitted on: `rows` (M,) of them, each counting `share` (M,)."""

    components: Array
    targets: Indices
    classes: int
    folds: Indices
    rows: Indices
    share: Array

    def solve(
        self,
        problems: Sequence[tuple[float, int]],
        start: tuple[Array, Array] | None,
        workers: int,
        tolerance: float,
    ) -> Answers:
        """The solution of each problem (strength, fold left out), some of them side by side.

        `start` holds weights (P, K, R) and bias (P, K) to begin from.
        """
        from threadpoolctl import threadpool_limits

        whole = len(self.rows) == len(self.components)
        x = self.components if whole else self.components[self.rows]
        sketch, own = leading_axes(x), self.folds[self.rows]
        numbers = self.classes * (8 * len(x) + 24 * x.shape[1])
        side_by_side = min(int(self.folds.max()) + 1, -(-len(problems) // 2))
        at_once = max(1, min(side_by_side, _MOST_NUMBERS // numbers))
        jobs = [
            slice(first, min(first + at_once, len(problems)))
            for first in range(0, len(problems), at_once)
        ]

        def job(part: slice) -> Answers:
            some = problems[part]
            inside = np.stack([self.share * (own != fold) for _, fold in some]).astype(np.float32)
            solution = solve(
                x, self.targets[self.rows], self.classes, inside,
                np.ones((len(some), x.shape[1]), np.float32),
                np.asarray([strength / len(x) for strength, _ in some]), sketch=sketch,
                start=None if start is None else (start[0][part], start[1][part]),
                tolerance=tolerance,
            )  # fmt: skip
            return dict(zip(some, zip(solution.weights, solution.bias, strict=True), strict=True))

        with threadpool_limits(1, user_api="blas"):
            return dict(
                pair
                for answer in ordered_map(job, jobs, workers=workers)
                for pair in answer.items()
            )


def _left_out(
    components: Array, folds: Indices, answers: Answers, strengths: Sequence[float]
) -> NDArray[np.float32]:
    """What each fold's regression, at its strength, says of that fold, (N, K)."""
    classes = len(next(iter(answers.values()))[1])
    found = np.zeros((len(folds), classes), np.float32)
    for fold, strength in enumerate(strengths):
        out, (weights, bias) = folds == fold, answers[strength, fold]
        found[out] = softmax(components[out] @ weights.T + bias)
    return found


def _fits(
    components: Array, folds: Indices, answers: Answers, strengths: Sequence[float]
) -> FoldFits:
    solutions = [answers[strength, fold] for fold, strength in enumerate(strengths)]
    weights, bias = (np.stack(part) for part in zip(*solutions, strict=True))
    found = _left_out(components, folds, answers, strengths)
    return FoldFits(found, tuple(strengths), weights, bias)


def _fitted_on(targets: Indices, weight: Array) -> tuple[Indices, Array]:
    """At most about 20,000 rows, the small classes whole, and weights that make up for the others."""
    rows = np.flatnonzero(weight > 0)
    if len(rows) <= _MOST_FITTED:
        return rows, weight[rows]
    counts = np.bincount(targets[rows])
    caps = np.geomspace(len(rows), 1, 200).astype(np.intp)
    fits = np.minimum.outer(counts, caps).sum(axis=0) <= _MOST_FITTED
    cap = caps[np.argmax(fits)] if fits.any() else 1
    order = np.random.default_rng(0).permutation(rows)
    order = order[np.argsort(targets[order], kind="stable")]
    place = np.arange(len(order)) - (np.cumsum(counts) - counts)[targets[order]]
    chosen = np.sort(order[place < cap])
    factor = counts / np.maximum(np.minimum(counts, cap), 1)
    return chosen, (weight[chosen] * factor[targets[chosen]]).astype(np.float32)


def leading_axes(components: Array) -> Sketch:
    """A sketch for `solve` of principal components: their leading directions are the first axes."""
    strengths = np.square(components).mean(axis=0)
    rank = min(_SKETCH, len(strengths))
    rest = float(strengths[rank:].mean()) if rank < len(strengths) else 0.0
    directions = np.eye(len(strengths), rank, dtype=np.float32)
    return Sketch(directions, strengths[:rank].astype(np.float32), rest)


def _chosen_strengths(
    tried: dict[float, NDArray[np.float32]], targets: Indices, folds: Indices, weight: Array
) -> list[float]:
    """For each fold the strength that did best on the others."""
    rows = np.arange(len(targets))
    losses = {
        strength: -np.log(np.maximum(found[rows, targets].astype(np.float64), 1e-15)) * weight
        for strength, found in tried.items()
    }
    return [
        min(tried, key=lambda strength: (float(losses[strength][folds != fold].sum()), -strength))
        for fold in range(int(folds.max()) + 1)
    ]
