"""The paired test of two classifiers, against SciPy and published values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tellapart.evaluation.paired import exact_p_value, mcnemar


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_p_value_is_scipys(b: int, c: int) -> None:
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert exact_p_value(b, c) == pytest.approx(expected, rel=1e-9)
    assert exact_p_value(b, c) == exact_p_value(c, b)
    assert 0 < exact_p_value(b, c) <= 1


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (0, 0, 1), (1, 0, 1), (5, 0, 1 / 16), (6, 0, 1 / 32), (3, 3, 1), (2, 1, 1),
        (1, 7, 18 / 256),  # Fagerland et al. 2013, table 1: airway hyper-responsiveness, 0.0703
        (10, 20, 0.09873714670538905),
    ],
)  # fmt: skip
def test_known_values(b: int, c: int, p: float) -> None:
    assert exact_p_value(b, c) == pytest.approx(p, rel=1e-12)


def test_many_pictures_do_not_overflow() -> None:
    assert exact_p_value(5000, 5000) == 1
    assert exact_p_value(20_000, 0) == 0  # below the smallest float
    assert exact_p_value(5100, 4900) == pytest.approx(binomtest(5100, 10_000).pvalue, rel=1e-9)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_counts(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (np.array([pair[i] for pair in pairs], bool) for i in (0, 1))
    b, c, p = mcnemar(first, second)
    assert (b, c) == (pairs.count((True, False)), pairs.count((False, True)))
    assert p == exact_p_value(b, c)
    assert mcnemar(second, first) == (c, b, p)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.ones(3, bool), np.ones(4, bool)), (np.ones((2, 2), bool), np.ones((2, 2), bool)),
        (np.array([1, 0]), np.array([True, False])), (np.array([True]), np.array([0.5])),
    ],
)  # fmt: skip
def test_what_does_not_fit_together(first: np.ndarray, second: np.ndarray) -> None:
    with pytest.raises(ValueError, match="bool arrays"):
        mcnemar(first, second)
