"""Many multinomial logistic regressions over rows that do not fit in memory, to their optimum.

The method is that of `logistic.py`: L-BFGS, all problems side by side, an initial inverse Hessian from
the covariance's leading directions. What differs is that scores are not kept. A pass over the rows gives
loss, gradient and held-out loss of one point for every problem, block by block, and nothing but their
sums stays. Passes are what costs. So how far to go is searched in a sample of the rows, which is in
memory, and a pass only confirms it; where one problem has to try again, the others go on in that pass.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tellapart.training.logistic import Array, Indices, Sketch, newton_steps, softmax
from tellapart.training.row_blocks import Rows, fold_blocks

__all__ = ["Fitted", "Problems", "scores_of", "solve_streamed"]

_MEMORY = 12
_MOST_PASSES = 300
_LEAST_STEP = 1e-3
_DECREASE = 1e-4  # of what the slope promises (Armijo 1966)
_MOST_LOSS = -np.log(1e-15)  # of a held-out picture, as in memory
_ROUNDING = 1e-7  # of the loss: smaller changes say nothing


@dataclass(frozen=True)
class Problems:
    """P regressions on the first D columns of `rows` (N, at least D); row r shows picture r modulo n.

    `sample` (M, D) are the rows at `sampled` (M,).
    `mean` (D,) is taken off all rows, `scale` (P, D) then multiplies them. `targets` and `folds` (n,)
    are of pictures; `held_out` (P,) is the fold that takes no part, or −1. `class_weight` (P, K) is what
    a row of a class weighs, `penalty` (P,) that on ‖W‖²/2 for a weighted mean of the loss. Held-out
    rows below n are scored, and weigh `score_weight` (F, K) by fold and class; none where that is 0.
    """

    rows: Rows
    sample: Array
    sampled: Indices
    mean: Array
    targets: Indices
    folds: Indices
    held_out: Indices
    scale: Array
    class_weight: NDArray[np.float64]
    penalty: NDArray[np.float64]
    score_weight: NDArray[np.float64]

    @property
    def classes(self) -> int:
        return self.class_weight.shape[1]

    def some(self, active: Indices) -> "Problems":
        """Those at `active` (A,)."""
        return replace(
            self, held_out=self.held_out[active], scale=self.scale[active],
            class_weight=self.class_weight[active], penalty=self.penalty[active],
        )  # fmt: skip

    def totals(self) -> NDArray[np.float64]:
        """What the rows weigh that take part in each problem (P,)."""
        views = self.rows.shape[0] // len(self.targets)
        count = max(int(self.folds.max()), int(self.held_out.max())) + 1
        table = np.zeros((count + 1, self.classes))  # the last row is all zeros: nobody is held out
        np.add.at(table, (self.folds, self.targets), views)
        return np.asarray((self.class_weight * (table.sum(axis=0) - table[self.held_out])).sum(1))


@dataclass(frozen=True)
class Fitted:
    """P solved problems: `weights` float32 (P, K, D) for centred and scaled columns, `bias` (P, K).

    `loss` (P,) is the sum of the weighted log losses of scored pictures, in nats, and `errors` (P,) how
    many of them get another class than their own. `passes` counts how often the rows were read.
    """

    weights: Array
    bias: Array
    loss: NDArray[np.float64]
    errors: NDArray[np.intp]
    passes: int


@dataclass
class _Point:
    """What a pass says of one point of each problem: `w` and `gradient` (K, A, D + 1), others (A,)."""

    w: Array
    value: NDArray[np.float64]
    gradient: Array
    spread: NDArray[np.float64]
    held_loss: NDArray[np.float64]
    held_errors: NDArray[np.intp]

    def at(self, some: NDArray[np.bool_]) -> "_Point":
        parts = vars(self).values()
        return _Point(*(a[:, some] if a.ndim == 3 else a[some] for a in parts))

    def put(self, other: "_Point", where: NDArray[np.bool_] | Indices) -> None:
        """Take over the other's values at `where`."""
        for mine, new in zip(vars(self).values(), vars(other).values(), strict=True):
            mine[(slice(None), where) if mine.ndim == 3 else where] = new


def solve_streamed(
    problems: Problems,
    sketch: Sketch,
    tolerance: NDArray[np.float64],
    *,
    start: tuple[Array, Array] | None = None,
    workers: int = 1,
    on_pass: Callable[[], None] = lambda: None,
) -> Fitted:
    """Minimise every problem's weighted mean log loss plus penalty, to within about `tolerance` (P,).

    `sketch` is that of the standardised columns; `start` gives weights (P, K, D) and bias (P, K) to begin
    from. The answer does not depend on `workers`. BLAS is best held to one thread.
    """
    count, d = problems.scale.shape
    active, w = np.arange(count), np.zeros((problems.classes, count, d + 1), np.float32)
    if start is not None:
        w[..., :-1], w[..., -1] = start[0].transpose(1, 0, 2), start[1].T
    own = problems
    point, passes = _look(own, w, workers), 1
    on_pass()
    found = point.at(np.ones(count, bool))
    memory, shorter, line = _Memory([]), np.ones(count), _Line(own, w)
    while passes < _MOST_PASSES:
        direction = -memory.two_loop(point.gradient, own, sketch, point.spread)
        slope = _dot(direction, point.gradient)
        going = (-slope > 2 * tolerance[active]) & (shorter > _LEAST_STEP)
        if not going.all():
            found.put(point, active)
            if not going.any():
                break
            active, shorter, slope = active[going], shorter[going], slope[going]
            direction, point, memory = direction[:, going], point.at(going), memory.at(going)
            own, line = own.some(np.flatnonzero(going)), line.at(going)
        step = shorter * line.search(own, direction, slope)
        direction *= step[:, None].astype(np.float32)
        tried = _look(own, point.w + direction, workers)
        passes += 1
        on_pass()
        after = _dot(direction, tried.gradient)
        taken = tried.value <= point.value + _DECREASE * slope * step
        taken |= (after <= 0.9 * -slope * step) & (tried.value <= (1 + _ROUNDING) * point.value)
        change = (tried.gradient - point.gradient) * taken[:, None]
        memory.add(direction * taken[:, None], change)
        line.go(step * taken)
        share = slope * step / np.minimum(slope * step - after, -1e-300)
        shorter = np.where(taken, 1.0, shorter * np.clip(share, 0.1, 0.5))
        point.put(tried.at(taken), taken)
    else:
        found.put(point, active)
    weights = np.ascontiguousarray(found.w[..., :-1].transpose(1, 0, 2))
    return Fitted(weights, found.w[..., -1].T.copy(), found.held_loss, found.held_errors, passes)


def scores_of(x: Array, weights: Array, bias: Array) -> Array:
    """Logits (K, P, b) of centred rows `x` (b, D) for weights (P, K, D), scaled already, and (P, K)."""
    p, k, d = weights.shape
    wide = x @ weights.transpose(1, 0, 2).reshape(-1, d).T
    scores: Array = np.ascontiguousarray(wide.T).reshape(k, p, len(x))
    scores += bias.T[..., None]
    return scores


def _look(problems: Problems, w: Array, workers: int) -> _Point:
    """One pass."""
    n, d = len(problems.targets), problems.scale.shape[1]
    k, a = problems.classes, len(problems.penalty)
    weights = w[..., :-1].transpose(1, 0, 2) * problems.scale[:, None]
    bias, class_weight = w[..., -1].T, problems.class_weight.astype(np.float32)

    def part(where: slice, block: Array) -> tuple[Array, Array, Array]:
        rows = np.arange(where.start, where.stop)
        targets, folds = problems.targets[rows % n], problems.folds[rows % n]
        score_weight = problems.score_weight[folds, targets] * (rows < n)
        x, each = block - problems.mean, np.arange(len(targets))
        p = scores_of(x, weights, bias)
        p -= p.max(axis=0)
        own = p[targets, :, each].T
        np.exp(p, out=p)
        total = p.sum(axis=0)
        loss = np.log(total) - own
        p /= total
        out = folds == problems.held_out[:, None]
        share = class_weight[:, targets] * ~out
        out &= score_weight > 0
        spread = (1 - np.square(p).sum(axis=0)) * share
        sums = np.stack([
            (loss * share).sum(axis=1, dtype=np.float64),
            spread.sum(axis=1, dtype=np.float64),
            np.minimum(loss, _MOST_LOSS) * out @ score_weight,
            (out & (own < 0)).sum(axis=1),
        ])  # fmt: skip
        p[targets, :, each] -= 1
        p *= share
        return sums, p.reshape(k * a, -1) @ x, p.sum(axis=2)

    sums, wide, last = np.zeros((4, a)), np.zeros((k * a, d)), np.zeros((k, a))
    most = max(64, (1 << 21) // (k * a))  # rows whose scores take 8 MiB
    for some, gradient, of_bias in fold_blocks(
        part, problems.rows, columns=d, workers=workers, most=most
    ):
        sums += some
        wide += gradient
        last += of_bias
    totals, penalty = problems.totals(), problems.penalty
    gradient = np.empty_like(w)
    gradient[..., :-1] = wide.reshape(k, a, d) * (problems.scale / totals[:, None])
    gradient[..., :-1] += penalty[:, None] * w[..., :-1]
    gradient[..., -1] = last / totals
    square = np.square(w[..., :-1], dtype=np.float64).sum(axis=(0, 2))
    spread = np.maximum(sums[1] / totals / max(k - 1, 1), 1e-4)
    value = sums[0] / totals + penalty / 2 * square
    return _Point(w, value, gradient, spread, sums[2], sums[3].astype(np.intp))


class _Line:
    """Scores of the sampled rows, (K, A, M), where A problems are and along their directions.

    The rows of the sample and all rows differ in their slope at the start; the search takes that of all.
    """

    def __init__(self, problems: Problems, w: Array) -> None:
        self.x = problems.sample[:, : len(problems.mean)] - problems.mean
        pictures = problems.sampled % len(problems.targets)
        self.targets, folds = problems.targets[pictures], problems.folds[pictures]
        share = problems.class_weight[:, self.targets] * (folds != problems.held_out[:, None])
        sums = np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
        self.share = (share / sums).astype(np.float32)
        self.z = self._scores(problems, w)
        self.zd = np.zeros_like(self.z)

    def _scores(self, problems: Problems, w: Array) -> Array:
        weights = w[..., :-1].transpose(1, 0, 2) * problems.scale[:, None]
        return scores_of(self.x, weights, w[..., -1].T)

    def at(self, some: NDArray[np.bool_]) -> "_Line":
        other = copy(self)
        other.share, other.z, other.zd = self.share[some], self.z[:, some], self.zd[:, some]
        return other

    def search(
        self, problems: Problems, direction: Array, slope: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        self.zd = self._scores(problems, direction)
        square = problems.penalty * _dot(direction[..., :-1], direction[..., :-1])
        p, each = softmax(self.z, axis=0), np.arange(len(self.targets))
        own = self.zd[self.targets, :, each].T
        sampled = np.einsum("an,an->a", (p * self.zd).sum(axis=0) - own, self.share)
        step, _ = newton_steps(
            self.z, self.zd, self.targets, self.share, slope, slope - sampled, square
        )
        return step.astype(np.float64)

    def go(self, step: NDArray[np.float64]) -> None:
        self.z += step[:, None].astype(np.float32) * self.zd


@dataclass
class _Memory:
    """L-BFGS's last steps and changes of the gradient. A pair of zeros, of a refused step, does nothing."""

    pairs: list[tuple[Array, Array, Array]]

    def add(self, step: Array, change: Array) -> None:
        self.pairs = [*self.pairs[1 - _MEMORY :], (step, change, _dot(step, change))]

    def at(self, some: NDArray[np.bool_]) -> "_Memory":
        return _Memory([(s[:, some], y[:, some], r[some]) for s, y, r in self.pairs])

    def two_loop(self, gradient: Array, problems: Problems, sketch: Sketch, spread: Array) -> Array:
        """The product of the inverse Hessian with the gradient (Nocedal 1980)."""
        q, alphas = gradient.copy(), []
        for s, y, r in reversed(self.pairs):
            alpha = _ratio(_dot(s, q), r)
            q -= alpha[:, None] * y
            alphas.append(alpha)
        result = _precondition(q, problems, sketch, spread)
        for (s, y, r), alpha in zip(self.pairs, reversed(alphas), strict=True):
            result += (alpha - _ratio(_dot(y, result), r))[:, None] * s
        return result


def _ratio(dot: Array, r: Array) -> Array:
    return np.where(r > 0, dot / np.where(r > 0, r, 1), 0).astype(np.float32)


def _precondition(vectors: Array, problems: Problems, sketch: Sketch, spread: Array) -> Array:
    """About the inverse Hessian times `vectors` (K, A, D + 1).

    `spread` (A,) is the mean eigenvalue of diag(p) − ppᵀ where that is not zero; at p = 1/K it is exact.
    """
    k, a, wide = vectors.shape
    h, lam = spread[:, None], problems.penalty[:, None]
    outside = 1 / (h * sketch.rest + lam)
    inside = 1 / (h * sketch.strengths + lam) - outside
    result = vectors * outside.astype(np.float32)
    along = (vectors[..., :-1].reshape(-1, wide - 1) @ sketch.directions).reshape(k, a, -1)
    along *= inside.astype(np.float32)
    back = along.reshape(k * a, -1) @ sketch.directions.T
    result[..., :-1] += back.reshape(k, a, wide - 1)
    result[..., -1] = vectors[..., -1] / spread
    return result


def _dot(a: Array, b: Array) -> NDArray[np.float64]:
    return np.asarray(np.einsum("kad,kad->a", a, b), np.float64)
