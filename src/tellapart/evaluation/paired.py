"""Whether two classifiers differ on the same pictures, by those that only one of them gets right.

Pictures that both get right, or both wrong, say nothing about the difference; an unpaired comparison
of two error rates takes them in as noise and therefore sees less (McNemar 1947, Psychometrika 12;
the exact form: Fagerland, Lydersen, Laake 2013, BMC Medical Research Methodology 13:91). The test does
not know of copies among the pictures, which count more than once.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["McNemar", "exact_p_value", "mcnemar"]


class McNemar(NamedTuple):
    """`b` pictures are right in the first alone, `c` in the second alone; `p` is in [0, 1]."""

    b: int
    c: int
    p: float


def mcnemar(correct_a: NDArray[Any], correct_b: NDArray[Any]) -> McNemar:
    """McNemar's exact test, two-sided, of paired correctness, bool (N,) each, N ≥ 0.

    Raises ValueError where the two are not bool arrays of one length.

    >>> import numpy as np
    >>> first = np.array([True] * 6 + [False] * 4)
    >>> mcnemar(first, ~first)
    McNemar(b=6, c=4, p=0.75390625)
    """
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if a.dtype != bool or b.dtype != bool or a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f"expected two bool arrays (N,), got {a.dtype} {a.shape} and {b.dtype} {b.shape}"
        )
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return McNemar(only_a, only_b, exact_p_value(only_a, only_b))


def exact_p_value(b: int, c: int) -> float:
    """The chance that b + c fair coins fall at least as unevenly as b to c, in [0, 1].

    Six pictures in one direction are the fewest that reach 5 %:

    >>> exact_p_value(5, 0), exact_p_value(6, 0)
    (0.0625, 0.03125)
    """
    n, least = b + c, min(b, c)
    term = total = 1  # integers: no rounding, however many pictures
    for i in range(least):
        term = term * (n - i) // (i + 1)
        total += term
    return min(1.0, 2 * total / 2**n)
