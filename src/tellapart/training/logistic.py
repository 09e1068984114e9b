"""Many multinomial logistic regressions over the same pictures, solved together to their optimum.

Cross-validation asks for the same regression once per fold and regularisation. Side by side these are
one wide matrix product with the features, which is what a CPU does best. The solver is L-BFGS
(Nocedal 1980; Liu & Nocedal 1989), one memory per problem, with three savings:

- Scores are linear in the weights, so along a search direction they are known after one product, and
  the line search costs none. An iteration is two products, whatever the line search does.
- The initial inverse Hessian comes from the leading directions of the features' covariance, found by
  a randomised range finder (Halko, Martinsson & Tropp 2011), and Böhning's (1992) bound.
- Problems that have converged drop out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sketch", "Solution", "covariance_sketch", "newton_steps", "softmax", "solve"]

Array = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]

_MEMORY = 8
_SKETCH = 192
_MOST_ITERATIONS = 500
_ENOUGH_SLOPE = 0.3  # a step is taken once the slope along it has fallen to this share


@dataclass(frozen=True)
class Solution:
    """P solved problems: `weights` float32 (P, K, D), `bias` (P, K), `scores` (P, K, N): the logits.

    The scores are those of all N pictures, the ones of weight 0 too.
    """

    weights: Array
    bias: Array
    scores: Array
    iterations: int


@dataclass(frozen=True)
class Sketch:
    """Leading directions (D, R) of the features' second moment, their strengths (R,), and the rest's."""

    directions: Array
    strengths: Array
    rest: float


def covariance_sketch(x: Array, seed: int = 0) -> Sketch:
    """The leading directions of xᵀx / N for centred `x`, float32 (N, D)."""
    n, d = x.shape
    rank = min(_SKETCH, n, d)
    start = np.random.default_rng(seed).standard_normal((d, rank), np.float32)
    basis, _ = np.linalg.qr(x.T @ (x @ start))
    narrow = x @ basis
    strengths, rotation = np.linalg.eigh(narrow.T @ narrow / n)
    total = float(np.vdot(x, x)) / n
    rest = max(total - float(strengths.sum()), 0.0) / max(d - rank, 1)
    return Sketch(basis @ rotation, np.maximum(strengths, 0), rest)


def softmax(scores: Array, axis: int = -1) -> Array:
    """Probabilities along an axis."""
    exponentials = scores - scores.max(axis=axis, keepdims=True)
    np.exp(exponentials, out=exponentials)
    exponentials /= exponentials.sum(axis=axis, keepdims=True)
    return exponentials


def solve(
    x: Array,
    labels: Indices,
    classes: int,
    sample_weight: Array,
    scale: Array,
    penalty: Array,
    *,
    sketch: Sketch | None = None,
    start: tuple[Array, Array] | None = None,
    tolerance: float = 1e-6,
) -> Solution:
    """Minimise, for each problem p, the weighted mean of the log loss plus `penalty[p] / 2 · ‖W‖²`.

    `x` is float32 (N, D) and centred; `labels` (N,) in 0 … K − 1; `sample_weight` (P, N), 0 for a
    picture that is held out; `scale` (P, D) multiplies the features of one problem (a fold's own
    standardisation); the bias is not penalised. `start` gives weights (P, K, D) and bias (P, K) of
    another solution to begin from. Stops where the loss is within about
    `tolerance` of its minimum.
    """
    problem = _Problem(x, labels, classes, sample_weight, scale, penalty, sketch)
    return problem.minimise(start, tolerance)


class _Problem:
    """The state of the search: parameters (K, A, D + 1) and scores (K, A, N) of A active problems.

    Pictures lie along the last axis and classes along the first, where NumPy reduces fastest. The
    last parameter is the bias.
    """

    def __init__(
        self,
        x: Array,
        labels: Indices,
        classes: int,
        sample_weight: Array,
        scale: Array,
        penalty: Array,
        sketch: Sketch | None,
    ) -> None:
        self.n, self.d = x.shape
        self.x = x
        self.labels, self.classes = labels, classes
        self.share = (sample_weight / sample_weight.sum(axis=1, keepdims=True)).astype(np.float32)
        self.scale = np.concatenate([scale, np.ones((len(scale), 1), np.float32)], axis=1)
        self.penalty = np.repeat(penalty.astype(np.float32)[:, None], self.d + 1, axis=1)
        self.penalty[:, -1] = 0
        self.sketch = sketch or covariance_sketch(x)

    def scores(self, parameters: Array, active: Indices) -> Array:
        scaled = parameters * self.scale[active]
        scores = scaled[..., :-1].reshape(-1, self.d) @ self.x.T
        return scores.reshape(self.classes, len(active), self.n) + scaled[..., -1:]

    def gradient(self, parameters: Array, probabilities: Array, active: Indices) -> Array:
        residual = probabilities.copy()
        residual[self.labels, :, np.arange(self.n)] -= 1
        residual *= self.share[active]
        gradient = np.empty_like(parameters)
        wide = residual.reshape(-1, self.n) @ self.x
        gradient[..., :-1] = wide.reshape(self.classes, len(active), self.d)
        gradient[..., -1] = residual.sum(axis=2)
        gradient *= self.scale[active]
        gradient += self.penalty[active] * parameters
        return gradient

    def precondition(self, vectors: Array, active: Indices, spread: Array) -> Array:
        """About the inverse Hessian times `vectors`; `spread` (A,) is the mean of p(1 − p)."""
        u, s, rest = self.sketch.directions, self.sketch.strengths, self.sketch.rest
        h, lam = spread[:, None], self.penalty[active, :1]
        outside = 1 / (h * rest + lam)
        inside = 1 / (h * s + lam) - outside
        result = vectors * outside
        along = vectors[..., :-1].reshape(-1, self.d) @ u
        along = along.reshape(self.classes, len(active), -1) * inside
        result[..., :-1] += (along.reshape(-1, len(s)) @ u.T).reshape(result[..., :-1].shape)
        result[..., -1] = vectors[..., -1] / spread
        return result

    def minimise(self, start: tuple[Array, Array] | None, tolerance: float) -> Solution:
        problems = len(self.penalty)
        active = np.arange(problems)
        w = np.zeros((self.classes, problems, self.d + 1), np.float32)
        if start is not None:
            scale = np.where(self.scale > 0, self.scale, 1)
            w[..., :-1] = start[0].transpose(1, 0, 2) / scale[:, :-1]
            w[..., -1] = start[1].T
        found, z = w.copy(), self.scores(w, active)
        p = softmax(z, axis=0)
        g = self.gradient(w, p, active)
        memory: list[tuple[Array, Array, Array]] = []
        iteration = 0
        while iteration < _MOST_ITERATIONS:
            iteration += 1
            direction = -self._two_loop(g, memory, active, self._spread(p, active))
            slope = _dot(direction, g)
            going = -slope > 2 * tolerance
            if not going.all():
                found[:, active] = w
                if not going.any():
                    break
                active, slope = active[going], slope[going]
                w, z, g, direction = (a[:, going] for a in (w, z, g, direction))
                memory = [(s[:, going], y[:, going], r[going]) for s, y, r in memory]
            zd = self.scores(direction, active)
            lam = self.penalty[active]
            cross, square = _dot(lam * w, direction), _dot(lam * direction, direction)
            share = self.share[active]
            step, p = newton_steps(z, zd, self.labels, share, slope, cross, square)
            direction *= step[:, None]
            zd *= step[:, None]
            w, z = w + direction, z + zd
            before, g = g, self.gradient(w, p, active)
            change = g - before
            memory = [*memory[1 - _MEMORY :], (direction, change, _dot(direction, change))]
        else:
            found[:, active] = w
        scores = self.scores(found, np.arange(problems)).transpose(1, 0, 2)
        weights = (found * self.scale)[..., :-1].transpose(1, 0, 2)
        return Solution(weights, found[..., -1].T, scores, iteration)

    def _spread(self, probabilities: Array, active: Indices) -> Array:
        of_pictures = (probabilities * (1 - probabilities)).sum(axis=0)
        spread = np.einsum("an,an->a", of_pictures, self.share[active]) / self.classes
        return np.maximum(spread, np.float32(1e-4))

    def _two_loop(
        self,
        gradient: Array,
        memory: list[tuple[Array, Array, Array]],
        active: Indices,
        spread: Array,
    ) -> Array:
        """L-BFGS's product of the inverse Hessian with the gradient, for every problem."""
        q = gradient.copy()
        alphas = []
        for s, y, r in reversed(memory):
            alpha = _dot(s, q) / np.maximum(r, np.float32(1e-30))
            q -= alpha[:, None] * y
            alphas.append(alpha)
        result = self.precondition(q, active, spread)
        for (s, y, r), alpha in zip(memory, reversed(alphas), strict=True):
            beta = _dot(y, result) / np.maximum(r, np.float32(1e-30))
            result += (alpha - beta)[:, None] * s
        return result


def newton_steps(
    z: Array,
    zd: Array,
    labels: Indices,
    share: Array,
    slope: Array,
    cross: Array,
    square: Array,
) -> tuple[Array, Array]:
    """How far to go along each of A directions, by Newton's method in that number; and p there.

    Scores `z` and how they change along the direction, `zd`, are (K, A, N); `labels` (N,) and `share`
    (A, N) as in `_Problem`. `slope` (A,) is that of the loss at 0; `cross` and `square` (A,) say what
    else it has: cross + step · square. Steps (A,), and probabilities (K, A, N).
    """
    own = zd[labels, :, np.arange(len(labels))].T
    step = np.ones(len(slope), np.float32)
    low, high = np.zeros_like(step), np.full_like(step, np.inf)
    for _ in range(8):
        p = softmax(z + step[:, None] * zd, axis=0)
        weighted = p * zd
        mean = weighted.sum(axis=0)
        first = np.einsum("an,an->a", mean - own, share) + cross + step * square
        done = np.abs(first) <= _ENOUGH_SLOPE * np.abs(slope)
        if done.all():
            break
        weighted *= zd
        second = weighted.sum(axis=0) - mean**2
        curvature = np.einsum("an,an->a", second, share) + square
        low, high = np.where(first < 0, step, low), np.where(first >= 0, step, high)
        guess = step - first / np.maximum(curvature, np.float32(1e-30))
        middle = np.where(np.isinf(high), 4 * step, (low + high) / 2)
        outside = (guess <= low) | (guess >= high)
        better = np.where(outside, middle, np.minimum(guess, 4 * step))
        step = np.where(done, step, better).astype(np.float32)
    else:
        p = softmax(z + step[:, None] * zd, axis=0)
    return step, p


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("kad,kad->a", a, b)
