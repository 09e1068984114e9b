"""The probe that is solved in passes over blocks, against the one in memory and against scikit-learn."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tellapart.errors import UsageError
from tellapart.evaluation.paired import mcnemar
from tellapart.training import streamed_logistic
from tellapart.training.logistic import Sketch, softmax, solve
from tellapart.training.probe import bytes_in_memory, fit_probe
from tellapart.training.probe_model import LADDER
from tellapart.training.row_blocks import (
    ArrayRows,
    StackedRows,
    fold_blocks,
    memory_budget,
    spread_rows,
    take_rows,
)
from tellapart.training.row_survey import survey
from tellapart.training.streamed_probe import fit_streamed

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "streamed_probe.py"


def overlapping(n, d=120, classes=4, seed=0):
    """Correlated features of uneven scale, a mean of their own each, and labels that cannot all be told."""
    rng = np.random.default_rng(9)
    mix = rng.normal(size=(d, d)) * np.geomspace(1, 0.02, d)[:, None]
    truth = rng.normal(size=(d, classes)) * np.geomspace(2, 0.1, d)[:, None]
    shift, scale = rng.normal(size=d), np.geomspace(0.01, 10, d)
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, d))
    labels = (hidden @ truth + 2 * rng.gumbel(size=(n, classes))).argmax(axis=1)
    return ((hidden @ mix + shift) * scale).astype(np.float32), labels.astype(np.intp)


class Recorded:
    """Rows that note what is asked of them, and are not there at once."""

    def __init__(self, values):
        self._values, self.shape, self.asked = values, values.shape, []

    def block(self, start, stop):
        self.asked.append(stop - start)
        return self._values[start:stop].copy()


def test_agrees_with_the_fit_in_memory():
    x, labels = overlapping(1500)
    held, held_labels = overlapping(4000, seed=1)
    folds, widths = np.arange(1500) % 5, {"final": 60, "all": 120}
    memory = fit_probe(x, labels, 4, folds, widths)
    blocks = fit_probe(x, labels, 4, folds, widths, memory=1)
    assert memory.passes == 0 < blocks.passes < 300
    assert blocks.chosen_on == 1500
    assert blocks.chosen.features == memory.chosen.features
    rungs = [LADDER.index(fit.chosen.strength) for fit in (memory, blocks)]
    assert abs(rungs[0] - rungs[1]) <= 1
    losses = {(c.features, c.strength): c for c in memory.candidates}
    for c in blocks.candidates:
        other = losses[c.features, c.strength]
        assert c.log_loss == pytest.approx(other.log_loss, abs=1e-3)
        assert abs(c.errors - other.errors) <= 3
    np.testing.assert_allclose(blocks.out_of_fold, memory.out_of_fold, atol=0.02)
    right = [
        fit.probe.probabilities(held).argmax(axis=1) == held_labels for fit in (memory, blocks)
    ]
    assert abs(right[0].mean() - right[1].mean()) <= 0.003
    assert mcnemar(*right).p > 0.05
    np.testing.assert_allclose(
        blocks.probe.probabilities(held), memory.probe.probabilities(held), atol=5e-3
    )


@pytest.mark.parametrize("balanced", [False, True])
def test_out_of_fold_probabilities_are_those_of_a_pipeline_per_fold(balanced):
    """Each fold standardises and weighs with its own training pictures, as scikit-learn's pipeline does."""
    x, labels = overlapping(500, d=30, classes=3)
    keep = (labels != 2) | (np.arange(500) % 4 == 2)
    x, labels = x[keep], labels[keep]
    folds = np.random.default_rng(0).integers(0, 4, len(labels))
    fit = fit_probe(x, labels, 3, folds, {"all": 30}, balanced=balanced, memory=1)
    weights = len(labels) / (3 * np.bincount(labels)[labels]) if balanced else np.ones(len(labels))
    for c in fit.candidates:
        p = np.zeros((len(labels), 3))
        for fold in range(4):
            inside = folds != fold
            model = LogisticRegression(
                C=1 / c.strength, tol=1e-9, max_iter=10_000,
                class_weight="balanced" if balanced else None,
            )  # fmt: skip
            with threadpool_limits(1):
                pipeline = make_pipeline(StandardScaler(), model).fit(x[inside], labels[inside])
            p[~inside] = pipeline.predict_proba(x[~inside])
        own = -np.log(p[np.arange(len(labels)), labels])
        assert c.log_loss == pytest.approx(np.average(own, weights=weights), abs=2e-3)
        assert abs(c.errors - (p.argmax(axis=1) != labels).sum()) <= 1
        if c == fit.chosen:
            assert np.median(np.abs(fit.out_of_fold - p)) < 2e-3


def test_the_answer_does_not_depend_on_workers(monkeypatch):
    monkeypatch.setattr("tellapart.training.row_blocks._BLOCK_BYTES", 4 * 40 * 64)  # 64 rows
    x, labels = overlapping(400, d=40)
    fits = [
        fit_probe(
            x, labels, 4, np.arange(400) % 3, {"final": 20, "all": 40}, memory=1, workers=workers
        )
        for workers in (1, 3)
    ]
    assert fits[0].candidates == fits[1].candidates
    assert (fits[0].out_of_fold == fits[1].out_of_fold).all()
    for name, array in fits[0].probe.arrays.items():
        assert (array == fits[1].probe.arrays[name]).all(), name


def test_rows_are_read_in_blocks_alone_and_passes_are_counted(monkeypatch):
    monkeypatch.setattr("tellapart.training.row_blocks._BLOCK_BYTES", 4 * 40 * 100)
    x, labels = overlapping(1000, d=40)
    rows, told = Recorded(x), []
    fit = fit_probe(
        rows, labels, 4, np.arange(1000) % 5, {"all": 40}, memory=1,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    pivot = 1000  # rows of one block, once, for numbers to subtract
    assert sorted(rows.asked)[-2:] == [100, pivot]
    assert sum(rows.asked) == fit.passes * 1000 + pivot
    assert told[0][0] == 0
    assert told[-1] == (fit.passes, fit.passes)
    assert all(done <= total for done, total in told)
    plain = fit_probe(x, labels, 4, np.arange(1000) % 5, {"all": 40}, memory=1)
    assert plain.candidates == fit.candidates


def test_rows_that_fit_are_taken_into_memory():
    x, labels = overlapping(200, d=20)
    folds = np.arange(200) % 4
    of_array = fit_probe(x, labels, 4, folds, {"all": 20})
    of_rows = fit_probe(ArrayRows(x), labels, 4, folds, {"all": 20})
    assert of_rows.passes == 0
    assert (of_rows.out_of_fold == of_array.out_of_fold).all()


def test_a_setting_chosen_on_some_pictures_is_solved_on_all(tmp_path):
    x, labels = overlapping(3000, d=40)
    folds = np.arange(3000) % 5
    fit = fit_streamed(
        [ArrayRows(x)], labels, 4, folds, {"final": 10, "all": 40}, folder=tmp_path, chosen_on=600
    )
    assert 600 <= fit.chosen_on < 604  # each class's share is rounded up
    assert sum(c.errors for c in fit.candidates) < 600 * len(fit.candidates)
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    standard = ((x - mean) / std).astype(np.float32)
    expected = solve(
        standard, labels, 4, np.ones((1, 3000), np.float32), np.ones((1, 40), np.float32),
        np.array([fit.chosen.strength / 3000]), tolerance=1e-9,
    )  # fmt: skip
    np.testing.assert_allclose(fit.probe.probabilities(x), softmax(expected.scores[0].T), atol=2e-3)
    whole = fit_probe(x, labels, 4, folds, {"final": 10, "all": 40})
    own, others = (-np.log(f.out_of_fold[np.arange(3000), labels]).mean() for f in (fit, whole))
    assert own == pytest.approx(others, abs=3e-3)


def noise(n, d, seed):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_the_setting_of_a_fold_is_chosen_by_the_others():
    """On pure noise, a choice that a fold had a part in would flatter it."""
    flattery = []
    for seed in range(4):
        labels = np.random.default_rng(seed).permutation(np.arange(40) % 2).astype(np.intp)
        fit = fit_probe(
            noise(40, 60, seed), labels, 2, np.arange(40) % 5, {"final": 20, "all": 60}, memory=1
        )
        flattery.append(
            -np.log(fit.out_of_fold[np.arange(40), labels]).mean() - fit.chosen.log_loss
        )
    assert min(flattery) > -1e-5
    assert np.mean(flattery) > 0.01


def test_views_of_a_held_out_picture_never_train_it():
    n = 60
    labels = np.random.default_rng(0).permutation(np.arange(n) % 2).astype(np.intp)
    plain = noise(n, 4 + n, 1)
    plain[:, 4:] = 3 * np.eye(n, dtype=np.float32)
    folds = np.arange(n) % 5
    fit = fit_probe(plain, labels, 2, folds, {"all": 4 + n}, views=[plain, plain], memory=1)
    assert fit.out_of_fold.shape == (n, 2)
    assert (fit.probe.probabilities(plain).argmax(1) == labels).all()
    assert (fit.out_of_fold.argmax(1) == labels).sum() <= 40  # by chance 30, deviation 3.9


@pytest.mark.parametrize("balanced", [False, True])
def test_views_are_fitted_and_never_scored(balanced):
    n = 200
    labels = (np.arange(n) % 3 // 2).astype(np.intp)
    plain, shown = noise(n, 6, 0), noise(n, 6, 1)
    plain[:, 0] += 3 * labels
    shown[:, 1] += 3 * labels
    arguments = plain, labels, 2, np.arange(n) // 2 % 5, {"all": 6}
    both = [
        fit_probe(*arguments, views=[shown, noise(n, 6, 2)], balanced=balanced, memory=memory)
        for memory in (None, 1)
    ]
    for one, other in zip(both[0].candidates, both[1].candidates, strict=True):
        assert other.strength == one.strength
        assert other.log_loss == pytest.approx(one.log_loss, abs=1e-3)
        assert abs(other.errors - one.errors) <= 1
    np.testing.assert_allclose(both[1].out_of_fold, both[0].out_of_fold, atol=0.02)
    np.testing.assert_allclose(both[1].probe.weights, both[0].probe.weights, atol=5e-3)


def test_constant_features_and_classes_in_one_fold_are_harmless():
    x, labels = overlapping(300, d=30, classes=3)
    folds = np.arange(300) // 60
    x[:, 3], labels[:60] = 7.5, labels[:60] % 2
    x[:240, 4] = 0
    labels[60:][labels[60:] == 2] = 1
    labels[:20] = 2  # known in fold 0 alone
    fit = fit_probe(x, labels, 3, folds, {"all": 30}, balanced=True, memory=1)
    assert np.isfinite(fit.probe.probabilities(x)).all()
    np.testing.assert_allclose(fit.out_of_fold.sum(axis=1), 1, atol=1e-5)
    assert fit.out_of_fold[:60, 2].max() < 0.2


@pytest.mark.parametrize("balanced", [False, True])
def test_pictures_of_a_class_that_their_fold_alone_has_judge_no_setting(balanced):
    """What they would say is how far each solver let an unheld bias fall, and balanced that says most."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 600)
    labels[0] = 5
    x = (0.35 * rng.normal(size=(6, 24))[labels] + rng.normal(size=(600, 24))).astype(np.float32)
    arguments = x, labels, 6, np.arange(600) % 5, {"final": 12, "all": 24}
    memory, blocks = (
        fit_probe(*arguments, balanced=balanced, memory=budget) for budget in (None, 1)
    )
    assert memory.passes == 0 < blocks.passes
    assert (memory.chosen.features, memory.chosen.strength) == (
        blocks.chosen.features, blocks.chosen.strength,
    )  # fmt: skip
    for one, other in zip(memory.candidates, blocks.candidates, strict=True):
        assert other.log_loss == pytest.approx(one.log_loss, abs=1e-3)
        assert abs(other.errors - one.errors) <= 1
    np.testing.assert_allclose(blocks.out_of_fold, memory.out_of_fold, atol=0.02)
    for fit in (memory, blocks):
        assert (fit.out_of_fold[0] > 0).sum() >= 5  # it has its answer all the same
        assert fit.out_of_fold[0, 5] < 0.01


@pytest.mark.parametrize("budget", [None, 1])
def test_all_pictures_judge_where_each_class_is_in_one_fold(budget):
    x, labels = overlapping(200, d=12)
    fit = fit_probe(x, labels, 4, labels, {"all": 12}, memory=budget)
    assert {c.errors for c in fit.candidates} == {200}
    assert all(c.log_loss > 2 for c in fit.candidates)


def problems_of(x, labels, strength, found):
    n = len(x)
    return streamed_logistic.Problems(
        ArrayRows(x), found.sample, found.sampled, found.mean, labels, np.zeros(n, np.intp),
        np.array([-1]), found.scale[-1:], np.ones((1, 4)), np.array([strength / n]),
        np.ones((1, 4)),
    )  # fmt: skip


@pytest.mark.parametrize("misled", ["not", "by strengths", "by the sample"])
def test_a_step_too_far_is_taken_back(misled):
    """With wrong strengths every direction is far too long; with a sample that says the contrary, the
    search along it is wrong, and only the pass can tell."""
    x, labels = overlapping(800, d=30)
    found = survey(ArrayRows(x), np.zeros(800, np.intp), 1)
    problems, sketch = problems_of(x, labels, 10.0, found), found.sketch(30)
    if misled == "by strengths":
        sketch = Sketch(sketch.directions, sketch.strengths * 1e-3, sketch.rest * 1e-3)
    if misled == "by the sample":
        shuffled = np.random.default_rng(0).permutation(800)
        problems = problems_of(x, labels, 10.0, survey(ArrayRows(x), np.zeros(800, np.intp), 1))
        problems.sample[:] = problems.sample[shuffled] * 0.1
    fitted = streamed_logistic.solve_streamed(problems, sketch, np.array([1e-7]))
    assert fitted.passes < 150
    standard = ((x - found.mean) * found.scale[-1]).astype(np.float32)
    ones = np.ones((1, 800), np.float32)
    expected = solve(
        standard, labels, 4, ones, ones[:, :30], np.array([10.0 / 800]), tolerance=1e-9
    )
    np.testing.assert_allclose(fitted.weights, expected.weights, atol=5e-3)
    np.testing.assert_allclose(fitted.bias, expected.bias, atol=5e-3)


def test_a_survey_is_what_numpy_says(monkeypatch):
    monkeypatch.setattr("tellapart.training.row_blocks._BLOCK_BYTES", 4 * 12 * 37)
    x = overlapping(500, d=12)[0] + 100
    x[:, 5] = 3
    folds = np.arange(250) % 4  # and a view of each picture
    found = survey(ArrayRows(x), folds, 4, workers=2)
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    other = np.arange(12) != 5
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.std[other], std[other], rtol=1e-4)
    assert np.isinf(found.std[5])
    for fold in range(4):
        inside = x[np.tile(folds != fold, 2)].astype(np.float64)
        np.testing.assert_allclose(
            1 / found.scale[fold, other], inside.std(axis=0)[other], rtol=1e-4
        )
    assert (found.scale[:, 5] == 0).all()
    expected = np.corrcoef(x[:, other].T)
    np.testing.assert_allclose(found.covariance[np.ix_(other, other)], expected, atol=1e-3)
    np.testing.assert_array_equal(found.sample, x[found.sampled])


def test_blocks_come_in_order_and_cover_all_rows():
    parts = StackedRows(
        [ArrayRows(noise(7, 3, 0)), ArrayRows(noise(1, 3, 1)), ArrayRows(noise(5, 3, 2))]
    )
    expected = parts.block(0, 13)
    for most in (1, 4, 8, 13, 50):
        found = list(fold_blocks(lambda _, block: block, parts, most=most, workers=2, columns=2))
        assert max(map(len, found)) <= most
        np.testing.assert_array_equal(np.concatenate(found), expected[:, :2])
    rows = np.array([0, 6, 7, 8, 12])
    np.testing.assert_array_equal(take_rows(parts, rows, Path()), expected[rows])


def test_every_class_has_its_share_of_some_rows():
    targets = np.repeat([0, 1, 2], [9000, 990, 10])
    rows = spread_rows(targets, 1000, seed=3)
    assert np.bincount(targets[rows]).tolist() == [900, 99, 1]
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() != spread_rows(targets, 1000, seed=4).tolist()
    assert spread_rows(targets, 10_000, seed=0).tolist() == list(range(10_000))


def test_the_budget_is_an_argument_or_in_the_environment(monkeypatch):
    x, labels = overlapping(200, d=20)
    arguments = x, labels, 4, np.arange(200) % 4, {"all": 20}
    need = bytes_in_memory(x.shape, 4)
    monkeypatch.setenv("TELLAPART_MEMORY", str(need - 1))
    assert fit_probe(*arguments).passes > 0
    assert fit_probe(*arguments, memory=need).passes == 0
    monkeypatch.setenv("TELLAPART_MEMORY", "1G")
    assert fit_probe(*arguments).passes == 0
    monkeypatch.delenv("TELLAPART_MEMORY")
    assert memory_budget() == 4 << 30
    assert [memory_budget(s) for s in ("1.5k", "2 MiB", "3GB")] == [1536, 2 << 20, 3 << 30]
    for wrong in ("much", "-4G", "0", "4 X"):
        monkeypatch.setenv("TELLAPART_MEMORY", wrong)
        with pytest.raises(UsageError, match=r"TELLAPART_MEMORY.*expected bytes or a size"):
            fit_probe(*arguments)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_stays_flat_as_rows_become_more(tmp_path, monkeypatch):
    monkeypatch.setenv("TELLAPART_CACHE", str(tmp_path))
    done = subprocess.run(
        [sys.executable, BENCHMARK, "--rows", "10000", "100000", "--at-most", "1.3"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
