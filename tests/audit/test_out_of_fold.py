"""Out-of-fold probabilities: nobody is scored by a model that has seen them or a copy of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tellapart.audit import out_of_fold as module
from tellapart.audit.out_of_fold import deal_folds, held_out, out_of_fold, principal_components
from tellapart.errors import DatasetError


def blobs(n, classes, dimensions=40, distance=3.0, seed=0):
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % classes
    x = rng.normal(size=(n, dimensions)) + distance * np.eye(dimensions)[targets]
    return x.astype(np.float32), targets


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=4, max_size=60))
def test_folds_divide_no_group_and_are_all_used(rows):
    targets, groups = (np.asarray(column) for column in zip(*rows, strict=True))
    if len(set(groups.tolist())) < 2:
        return
    folds = deal_folds(targets, groups, folds=5)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups.tolist()))
    assert set(folds.tolist()) == set(range(int(folds.max()) + 1))
    assert folds.max() >= 1


def test_copies_in_one_group_tell_nothing():
    """Random labels cannot be guessed, unless a copy with the same label is trained on."""
    rng = np.random.default_rng(1)
    x = np.repeat(rng.normal(size=(100, 60)).astype(np.float32), 2, axis=0)
    targets = np.repeat(rng.integers(0, 2, 100), 2)
    grouped, _ = out_of_fold(x, targets, 2, np.repeat(np.arange(100), 2))
    alone, _ = out_of_fold(x, targets, 2, np.arange(200))
    assert (grouped.argmax(axis=1) == targets).mean() < 0.65
    assert (alone.argmax(axis=1) == targets).mean() > 0.8


def test_probabilities_do_not_depend_on_workers():
    x, targets = blobs(300, 3, 80)
    one, folds = out_of_fold(x, targets, 3, np.arange(300), workers=1)
    three, again = out_of_fold(x, targets, 3, np.arange(300), workers=3)
    assert np.array_equal(one, three)
    assert np.array_equal(folds, again)
    assert np.allclose(one.sum(axis=1), 1, atol=1e-5)
    assert one.dtype == np.float32


def test_the_label_of_a_picture_has_no_part_in_its_own_probabilities():
    x, targets = blobs(200, 2)
    folds = deal_folds(targets, np.arange(200))
    changed = targets.copy()
    changed[folds == 0] = 1 - changed[folds == 0]
    before = held_out(x, targets, 2, folds, strengths=(20.0,))
    after = held_out(x, changed, 2, folds, strengths=(20.0,))
    assert np.allclose(before[folds == 0], after[folds == 0], atol=1e-5)
    assert not np.allclose(before[folds == 1], after[folds == 1], atol=1e-2)


def test_classes_smaller_than_the_folds_and_an_empty_one():
    x, targets = blobs(120, 2)
    targets[:3] = 2
    targets[3] = 3
    found, _ = out_of_fold(x, targets, 5, np.arange(120))
    assert found.shape == (120, 5)
    assert np.isfinite(found).all()
    assert found[3, 3] < 0.1  # nobody else is of its class
    assert found[:, 4].max() < 0.1
    assert (found.argmax(axis=1) == targets)[4:].mean() > 0.9


def test_a_picture_of_weight_0_teaches_nothing():
    x, targets = blobs(200, 2)
    wrong = targets.copy()
    wrong[::4] = 1 - wrong[::4]
    folds = deal_folds(targets, np.arange(200))
    weight = np.ones(200, np.float32)
    weight[::4] = 0
    other = np.where(weight > 0, wrong, 1 - wrong)
    a = held_out(x, wrong, 2, folds, sample_weight=weight, strengths=(20.0,))
    b = held_out(x, other, 2, folds, sample_weight=weight, strengths=(20.0,))
    assert np.array_equal(a, b)
    assert (a.argmax(axis=1) == targets).mean() > 0.9


def test_many_pictures_are_fitted_on_a_sample_that_keeps_small_classes(monkeypatch):
    x, targets = blobs(2000, 2)
    targets[:30] = 2
    x[:30] += 6 * np.eye(40, dtype=np.float32)[5]
    folds = deal_folds(targets, np.arange(2000))
    full = held_out(x, targets, 3, folds)
    monkeypatch.setattr(module, "_MOST_FITTED", 600)
    rows, weight = module._fitted_on(targets, np.ones(2000, np.float32))
    assert len(rows) <= 600
    assert np.isin(np.arange(30), rows).all()
    assert weight.sum() == pytest.approx(2000, rel=0.01)
    sampled = held_out(x, targets, 3, folds)
    assert (sampled.argmax(axis=1) == targets).mean() > 0.95
    small, before = ((found[:30].argmax(axis=1) == 2).mean() for found in (sampled, full))
    assert small > before - 0.2
    assert np.abs(sampled.mean(axis=0) - full.mean(axis=0)).max() < 0.02


def test_components_are_those_of_a_full_decomposition():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 50)) @ rng.normal(size=(50, 50)) + 7).astype(np.float32)
    x[:, 3] = 5.0  # constant
    found = principal_components(x, width=10)
    kept = np.delete(x, 3, axis=1)
    z = (kept - kept.mean(axis=0)) / kept.std(axis=0)
    exact = np.linalg.svd(z, compute_uv=False)[:10]
    # The leading ones are exact; the last ones of the sketch nearly so.
    assert np.allclose(np.linalg.norm(found, axis=0)[:5], exact[:5], rtol=1e-3)
    assert np.allclose(np.linalg.norm(found, axis=0), exact, rtol=0.05)


def test_what_cannot_be_divided_is_refused():
    x, targets = blobs(10, 2)
    with pytest.raises(DatasetError, match="copies of one"):
        out_of_fold(x, targets, 2, np.zeros(10, int))
    with pytest.raises(DatasetError, match="one label"):
        out_of_fold(x, np.zeros(10, int), 2, np.arange(10))
