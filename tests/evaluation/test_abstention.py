"""Promises are kept: on answers whose true error rate is known, over many draws."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tellapart.evaluation.abstention import (
    RiskCoverage,
    Threshold,
    binomial_tail,
    risk_coverage,
    threshold_for,
)
from tellapart.evaluation.conformal import least_probability, prediction_sets


def drawn(n, rng):
    """Two classes; an answer of confidence c is right with probability c, c in [0.5, 1]."""
    c = 1 - 0.5 * rng.random(n) ** 3
    return np.stack([c, 1 - c], axis=1), (rng.random(n) >= c).astype(int)


def true_error(threshold, rng=None):
    p, wrong = drawn(200_000, np.random.default_rng(99))
    return wrong[p[:, 0] >= threshold].mean()


def test_a_promise_is_kept_as_often_as_it_says():
    broken, found = 0, []
    for seed in range(200):
        result = threshold_for(0.05, risk_coverage(*drawn(1000, np.random.default_rng(seed))))
        found.append(result)
        broken += result.value is not None and true_error(result.value) > 0.05
    assert broken <= 28  # 10 % of 200 and two standard deviations
    assert sum(one.value is not None for one in found) > 190
    assert np.mean([one.answered for one in found]) > 300  # it is of use


def test_without_the_bound_it_would_be_broken_half_the_time():
    """The same with the observed error in place of the bound: what the test above can see."""
    broken = 0
    for seed in range(100):
        curve = risk_coverage(*drawn(1000, np.random.default_rng(seed)))
        fine = [
            i for i, (e, n) in enumerate(zip(curve.errors, curve.answered, strict=True))
            if e <= 0.05 * n
        ]  # fmt: skip
        broken += true_error(curve.thresholds[fine[-1]]) > 0.05
    assert broken > 28


def test_too_few_pictures_promise_nothing_and_say_how_many_would():
    p = np.tile([0.9, 0.1], (40, 1)) + np.linspace(0, 0.05, 40)[:, None] * [1, -1]
    found = threshold_for(0.02, risk_coverage(p, np.zeros(40, int)))
    assert found.value is None
    assert found.needed > 150
    assert f"about {found.needed}" in found.sentence()
    enough = np.linspace(0.9, 1, 2 * found.needed)
    more = risk_coverage(np.stack([enough, 1 - enough], 1), np.zeros(len(enough), int))
    assert threshold_for(0.02, more).value is not None


def test_where_the_surest_are_wrong_no_number_of_pictures_is_named():
    p = np.stack([np.linspace(0.5, 1, 500), np.linspace(0.5, 0, 500)], axis=1)
    found = threshold_for(0.05, risk_coverage(p, np.arange(500) % 2))
    assert found.value is None
    assert found.needed is None
    assert "wrong too often" in found.sentence()


def test_one_early_error_does_not_end_it():
    c = np.linspace(1, 0.6, 3000)
    targets = np.zeros(3000, int)
    targets[0] = 1  # the surest of all is wrong: a label error, say
    found = threshold_for(0.02, risk_coverage(np.stack([c, 1 - c], axis=1), targets))
    assert found.answered == 3000
    assert found.errors == 1


def test_the_curve_counts():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.8, 0.2]])
    curve = risk_coverage(p, np.array([0, 1, 1, 0]))
    assert curve.thresholds == (0.9, 0.8, 0.6)
    assert curve.answered == (1, 3, 4)
    assert curve.errors == (0, 1, 2)
    assert curve.area == pytest.approx((0 + 2 * 1 / 3 + 2 / 4) / 4)
    assert curve.at(0.7) == (3, 1)
    assert curve.at(0.95) == (0, 0)


def test_a_long_curve_is_thinned_but_keeps_both_ends():
    p, targets = drawn(5000, np.random.default_rng(0))
    curve, whole = risk_coverage(p, targets), risk_coverage(p, targets, points=10_000)
    assert len(curve.thresholds) <= 400
    assert curve.answered[-1] == 5000
    assert curve.area == whole.area
    assert RiskCoverage.from_json(json.loads(json.dumps(curve.to_json()))) == curve
    found = threshold_for(0.05, curve)
    assert Threshold.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.value >= threshold_for(0.1, curve).value


@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.001, 0.999))
def test_the_binomial_tail_is_scipys(successes, n, p):
    assert binomial_tail(successes, n, p) == pytest.approx(binom.cdf(successes, n, p), abs=1e-9)


@pytest.mark.parametrize("miss", [0.01, 0.05, 0.2])
def test_sets_hold_the_right_class_as_often_as_was_asked(miss):
    held = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        least = least_probability(*drawn(300, rng), miss)
        p, targets = drawn(300, rng)
        held.append(prediction_sets(p, least)[np.arange(300), targets].mean())
    assert 1 - miss - 0.005 < np.mean(held) < 1 - miss + 0.012


def test_too_few_pictures_for_a_set_give_every_class():
    p = np.tile([0.7, 0.3], (10, 1))
    assert least_probability(p, np.zeros(10, int), 0.05) == 0
    assert prediction_sets(p, 0.0).all()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_what_is_no_share_is_refused(share):
    p, targets = drawn(50, np.random.default_rng(0))
    with pytest.raises(ValueError, match="share"):
        threshold_for(share, risk_coverage(p, targets))
    with pytest.raises(ValueError, match="share"):
        least_probability(p, targets, share)
