"""Sets of classes that hold the right one as often as was asked (conformal prediction).

The promise is about pictures that come as the calibrating ones came; of other kinds nothing is known.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tellapart.evaluation.calibration import Array, Indices, check_pairs

__all__ = ["least_probability", "prediction_sets"]


def least_probability(probabilities: Array, targets: Indices, miss: float) -> float:
    """From which probability on a class belongs into the set, for sets that miss the right class at
    most as often as `miss`, in (0, 1).

    `probabilities` (N, K) of pictures that the model was not fitted on, `targets` (N,). Split conformal
    prediction with the least ambiguous sets (Sadinle, Lei & Wasserman 2019) and its finite-sample
    correction; 0 (every class) where N is below 1 / `miss` − 1. On out-of-fold answers it is
    cross-conformal (Vovk 2015): proven for 2 · `miss`, found to keep `miss`.

    Raises ValueError where the shapes do not fit, or `miss` is no share.

    >>> import numpy as np
    >>> p = np.linspace(0.5, 1, 100)
    >>> f"{least_probability(np.stack([p, 1 - p], axis=1), np.zeros(100, int), 0.1):.3f}"
    '0.545'
    """
    check_pairs(probabilities, targets)
    if not 0 < miss < 1:
        raise ValueError(f"a share of {miss} misses; expected 0 < miss < 1")
    n = len(targets)
    own = np.sort(probabilities[np.arange(n), targets])
    below = math.floor(miss * (n + 1) + 1e-9)
    return float(own[below - 1]) if below else 0.0


def prediction_sets(probabilities: Array, least: float) -> NDArray[np.bool_]:
    """Which classes each picture's set holds, bool (N, K); a set may be empty, or hold all."""
    return np.asarray(probabilities >= least)
