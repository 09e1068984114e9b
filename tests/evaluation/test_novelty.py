"""None of these: planted strangers are told apart, and what is stored gives the same scores again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tellapart.evaluation.novelty import Novelty, NoveltyBlock, auroc, balanced_rows, fit_block


def clouds(n=600, width=96, classes=3, seed=0):
    """Classes as clouds around their own centres, in few directions, with noise in all."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(5).normal(size=(classes, width)) * 1.5
    targets = np.arange(n) % classes
    x = centres[targets] + rng.normal(size=(n, width))
    return x.astype(np.float32), targets


@pytest.fixture(scope="module")
def block():
    return fit_block(*clouds())


def test_strangers_of_each_kind_have_high_scores(block):
    known = block.scores(clouds(seed=1)[0])
    rng = np.random.default_rng(2)
    elsewhere = rng.normal(size=(200, 96)) + np.random.default_rng(6).normal(size=96) * 1.5
    between = np.random.default_rng(5).normal(size=(3, 96)).mean(axis=0) + rng.normal(
        size=(200, 96)
    )
    for strange in (elsewhere, between):
        found = block.scores(strange.astype(np.float32))
        for kind in range(2):
            assert auroc(known[:, kind], found[:, kind]) > 0.9


def test_the_distance_to_a_class_is_that_of_its_formula(block):
    x, targets = clouds()
    z = (x - block.mean) * block.scale @ block.directions
    means = np.stack([z[targets == k].mean(axis=0) for k in range(3)])
    residual = z - means[targets]
    shrunk = residual.T @ residual / len(z)
    shrunk += 0.05 * np.trace(shrunk) / len(shrunk) * np.eye(len(shrunk))
    precision = np.linalg.inv(shrunk)
    for row in (0, 7):
        wanted = min((z[row] - m) @ precision @ (z[row] - m) for m in means)
        assert block.scores(x[row : row + 1])[0, 1] == pytest.approx(wanted, rel=1e-2)


def test_one_class_and_constant_features_are_no_trouble():
    x, _ = clouds(100)
    x[:, :50] = 3
    block = fit_block(x, np.zeros(100, int))
    scores = block.scores(x)
    assert np.isfinite(scores).all()
    assert (scores[:, 2] == 0).all()
    with pytest.raises(ValueError, match="two or more"):
        fit_block(x[:1], np.zeros(1, int))


def test_pictures_that_are_all_alike_are_no_trouble():
    x = np.ones((40, 8), np.float32)
    assert np.isfinite(fit_block(x, np.arange(40) % 2).scores(x)).all()


def test_what_is_stored_gives_the_same_scores():
    x, targets = clouds()
    blocks = {
        "stages": fit_block(x[:, 32:], targets, start=32),
        "final": fit_block(x[:, :32], targets),
    }
    six = np.arange(6, dtype=np.float32)
    whole = Novelty(blocks, six / six.sum(), six, six + 1, 3.0, 0.99, {"score": "all"})
    again = Novelty.from_json(whole.to_json(), whole.arrays)
    np.testing.assert_array_equal(whole.scores(x), again.scores(x))
    assert (again.threshold, again.kept, again.facts) == (3.0, 0.99, {"score": "all"})
    assert isinstance(again.blocks["final"], NoveltyBlock)
    with pytest.raises(TypeError):
        Novelty.from_json(
            whole.to_json(), {k: v for k, v in whole.arrays.items() if "centre" not in k}
        )


@given(st.integers(0, 10_000))
def test_auroc_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    known, strange = rng.integers(0, 5, 30).astype(float), rng.integers(1, 6, 20).astype(float)
    wanted = roc_auc_score(np.repeat([0, 1], [30, 20]), np.concatenate([known, strange]))
    assert auroc(known, strange) == pytest.approx(wanted)
    assert auroc(known, strange) == pytest.approx(1 - auroc(strange, known))


@given(st.integers(0, 1000), st.integers(1, 60))
def test_balanced_rows_are_distinct_and_give_each_class_its_share(seed, count):
    targets = np.random.default_rng(seed).choice(4, 80, p=[0.7, 0.1, 0.1, 0.1])
    rows = balanced_rows(targets, count, seed)
    assert len(set(rows.tolist())) == len(rows) == count
    own, every = np.bincount(targets[rows], minlength=4), np.bincount(targets, minlength=4)
    for small in range(4):  # a class has fewer than another only where it has no more to give
        assert own[small] >= min(own.max() - 1, every[small])
