"""Calibration: planted temperatures are found again, and a perfect model is not called wrong."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellapart.evaluation.calibration import (
    Calibration,
    apply_temperature,
    calibration,
    cross_fitted,
    fit_temperature,
)


def answers(n, classes=4, spread=3.0, seed=0):
    """Probabilities (N, K) that are exactly right, and targets drawn by them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * spread
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    targets = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return p, np.minimum(targets, classes - 1)


@pytest.mark.parametrize("planted", [0.5, 0.8, 1.0, 1.7, 3.0])
def test_a_planted_temperature_is_found_again(planted):
    p, targets = answers(20_000)
    assert fit_temperature(apply_temperature(p, 1 / planted), targets) == pytest.approx(
        planted, rel=0.05
    )


def test_a_handful_of_pictures_moves_it_little():
    p = np.tile([0.6, 0.4], (5, 1))
    assert 0.85 < fit_temperature(p, np.zeros(5, int)) < 1.0
    assert 1.0 < fit_temperature(np.tile([0.9, 0.1], (2, 1)), np.ones(2, int)) < 1.5


def test_it_is_bounded_and_survives_zeros():
    sure = np.tile([1.0, 0.0], (5000, 1)).astype(np.float32)
    assert 1 / 5 <= fit_temperature(sure, np.zeros(5000, int)) <= 5
    assert fit_temperature(sure, np.ones(5000, int)) == pytest.approx(5, rel=1e-4)
    assert np.isfinite(apply_temperature(sure, 3.0)).all()


def test_most_of_what_a_sample_adds_is_taken_off():
    found = [calibration(*answers(400, spread=1.0, seed=seed)) for seed in range(40)]
    plain = np.mean([one.error for one in found])
    debiased = np.mean([one.debiased_error for one in found])
    assert plain > 0.05  # what a sample of 400 shows of a perfect model
    assert debiased < 0.6 * plain


def test_a_planted_error_is_measured():
    p, targets = answers(30_000, spread=1.5)
    boastful = apply_temperature(p, 0.5)
    true_gap = boastful.max(axis=1).mean() - p.max(axis=1).mean()
    found = calibration(boastful, targets)
    assert found.debiased_error == pytest.approx(true_gap, abs=0.01)
    assert calibration(p, targets).debiased_error < 0.01


def test_the_table_has_all_pictures_once_and_equal_confidences_together():
    p = np.repeat([[0.6, 0.4], [0.8, 0.2], [1.0, 0.0]], [50, 30, 300], axis=0)
    found = calibration(p, np.zeros(380, int), bins=15)
    assert [part.n for part in found.bins] == [50, 30, 300]
    assert [part.confidence for part in found.bins] == pytest.approx([0.6, 0.8, 1.0])
    low, high = found.bins[1].interval
    assert low < found.bins[1].accuracy == 1 <= high
    assert found.n == 380


def test_it_survives_json():
    found = calibration(*answers(300))
    assert Calibration.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert "over 300 pictures" in found.sentence()


def test_cross_fitting_never_uses_a_folds_own_labels():
    p, targets = answers(600)
    folds = np.arange(600) % 3
    answer, temperatures = cross_fitted(p, targets, folds)
    turned = np.where(folds == 1, (targets + 1) % 4, targets)
    other, _ = cross_fitted(p, turned, folds)
    np.testing.assert_array_equal(answer[folds == 1], other[folds == 1])
    assert not np.array_equal(answer[folds == 0], other[folds == 0])
    assert len(temperatures) == 3


@given(st.integers(0, 1000), st.floats(0.25, 4))
def test_a_temperature_keeps_the_order_and_can_be_undone(seed, temperature):
    p, _ = answers(20, seed=seed, spread=2.0)
    changed = apply_temperature(p, temperature)
    np.testing.assert_array_equal(changed.argsort(axis=1), p.argsort(axis=1))
    np.testing.assert_allclose(changed.sum(axis=1), 1)
    np.testing.assert_allclose(apply_temperature(changed, 1 / temperature), p, atol=1e-9)


def test_what_does_not_fit_is_refused():
    for p, targets in (
        (np.ones((2, 2)) / 2, np.zeros(3, int)),
        (np.ones((0, 2)), np.zeros(0, int)),
        (np.ones((2, 2)) / 2, np.array([0, 2])),
        (np.ones((2, 2)) / 2, np.array([0, -1])),
    ):
        with pytest.raises(ValueError, match="targets"):
            calibration(p, targets)
