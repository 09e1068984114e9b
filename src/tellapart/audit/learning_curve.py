"""Is there enough data? A learning curve on the features, and what more pictures would bring.

Regressions are trained on eighths, quarters, halves and all of the pictures outside a fold, and each
picture is scored by those that have seen neither it nor a copy. Through the error rates goes the power
law a·n^−b + c (Cortes et al. 1993; Viering & Loog 2022). Its band is a posterior: pictures are weighted
anew in every draw (Bayesian bootstrap, Rubin 1981, with Jeffreys's half a picture on either side), and
b and c are drawn by how well they fit, with a wide prior on b where the points leave it open.

What it does not know: pictures of another kind than those at hand, labels that are wrong (they stay in
c), and what a network that is trained further would make of more pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.out_of_fold import leading_axes
from tellapart.audit.subject import Subject
from tellapart.data.ordered_map import ordered_map
from tellapart.training.logistic import Array, Indices, solve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Estimate", "LearningCurve", "fit_curve", "learning_curve", "measure_curve"]

SHARES: Final = (1, 2, 4, 8)
"""Training pictures, in eighths of those outside a fold."""

_PARTS = 8
_STRENGTH = 20.0
_TOLERANCE = 1e-4
_DRAWS = 400
_FEW = 2500  # below this many pictures, subsets are drawn several times
_MOST_SEEDS = 4
_MANY = 5000  # above this many, each fold and share is trained once
_SCORED = 12_500  # pictures that are scored, about, where there are more
_PRIOR = (0.5, 0.35)  # of b: middle and half width of a Cauchy distribution
_MISFIT = 0.06  # of the law itself, as a share of the error, per halving away from all pictures
_EXPONENTS = np.linspace(0, 2.5, 26)
_FLOORS = np.asarray([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])  # c, of the error with all


@dataclass(frozen=True)
class Estimate:
    """An error rate in [0, 1] at `pictures` training pictures, with its 90 % band."""

    pictures: int
    error: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class LearningCurve:
    """How the error rate falls with the number N of pictures.

    `points` are measured, with trained-on numbers of pictures; `laws` float64 (draws, 3) hold a, b, c
    of the error a·(n/N)^−b + c. `gains` gives, by class, the fall of its own error rate with twice
    the pictures of every class: median and 90 % band.
    """

    pictures: int
    points: tuple[Estimate, ...]
    laws: NDArray[np.float64]
    gains: dict[str, tuple[float, float, float]]

    def at(self, pictures: float) -> Estimate:
        """The error rate of a model that is trained on so many pictures."""
        low, middle, high = np.quantile(_values(self.laws, pictures / self.pictures), _BAND)
        return Estimate(round(pictures), float(middle), float(low), float(high))

    @property
    def gains_most(self) -> str:
        """The class whose own error rate falls most with twice the pictures."""
        return max(self.gains, key=lambda name: self.gains[name][0])

    def sentence(self) -> str:
        """In one line: "with twice the pictures, error 5.1 % → about 4.0 % (3.4–4.7)"."""
        now, then = self.at(self.pictures), self.at(2 * self.pictures)
        return (
            f"with twice the pictures, error {100 * now.error:.1f} % → about "
            f"{100 * then.error:.1f} % ({100 * then.low:.1f}–{100 * then.high:.1f})"
        )

    def plot(self) -> "Figure":
        """The points, the law through them and its band up to four times the pictures."""
        from tellapart.evaluation.figures import row_of_axes

        figure, (axes,) = row_of_axes(1)
        sizes = np.geomspace(self.points[0].pictures, 4 * self.pictures, 40)
        law = [self.at(size) for size in sizes]
        axes.fill_between(
            sizes, [100 * e.low for e in law], [100 * e.high for e in law], alpha=0.2, linewidth=0
        )
        axes.plot(sizes, [100 * e.error for e in law])
        axes.plot([p.pictures for p in self.points], [100 * p.error for p in self.points], "o")
        axes.axvline(self.pictures, color="grey", linewidth=0.8)
        axes.set(xscale="log", xlabel="training pictures", ylabel="error rate, %")
        axes.set_ylim(bottom=0)
        axes.set_title(self.sentence(), fontsize="small")
        return figure

    def to_json(self) -> dict[str, Any]:
        a, b, c = np.median(self.laws, axis=0).tolist()
        return {
            "pictures": self.pictures,
            "points": [point.to_json() for point in self.points],
            "estimates": [self.at(f * self.pictures).to_json() for f in (1, 2, 4)],
            "law": {"a": a, "b": b, "c": c},
            "gains": {name: list(gain) for name, gain in self.gains.items()},
            "gains_most": self.gains_most,
            "sentence": self.sentence(),
        }


_BAND = (0.05, 0.5, 0.95)


def learning_curve(subject: Subject) -> LearningCurve:
    """The learning curve of a subject."""
    return fit_curve(
        subject.components, subject.targets, subject.classes, subject.groups, subject.folds,
        seed=subject.seed, workers=subject.workers,
    )  # fmt: skip


def fit_curve(
    components: Array,
    targets: Indices,
    classes: Sequence[str],
    groups: Indices,
    folds: Indices,
    *,
    seed: int = 0,
    workers: int = 2,
) -> LearningCurve:
    """Measure and fit; `components` float32 (N, R) of `principal_components`, the rest (N,).

    Copies of a picture share a group, and a group lies in one fold.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> targets = np.arange(400) % 2
    >>> x = rng.normal(size=(400, 30)).astype(np.float32) + targets[:, None].astype(np.float32) / 3
    >>> curve = fit_curve(x, targets, ("a", "b"), np.arange(400), np.arange(400) // 2 % 5)
    >>> curve.at(800).error < curve.at(400).error < curve.points[0].error
    True
    """
    wrong = measure_curve(
        components, targets, len(classes), groups, folds, seed=seed, workers=workers
    )
    scored = np.isfinite(wrong[0, :, 0])
    n, outside = len(targets), 1 - 1 / (int(folds.max()) + 1)
    shares = np.asarray(SHARES) / _PARTS * outside
    rng = np.random.default_rng([seed, 11])
    wrong, groups, targets = wrong[:, scored], groups[scored], targets[scored]
    models = len(wrong) * np.asarray([_models(n, share) for share in SHARES])
    models[-1] = 1  # all pictures are the same pictures with every seed
    laws, errors = _laws(wrong, groups, shares, models, rng)
    bands = np.quantile(errors, _BAND, axis=0)
    points = tuple(
        Estimate(max(1, round(share * n)), float(rates.mean()), float(low), float(high))
        for share, rates, low, high in zip(shares, wrong.mean(axis=0).T, *bands[::2], strict=True)
    )
    gains = {}
    for k, name in enumerate(classes):
        own = targets == k
        if own.any():
            law, _ = _laws(wrong[:, own], groups[own], shares, models, rng)
            fall = np.quantile(_values(law, 1.0) - _values(law, 2.0), _BAND)
            gains[name] = float(fall[1]), float(fall[0]), float(fall[2])
    return LearningCurve(n, points, laws, gains)


def measure_curve(
    components: Array,
    targets: Indices,
    classes: int,
    groups: Indices,
    folds: Indices,
    *,
    seed: int = 0,
    workers: int = 2,
) -> NDArray[np.float32]:
    """How often each picture was taken for another class, float32 (seeds, N, J), at the J `SHARES`.

    At a share of one eighth that is the mean over eight models, trained on disjoint eighths. Few
    pictures are measured with more seeds, 4 at most. Of more than 5,000, each share is trained
    once; above 12,500 some folds are not scored, and NaN stands there.
    """
    from threadpoolctl import threadpool_limits

    n, count = len(targets), int(folds.max()) + 1
    seeds = int(np.clip(_FEW // n, 1, _MOST_SEEDS))
    used = min(count, max(1, round(count * _SCORED / n)))
    wrong = np.full((seeds, n, len(SHARES)), np.nan, np.float32)
    jobs = [
        (at, share, fold)
        for at in range(seeds)
        for share in range(len(SHARES))
        for fold in range(used)
        if at == 0 or SHARES[share] < _PARTS
    ]
    parts = [_parts(targets, groups, folds, [seed, at]) for at in range(seeds)]

    def job(which: tuple[int, int, int]) -> None:
        at, share, fold = which
        pieces = parts[at] // SHARES[share]
        out = folds == fold
        models = [
            _guess(components, targets, classes, np.flatnonzero(~out & (pieces == piece)), out)
            for piece in range(_models(n, SHARES[share]))
        ]
        wrong[at, out, share] = np.mean([guess != targets[out] for guess in models], axis=0)

    with threadpool_limits(1, user_api="blas"):
        for _ in ordered_map(job, jobs, workers=workers):
            pass
    wrong[1:, :, -1] = wrong[0, :, -1]
    return wrong


def _models(n: int, eighths: int) -> int:
    """How many models are trained, on disjoint pictures, for each fold."""
    return 1 if n > _MANY else _PARTS // eighths


def _parts(targets: Indices, groups: Indices, folds: Indices, seed: Sequence[int]) -> Indices:
    """Eighths, (N,), stratified by fold and class, a group undivided."""
    own, first, place = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(own))
    strata = folds[first][shuffled] * (int(targets.max()) + 1) + targets[first][shuffled]
    order = shuffled[np.argsort(strata, kind="stable")]
    part = np.empty(len(own), np.intp)
    part[order] = np.arange(len(own)) % _PARTS
    return part[place]


def _guess(
    components: Array, targets: Indices, classes: int, rows: Indices, out: NDArray[np.bool_]
) -> Indices:
    """What a regression on `rows` takes the pictures of `out` for."""
    present = np.unique(targets[rows])
    if len(present) < 2:
        return np.full(int(out.sum()), present[0] if len(present) else 0)
    x = components[rows]
    labels = np.searchsorted(present, targets[rows])
    one = np.ones((1, len(rows)), np.float32)
    solution = solve(
        x, labels, len(present), one, np.ones((1, x.shape[1]), np.float32),
        np.asarray([_STRENGTH / len(rows)]), sketch=leading_axes(x), tolerance=_TOLERANCE,
    )  # fmt: skip
    scores = components[out] @ solution.weights[0].T + solution.bias[0]
    return present[scores.argmax(axis=1)]


def _laws(
    wrong: NDArray[np.float32],
    groups: Indices,
    shares: NDArray[np.float64],
    models: Indices,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draws of a, b, c, float64 (draws, 3), and of the error rates that they go through (draws, J)."""
    place = np.unique(groups, return_inverse=True)[1]
    count = np.bincount(place).astype(np.float64)
    rates = wrong.mean(axis=0)
    sums = np.stack([np.bincount(place, column) for column in rates.T], axis=1)
    weight = rng.exponential(size=(_DRAWS, len(count))).astype(np.float32)
    right, left = rng.gamma(0.5, size=(2, _DRAWS, 1))
    errors = (weight @ sums + left) / (weight @ count[:, None] + left + right)
    halvings = np.log2(shares[-1] / shares)
    rate = (sums.sum(axis=0) + 0.5) / (count.sum() + 1)
    variance = rate * (1 - rate) / count.sum() / (models + 1)
    sigma = np.sqrt(variance + np.square(_MISFIT * (0.5 + halvings) * rate))
    return _draw_laws(errors, shares, sigma, rng), errors


def _draw_laws(
    errors: NDArray[np.float64],
    shares: NDArray[np.float64],
    sigma: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """For each row of `errors` (draws, J) one a, b, c, drawn by its posterior on a grid."""
    exponent, floor = (a.ravel() for a in np.meshgrid(_EXPONENTS, _FLOORS, indexing="ij"))
    basis = shares ** -exponent[:, None] / sigma
    size = np.square(basis).sum(axis=1)
    log_prior = -np.log1p(np.square((exponent - _PRIOR[0]) / _PRIOR[1]))
    laws = np.empty((len(errors), 3))
    for draw, measured in enumerate(errors):
        rest = (measured - floor[:, None] * measured[-1]) / sigma
        a = np.einsum("gj,gj->g", rest, basis) / size  # the best one at each b and c
        misfit = np.square(rest).sum(axis=1) - np.square(a) * size
        log_posterior = np.where(a >= 0, log_prior - misfit / 2, -np.inf)
        best = (log_posterior + rng.gumbel(size=len(a))).argmax()  # a draw by the posterior
        laws[draw] = max(a[best], 0.0), exponent[best], floor[best] * measured[-1]
    return laws


def _values(laws: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    a, b, c = laws.T
    return np.minimum(a * share**-b + c, 1.0)
