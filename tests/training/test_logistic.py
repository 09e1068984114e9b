"""The batched solver against scikit-learn, one problem at a time."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tellapart.training.logistic import softmax, solve
from tellapart.training.probe import Probe, balanced_weights, fit_probe


def blobs(n=240, d=30, classes=3, noise=2.0, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, d))
    labels = np.arange(n) % classes
    mix = rng.normal(size=(d, d)) / np.sqrt(d)  # correlated features of uneven scale
    x = (centres[labels] + noise * rng.normal(size=(n, d))) @ mix * np.geomspace(0.01, 10, d)
    return x.astype(np.float32), labels.astype(np.intp)


def standard(x):
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32)


@pytest.mark.parametrize("strength", [1.0, 30.0, 1000.0])
def test_reaches_the_same_optimum_as_scikit_learn(strength):
    x, labels = blobs()
    x, n = standard(x), len(labels)
    ours = solve(
        x, labels, 3, np.ones((1, n), np.float32), np.ones((1, x.shape[1]), np.float32),
        np.array([strength / n]), tolerance=1e-9,
    )  # fmt: skip
    theirs = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=10_000).fit(x, labels)
    np.testing.assert_allclose(softmax(ours.scores[0].T), theirs.predict_proba(x), atol=2e-3)
    scores = x @ ours.weights[0].T + ours.bias[0]
    np.testing.assert_allclose(scores, ours.scores[0].T, atol=1e-3)


def test_problems_solved_together_are_solved_as_if_alone():
    x, labels = blobs()
    x, n = standard(x), len(labels)
    rng = np.random.default_rng(1)
    weight = (rng.random((4, n)) < 0.8).astype(np.float32)
    penalty = np.array([1, 10, 100, 1000]) / n
    ones = np.ones((4, x.shape[1]), np.float32)
    together = solve(x, labels, 3, weight, ones, penalty, tolerance=1e-8)
    for i in range(4):
        alone = solve(x, labels, 3, weight[i : i + 1], ones[:1], penalty[i : i + 1], tolerance=1e-8)
        np.testing.assert_allclose(
            softmax(together.scores[i].T), softmax(alone.scores[0].T), atol=2e-3
        )


def test_separable_data_and_a_class_without_pictures_end_well():
    x, labels = blobs(n=60, noise=0.01)
    weight = np.ones((1, 60), np.float32)
    weight[0, labels == 2] = 0
    solution = solve(
        standard(x), labels, 3, weight, np.ones((1, 30), np.float32), np.array([0.1 / 60])
    )
    assert np.isfinite(solution.scores).all()
    p = softmax(solution.scores[0].T)
    assert (p[labels != 2].argmax(1) == labels[labels != 2]).all()


@pytest.mark.parametrize("balanced", [False, True])
def test_out_of_fold_probabilities_are_those_of_a_pipeline_per_fold(balanced):
    """Each fold standardises with its own training pictures, as a scikit-learn pipeline does."""
    x, labels = blobs(n=300)
    keep = (labels != 2) | (np.arange(300) % 4 == 2)  # class 2 is rarer
    x, labels = x[keep], labels[keep]
    folds = np.arange(len(labels)) % 5
    fit = fit_probe(x, labels, 3, folds, {"all": x.shape[1]}, balanced=balanced)
    strengths = {c.strength for c in fit.candidates}
    expected = {}
    for strength in strengths:
        p = np.zeros((len(labels), 3))
        for fold in range(5):
            inside = folds != fold
            model = LogisticRegression(
                C=1 / strength, tol=1e-9, max_iter=10_000,
                class_weight="balanced" if balanced else None,
            )  # fmt: skip
            pipeline = make_pipeline(StandardScaler(), model).fit(x[inside], labels[inside])
            p[~inside] = pipeline.predict_proba(x[~inside])
        expected[strength] = p
    distance = np.min([np.abs(fit.out_of_fold - p).max(axis=1) for p in expected.values()], axis=0)
    assert distance.max() < 0.02
    weight = balanced_weights(labels, 3) if balanced else np.ones(len(labels))
    for c in fit.candidates:
        own = expected[c.strength][np.arange(len(labels)), labels]
        assert c.log_loss == pytest.approx(np.average(-np.log(own), weights=weight), abs=5e-3)


def test_the_setting_of_a_fold_is_chosen_by_the_others():
    """On pure noise the best of many settings looks better than it is: scored by folds that took part
    in the choice, the loss would be that of the chosen setting exactly."""
    flattery = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(40, 60)).astype(np.float32)
        labels = rng.permutation(np.arange(40) % 2).astype(np.intp)
        fit = fit_probe(x, labels, 2, np.arange(40) % 5, {"final": 20, "all": 60})
        assert min(c.log_loss for c in fit.candidates) == fit.chosen.log_loss
        own = fit.out_of_fold[np.arange(40), labels]
        flattery.append(-np.log(own).mean() - fit.chosen.log_loss)
    assert min(flattery) > -1e-6
    assert np.mean(flattery) > 0.01


def test_the_useful_feature_set_is_chosen():
    x, labels = blobs(n=200, d=20, noise=1.0)
    noise = np.random.default_rng(3).normal(size=(200, 300)).astype(np.float32)
    first_useful = np.concatenate([x, noise], axis=1)
    last_useful = np.concatenate([noise[:, :40], x], axis=1)
    folds = np.arange(200) % 5
    widths = {"final": 20, "all": 320}
    assert fit_probe(first_useful, labels, 3, folds, widths).chosen.features == "final"
    widths = {"final": 40, "all": 60}
    assert fit_probe(last_useful, labels, 3, folds, widths).chosen.features == "all"


def test_noisy_labels_ask_for_more_regularisation():
    """The ladder goes on beyond the rungs that are always tried."""
    x, labels = blobs(n=300, d=200, noise=40.0)
    fit = fit_probe(x, labels, 3, np.arange(300) % 5, {"all": 200})
    assert fit.chosen.strength > 300
    assert fit.probe.probabilities(x).shape == (300, 3)


def test_constant_features_are_harmless():
    x, labels = blobs()
    x[:, 3] = 7.5
    x[: len(x) // 5 * 4, 4] = 0
    fit = fit_probe(x, labels, 3, np.arange(len(x)) // (len(x) // 5), {"all": x.shape[1]})
    assert np.isfinite(fit.probe.probabilities(x)).all()
    assert np.isfinite(fit.out_of_fold).all()
    np.testing.assert_allclose(fit.out_of_fold.sum(1), 1, atol=1e-5)


def noise(n, d, seed):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_views_of_a_held_out_picture_never_train_it():
    """A view that says whose it is, and so the label: outside its fold that is worth nothing."""
    n = 60
    labels = np.random.default_rng(0).permutation(np.arange(n) % 2).astype(np.intp)
    plain = noise(n, 4 + n, 1)
    plain[:, 4:] = 3 * np.eye(n, dtype=np.float32)
    fit = fit_probe(plain, labels, 2, np.arange(n) % 5, {"all": 4 + n}, views=[plain, plain])
    assert fit.out_of_fold.shape == (n, 2)
    assert (fit.probe.probabilities(plain).argmax(1) == labels).all()
    right = (fit.out_of_fold.argmax(1) == labels).sum()
    assert right <= 40  # by chance 30, with a deviation of 3.9


def test_views_train_the_probe():
    """The plain pictures show nothing of what tells the classes apart in the view."""
    n = 60
    labels = (np.arange(n) % 2).astype(np.intp)
    plain, shown = noise(n, 5, 0), noise(n, 5, 1)
    plain[:, 0] = 0
    shown[:, 0] += 8 * labels - 4
    folds = np.arange(n) // 2 % 5
    without = fit_probe(plain, labels, 2, folds, {"all": 5})
    with_view = fit_probe(plain, labels, 2, folds, {"all": 5}, views=[shown])
    assert (without.probe.probabilities(shown).argmax(1) == labels).mean() < 0.75
    assert (with_view.probe.probabilities(shown).argmax(1) == labels).mean() > 0.95


@pytest.mark.parametrize("balanced", [False, True])
def test_only_plain_pictures_are_scored(balanced):
    """In the views nothing can be seen; they cost the fit little, and would cost the score much."""
    n = 80
    labels = (np.arange(n) % 2).astype(np.intp)
    plain = noise(n, 6, 0)
    plain[:, 0] += 10 * labels - 5
    blank = np.zeros_like(plain)
    fit = fit_probe(
        plain, labels, 2, np.arange(n) // 2 % 5, {"all": 6}, views=[blank] * 3, balanced=balanced
    )
    own = fit.out_of_fold[np.arange(n), labels]
    assert fit.chosen.log_loss == pytest.approx(-np.log(own).mean(), abs=1e-3)
    assert fit.chosen.log_loss == min(c.log_loss for c in fit.candidates) < 0.2
    assert all(c.errors <= 2 for c in fit.candidates)


def test_a_probe_with_views_that_say_the_same_is_the_probe_without():
    """Each picture thrice is each picture once: loss and penalty grow alike, at 3 times the strength."""
    x, labels = blobs(n=150)
    folds = np.arange(150) // 3 % 5
    once = fit_probe(x, labels, 3, folds, {"all": 30})
    thrice = fit_probe(x, labels, 3, folds, {"all": 30}, views=[x, x])
    losses = {c.strength: c.log_loss for c in once.candidates}
    compared = [c for c in thrice.candidates if c.strength / 3 in losses or c.strength == 30.0]
    assert compared
    for c in compared:
        assert c.log_loss == pytest.approx(losses[{30.0: 10.0, 300.0: 100.0}[c.strength]], abs=2e-3)


def test_a_hidden_layer_is_computed_as_it_is_said():
    rng = np.random.default_rng(0)
    mean, std, first, shift, last, bias = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((4,), (4,), (4, 6), (6,), (6, 3), (3,))
    )
    probe = Probe("all", mean, np.abs(std) + 1, last, bias, first, shift)
    x = rng.normal(size=(5, 9)).astype(np.float32)
    units = np.maximum((x[:, :4] - mean) / (np.abs(std) + 1) @ first + shift, 0)
    np.testing.assert_allclose(probe.logits(x), units @ last + bias, rtol=1e-5)
    np.testing.assert_allclose(probe.probabilities(x).sum(axis=1), 1, rtol=1e-6)
    flat = Probe("all", mean, np.abs(std) + 1, last[:4], bias)
    assert set(probe.arrays) - set(flat.arrays) == {"hidden_weights", "hidden_bias"}
