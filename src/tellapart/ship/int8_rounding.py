"""Rounding weights to small integers so that what a layer gives out changes least.

To the nearest integer each weight is off by itself least, and the sum is not: where inputs go together, as
neighbouring pixels do, errors of one sign add up. So the integers are chosen for the layer's mean squared
error over real inputs, δᵀ · E[x xᵀ] · δ, one weight at a time, all others as they are (Behdin et al. 2023,
QuantEase; the aim is that of Nagel et al. 2020, Up or Down?). It knows the inputs' second moments alone.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["output_error", "round_weights"]

Array = NDArray[np.floating[Any]]

_RIDGE: Final = 0.01
"""Of the mean second moment, added to each: some pictures do not say all about the inputs."""

_SWEEPS: Final = 4  # a fifth one changes hardly a weight
_CHUNK: Final = 32  # columns that are updated together, by one matrix product


def round_weights(weights: Array, moments: Array, scale: Array, limit: int) -> NDArray[np.int8]:
    """Integers in −limit … limit, int8 (G, O, I), so that integers · scale stand for the weights.

    `weights` is float32 (G, O, I): G groups of O outputs with I inputs each. `moments` (G, I, I) are
    the mean products of the inputs, and `scale` (G, O, 1) says what an integer step is worth. The
    error is never larger than that of rounding to the nearest.

    >>> import numpy as np
    >>> alike = np.ones((1, 3, 3), np.float32)  # inputs that are always the same: the sum counts
    >>> weights = np.float32([[[1.4, 1.4, 1.4]]])
    >>> round_weights(weights, alike, np.ones((1, 1, 1), np.float32), 127).sum()
    np.int64(4)
    """
    wanted = weights / scale
    inner = _regular(moments)
    chosen = np.clip(np.round(wanted), -limit, limit)
    gradient = (chosen - wanted) @ inner
    for _ in range(_SWEEPS):
        changed = False
        for start in range(0, wanted.shape[2], _CHUNK):
            columns = slice(start, start + _CHUNK)
            before = chosen[:, :, columns].copy()
            _descend(
                chosen[:, :, columns], gradient[:, :, columns], inner[:, columns, columns], limit
            )
            step = chosen[:, :, columns] - before
            if step.any():
                changed = True
                gradient += step @ inner[:, columns]
        if not changed:
            break
    return np.asarray(chosen, np.int8)


def output_error(weights: Array, rounded: NDArray[np.int8], moments: Array, scale: Array) -> float:
    """The mean squared error of the outputs, over all, where `rounded` · `scale` replace the weights."""
    off = rounded * scale - weights
    return float(np.einsum("goi,gij,goj->", off, moments, off, optimize=True)) / off[..., 0].size


def _regular(moments: Array) -> Array:
    """The moments with a ridge, positive on the diagonal also where an input is always zero."""
    size = moments.shape[1]
    mean = np.trace(moments, axis1=1, axis2=2)[:, None, None] / size
    ridge = np.where(mean > 0, _RIDGE * mean, 1.0)
    return np.asarray(moments + ridge * np.eye(size), np.float32)


def _descend(chosen: Array, gradient: Array, inner: Array, limit: int) -> None:
    """Each column to its best integer, in turn; `chosen` is changed in place, `gradient` is not."""
    gradient = gradient.copy()
    for i in range(chosen.shape[2]):
        best = chosen[:, :, i] - gradient[:, :, i] / inner[:, i, i, None]
        best = np.clip(np.round(best), -limit, limit)
        step = best - chosen[:, :, i]
        chosen[:, :, i] = best
        gradient += step[:, :, None] * inner[:, None, i]
