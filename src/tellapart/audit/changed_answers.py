"""What a probe that was trained on plain pictures answers when unseen ones are shown plainly and changed.

The probe is the multinomial logistic regression of training, in the space that the plain pictures span:
with fewer pictures than features nothing is lost by that, since its weights lie there.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.out_of_fold import deal_folds
from tellapart.training.logistic import softmax, solve

__all__ = ["Changed", "changed_answers", "held_out_classes"]

Array = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]

_STRENGTH = 100.0  # the penalty on ‖W‖²/2, times the number of pictures, as in training/probe.py
_TOLERANCE = 1e-5


class Changed(NamedTuple):
    """For N pictures: probabilities `plain` and `changed` (N, K); whether the changed picture of a
    pair can be `told` from the plain one, and is `farther` from the class's others, bool (N,)."""

    plain: Array
    changed: Array
    told: NDArray[np.bool_]
    farther: NDArray[np.bool_]


def changed_answers(
    plain: Array,
    changed: Array,
    targets: Indices,
    classes: int,
    groups: Indices,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Changed:
    """Held-out answers for `plain` and `changed`, float32 (N, D) each, a row for each picture.

    `groups` (N,) are held out together, a picture always with its changed self. Raises DatasetError
    where there are no two groups.
    """
    from threadpoolctl import threadpool_limits  # as in training/probe.py

    parts = deal_folds(targets, groups, folds=folds, seed=seed)
    a, b = _standardised(plain, plain), _standardised(changed, plain)
    n = len(targets)
    with threadpool_limits(1, user_api="blas"):
        both = np.concatenate([a, b])
        both = _in_their_span(both)
        logits = _held_out(
            both, np.tile(targets, 2), classes, np.tile(parts, 2), np.arange(2 * n) < n
        )
        which = np.repeat([0, 1], n)
        difference = _held_out(both, which, 2, np.tile(parts, 2), np.ones(2 * n, np.bool_))
    lean = difference[:, 1] - difference[:, 0]
    near = _nearest(a, a, targets, parts), _nearest(b, a, targets, parts)
    return Changed(softmax(logits[:n]), softmax(logits[n:]), lean[n:] > lean[:n], near[1] > near[0])


def held_out_classes(
    features: Array,
    targets: Indices,
    classes: int,
    groups: Indices,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Indices:
    """The class (N,) that the same probe gives each picture, which it has not seen."""
    from threadpoolctl import threadpool_limits

    parts = deal_folds(targets, groups, folds=folds, seed=seed)
    with threadpool_limits(1, user_api="blas"):
        x = _in_their_span(_standardised(features, features))
        logits = _held_out(x, targets, classes, parts, np.ones(len(x), np.bool_))
    return np.asarray(logits.argmax(axis=1), np.intp)


def _standardised(features: Array, by: Array) -> Array:
    """With the mean and deviation of `by`; what is constant there becomes 0."""
    mean, std = by.mean(axis=0), by.std(axis=0)
    return (features - mean) / np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-3), std, np.inf)


def _in_their_span(x: Array) -> NDArray[np.float32]:
    """The same rows along orthogonal axes, (M, at most M): all distances and products stay."""
    if x.shape[1] <= len(x):
        return x.astype(np.float32)
    strengths, axes = np.linalg.eigh(x.astype(np.float64) @ x.T.astype(np.float64))
    kept = strengths > 1e-9 * strengths[-1]
    return (axes[:, kept] * np.sqrt(strengths[kept])).astype(np.float32)


def _held_out(
    x: Array, labels: Indices, classes: int, folds: Indices, trained: NDArray[np.bool_]
) -> Array:
    """Logits (M, K) of each row from a regression on the `trained` rows of the other folds."""
    numbers = np.unique(folds)
    weight = ((folds != numbers[:, None]) & trained).astype(np.float32)
    scale = np.ones((len(numbers), x.shape[1]), np.float32)
    penalty = _STRENGTH / weight.sum(axis=1)
    found = solve(x, labels, classes, weight, scale, penalty, tolerance=_TOLERANCE)
    place = np.searchsorted(numbers, folds)
    return np.asarray(found.scores[place, :, np.arange(len(x))])


def _nearest(x: Array, others: Array, targets: Indices, folds: Indices) -> Array:
    """The distance of each row to the nearest of its class in other folds (N,); inf where there is none."""
    squares = np.square(x).sum(axis=1)[:, None] - 2 * x @ others.T + np.square(others).sum(axis=1)
    fitting = (targets[:, None] == targets) & (folds[:, None] != folds)
    return np.asarray(np.where(fitting, squares, np.inf).min(axis=1))
