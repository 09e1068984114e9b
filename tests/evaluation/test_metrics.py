"""Our figures against SciPy's and scikit-learn's."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
)

from tellapart.evaluation.metrics import Confusion, Metrics, evaluate, wilson_interval

Floats = NDArray[np.float64]


def random_predictions(n: int, k: int, seed: int) -> tuple[Floats, NDArray[np.intp], list[str]]:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(k, 0.7), size=n)
    targets = generator.integers(0, k, n)
    return probabilities, targets, [f"class {i}" for i in range(k)]


def metrics_of(pairs: list[tuple[int, int]], k: int) -> Metrics:
    """Of certain answers: pairs of (actual, predicted)."""
    actual, predicted = np.asarray(pairs).T
    return evaluate(np.eye(k)[predicted], actual, [chr(ord("a") + i) for i in range(k)])


# The interval.


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_scipys(counts: tuple[int, int]) -> None:
    successes, n = counts
    expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(successes, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= successes / n <= high <= 1


def test_another_confidence() -> None:
    expected = binomtest(7, 20).proportion_ci(0.99, method="wilson")
    found = wilson_interval(7, 20, z=2.5758293035489004)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 97, 105, 10_000_000])
def test_none_and_all(n: int) -> None:
    low, high = wilson_interval(0, n)
    assert low == 0.0
    assert 0 < high < 1
    mirrored = wilson_interval(n, n)
    assert mirrored[1] == 1.0
    assert mirrored == pytest.approx((1 - high, 1))


def test_of_nothing_nothing_is_known() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


# Figures against scikit-learn's.


@pytest.mark.parametrize(
    ("n", "k", "seed"), [(1, 2, 0), (50, 2, 1), (200, 5, 2), (30, 12, 3), (999, 3, 4)]
)
def test_figures_are_scikit_learns(n: int, k: int, seed: int) -> None:
    probabilities, targets, classes = random_predictions(n, k, seed)
    metrics = evaluate(probabilities, targets, classes)
    predicted = probabilities.argmax(axis=1)
    labels = list(range(k))
    assert np.array_equal(metrics.matrix, confusion_matrix(targets, predicted, labels=labels))
    assert metrics.accuracy == pytest.approx(accuracy_score(targets, predicted))
    assert metrics.n == n
    assert metrics.errors == int((predicted != targets).sum())
    assert metrics.log_loss == pytest.approx(log_loss(targets, probabilities, labels=labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that do not occur
        assert metrics.balanced_accuracy == pytest.approx(
            balanced_accuracy_score(targets, predicted)
        )
    precision, recall, _, support = precision_recall_fscore_support(
        targets, predicted, labels=labels, zero_division=np.nan
    )
    found = metrics.per_class
    assert [c.name for c in found] == classes
    assert [c.n for c in found] == support.tolist()
    as_number = [(np.nan if v is None else v) for c in found for v in (c.precision, c.recall)]
    expected = np.stack([precision, recall], axis=1).ravel()
    assert as_number == pytest.approx(expected, nan_ok=True)
    low, high = metrics.interval
    assert (low, high) == wilson_interval(n - metrics.errors, n)


def test_float32_is_as_good() -> None:
    probabilities, targets, classes = random_predictions(300, 4, 9)
    one, other = (
        evaluate(p, targets, classes) for p in (probabilities, probabilities.astype("f4"))
    )
    assert np.array_equal(one.matrix, other.matrix)
    assert one.log_loss == pytest.approx(other.log_loss, rel=1e-5)


def test_a_class_that_was_never_seen_or_never_predicted() -> None:
    seen = metrics_of([(0, 0), (0, 1), (1, 1)], 4).per_class
    assert [(c.precision, c.recall) for c in seen] == [
        (1, 0.5),
        (0.5, 1),
        (None, None),
        (None, None),
    ]
    wrong = metrics_of([(0, 2), (0, 2)], 3).per_class
    assert [(c.precision, c.recall) for c in wrong] == [(None, 0), (None, None), (0, None)]
    assert [(c.n, c.predicted, c.correct) for c in wrong] == [(2, 0, 0), (0, 0, 0), (0, 2, 0)]


def test_a_certain_mistake_costs_much_but_not_infinitely_much() -> None:
    assert metrics_of([(0, 0)], 2).log_loss == 0
    assert metrics_of([(0, 1)], 2).log_loss == pytest.approx(-np.log(1e-15))
    assert metrics_of([(0, 0), (0, 1)], 2).log_loss == pytest.approx(-np.log(1e-15) / 2)


def test_pairs_that_are_confused() -> None:
    metrics = metrics_of([(0, 1)] * 3 + [(2, 0)] * 3 + [(1, 0)] * 5 + [(1, 2)] + [(1, 1)] * 9, 3)
    assert metrics.most_confused() == (
        Confusion("b", "a", 5), Confusion("a", "b", 3), Confusion("c", "a", 3), Confusion("b", "c", 1),
    )  # fmt: skip
    assert metrics.most_confused(least=3) == metrics.most_confused()[:3]
    assert metrics.most_confused(least=0) == metrics.most_confused()
    assert metrics_of([(0, 0), (1, 1)], 2).most_confused() == ()


# The sentence.


@pytest.mark.parametrize(
    ("wrong", "n", "sentence"),
    [
        (1, 105, "error rate 0.95 %: 1 of 105; 95 % interval 0.2–5.2 %"),
        (0, 20, "error rate 0.00 %: 0 of 20; 95 % interval 0.0–16.1 %"),
        (20, 20, "error rate 100.00 %: 20 of 20; 95 % interval 83.9–100.0 %"),
        (2, 3, "error rate 66.67 %: 2 of 3; 95 % interval 20.8–93.9 %"),
        (1, 1, "error rate 100.00 %: 1 of 1; 95 % interval 20.7–100.0 %"),
    ],
)
def test_the_sentence(wrong: int, n: int, sentence: str) -> None:
    metrics = metrics_of([(0, 1)] * wrong + [(1, 1)] * (n - wrong), 2)
    assert metrics.sentence() == sentence
    assert sentence in metrics._repr_html_()


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_sentence_says_what_was_counted(counts: tuple[int, int]) -> None:
    wrong, n = counts
    metrics = Metrics(("a", "b"), np.array([[n - wrong, wrong], [0, 0]]), 0.5)
    expected = binomtest(wrong, n).proportion_ci(0.95, method="wilson")
    assert metrics.sentence() == (
        f"error rate {100 * wrong / n:.2f} %: {wrong} of {n}; "
        f"95 % interval {abs(100 * expected.low):.1f}–{100 * expected.high:.1f} %"
    )


# As JSON.


def test_json_round_trip() -> None:
    metrics = evaluate(*random_predictions(60, 30, 5))
    values = json.loads(json.dumps(metrics.to_json()))
    assert {
        "n", "errors", "accuracy", "accuracy_low", "accuracy_high", "log_loss", "per_class",
    } <= set(values)  # fmt: skip
    assert values["n"] == 60
    assert values["accuracy"] == metrics.accuracy
    assert [values["accuracy_low"], values["accuracy_high"]] == list(metrics.interval)
    assert len(values["most_confused"]) == 20
    assert values["per_class"]["class 3"]["n"] == metrics.per_class[3].n
    again = Metrics.from_json(values)
    assert again.classes == metrics.classes
    assert np.array_equal(again.matrix, metrics.matrix)
    assert again.to_json() == metrics.to_json()
    assert again.sentence() == metrics.sentence()


def test_json_holds_no_numpy_and_no_nan() -> None:
    values = metrics_of([(0, 2), (0, 2)], 3).to_json()
    assert "NaN" not in json.dumps(values, allow_nan=False)
    unseen = values["per_class"]["b"]
    assert (unseen["n"], unseen["precision"], unseen["recall"]) == (0, None, None)


# What does not fit together.


@pytest.mark.parametrize(
    ("shape", "targets", "classes"),
    [
        ((0, 2), (0,), 2), ((3, 2), (2,), 2), ((3, 2), (3, 1), 2), ((3, 2), (3,), 3), ((3, 4), (3,), 3),
        ((6,), (6,), 2), ((3, 2, 1), (3,), 2),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(
    shape: tuple[int, ...], targets: tuple[int, ...], classes: int
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        evaluate(np.full(shape, 0.5), np.zeros(targets, np.intp), ["a", "b", "c"][:classes])


@pytest.mark.parametrize("target", [-1, 2, 100])
def test_a_target_that_is_no_class(target: int) -> None:
    with pytest.raises(ValueError, match="0 … 1"):
        evaluate(np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([0, target]), ["a", "b"])
