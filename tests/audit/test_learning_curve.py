"""The learning curve: known laws are found again, and what it says of hidden data holds."""

import json

import numpy as np
import pytest

from tellapart.audit import learning_curve as module
from tellapart.audit.learning_curve import SHARES, Estimate, LearningCurve, fit_curve, measure_curve
from tellapart.audit.learning_curve import _laws as draw_laws
from tellapart.audit.out_of_fold import deal_folds


def task(n, seed=0, classes=2, distance=1.5, dimensions=30):
    """Blobs that overlap, one direction a class."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % classes
    x = rng.normal(size=(n, dimensions)) + distance * np.eye(dimensions)[targets]
    return x.astype(np.float32), targets


def curve_of(x, targets, seed=0, groups=None):
    groups = np.arange(len(targets)) if groups is None else groups
    names = [str(k) for k in range(int(targets.max()) + 1)]
    return fit_curve(x, targets, names, groups, deal_folds(targets, groups, seed=seed), seed=seed)


def test_the_band_holds_the_error_of_twice_the_pictures():
    held = 0
    for seed in range(5):
        x, targets = task(400, seed)
        curve = curve_of(x[:200], targets[:200], seed)
        groups = np.arange(400)
        wrong = measure_curve(x, targets, 2, groups, deal_folds(targets, groups, seed=seed))
        truth = wrong[:, :, -1].mean()
        estimate = curve.at(320)  # four fifths of 400 are trained on
        held += estimate.low <= truth <= estimate.high
        assert estimate.high - estimate.low < 0.2
    assert held >= 4


def test_a_planted_law_is_found_again():
    """Pictures that err by 2·n^−0.5 at each share, many enough to leave no doubt."""
    n = 20_000
    shares = np.asarray(SHARES) / 8 * 0.8
    rates = 0.05 * shares**-0.5
    rank = np.random.default_rng(0).permutation(n) / n
    wrong = (rank[:, None] < rates).astype(np.float32)[None]
    laws, _ = draw_laws(wrong, np.arange(n), shares, np.ones(4, int), np.random.default_rng(1))
    curve = LearningCurve(n, (Estimate(1, 0.0, 0.0, 0.0),), laws, {})
    assert curve.at(n).error == pytest.approx(0.05, abs=0.003)
    then = curve.at(4 * n)
    assert then.low < 0.025 < then.high
    assert then.high - then.low < 0.03


def test_more_pictures_never_hurt_and_bands_widen():
    curve = curve_of(*task(300))
    estimates = [curve.at(factor * 300) for factor in (1, 2, 4, 8)]
    errors = [estimate.error for estimate in estimates]
    assert errors == sorted(errors, reverse=True)
    relative = [(e.high - e.low) / e.error for e in estimates]
    assert relative == sorted(relative)
    assert all(0 <= e.low <= e.error <= e.high <= 1 for e in estimates)


def test_chance_stays_chance():
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(300, 30)).astype(np.float32), rng.integers(0, 2, 300)
    now, then = (curve_of(x, targets).at(n) for n in (300, 600))
    assert then.low < 0.5 < then.high + 0.03
    assert now.error - then.error < 0.05


def test_no_error_at_all_says_nearly_none():
    curve = curve_of(*task(300, distance=12.0))
    assert curve.at(600).high < 0.03


def test_the_class_that_gains_most_is_the_one_still_being_learned():
    """Class 2 is rare and close to class 0; class 1 is far from both."""
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], [300, 300, 60])
    centres = np.zeros((3, 40))
    centres[1, 1], centres[2, 2] = 9.0, 2.6
    x = (rng.normal(size=(660, 40)) + centres[targets]).astype(np.float32)
    curve = curve_of(x, targets)
    assert curve.gains_most == "2"
    assert curve.gains["1"][0] < 0.02


def test_copies_never_help():
    """Random labels, each picture four times: with leaks the error would fall to nothing."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(60, 40)).astype(np.float32), 4, axis=0)
    targets = np.repeat(rng.integers(0, 2, 60), 4)
    curve = curve_of(x, targets, groups=np.repeat(np.arange(60), 4))
    assert curve.points[-1].error > 0.3


def test_same_numbers_for_any_workers():
    x, targets = task(200)
    folds = deal_folds(targets, np.arange(200))
    one, two = (
        measure_curve(x, targets, 2, np.arange(200), folds, workers=workers) for workers in (1, 2)
    )
    assert np.array_equal(one, two)
    assert one.shape[1:] == (200, len(SHARES))
    assert one.min() >= 0
    assert one.max() <= 1 + 1e-6


def test_points_are_as_uncertain_as_so_many_pictures_are():
    x, targets = task(200)
    point = curve_of(x, targets).points[-1]
    binomial = 2 * 1.645 * np.sqrt(point.error * (1 - point.error) / 200)
    assert 0.6 * binomial < point.high - point.low < 1.4 * binomial


def test_of_many_pictures_some_folds_are_scored_and_say_the_same(monkeypatch):
    x, targets = task(1000)
    full = curve_of(x, targets)
    monkeypatch.setattr(module, "_SCORED", 400)
    monkeypatch.setattr(module, "_MANY", 900)
    folds = deal_folds(targets, np.arange(1000))
    wrong = measure_curve(x, targets, 2, np.arange(1000), folds)
    assert np.isfinite(wrong[0]).all(axis=1).sum() == 400
    some = curve_of(x, targets)
    assert some.points[-1].pictures == full.points[-1].pictures
    assert abs(some.at(2000).error - full.at(2000).error) < 0.04


def test_sentence_and_json():
    curve = curve_of(*task(200))
    assert curve.sentence().startswith("with twice the pictures, error ")
    found = json.loads(json.dumps(curve.to_json()))
    assert found["pictures"] == 200
    assert [point["pictures"] for point in found["points"]] == [20, 40, 80, 160]
    assert found["estimates"][1]["pictures"] == 400
    assert found["gains_most"] in found["gains"]


def test_very_few_pictures_and_a_class_of_one():
    x, targets = task(14)
    targets[0] = 2
    curve = curve_of(x, targets)
    assert 0 <= curve.at(28).low <= curve.at(28).high <= 1


def test_the_figure_is_drawn():
    pytest.importorskip("matplotlib")
    figure = curve_of(*task(100)).plot()
    assert figure.axes[0].get_xlabel() == "training pictures"
