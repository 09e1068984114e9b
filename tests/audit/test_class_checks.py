"""Uneven, tiny and inseparable classes."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellapart.audit.classes import (
    class_sizes,
    confusable,
    confused_pairs,
    imbalance,
    least_for_half_width,
    tiny_class,
)
from tellapart.audit.out_of_fold import out_of_fold
from tellapart.evaluation.metrics import wilson_interval


def subject(targets, probabilities, groups=None):
    """As much of a Subject as these checks look at."""
    k = probabilities.shape[1]
    return SimpleNamespace(
        targets=targets, probabilities=probabilities, classes=tuple("abcdefgh"[:k]),
        groups=np.arange(len(targets)) if groups is None else groups,
    )  # fmt: skip


def sized(*sizes):
    targets = np.repeat(np.arange(len(sizes)), sizes)
    return subject(targets, np.eye(len(sizes), dtype=np.float32)[targets])


def drawn(alike, n=200, noise=0.0, seed=0):
    """Three classes, of which the first two are the same where `alike`; labels swapped among them."""
    rng = np.random.default_rng(seed)
    true = np.arange(3 * n) % 3
    place = np.where(alike & (true == 1), 0, true)
    x = (rng.normal(size=(3 * n, 30)) + 6 * np.eye(30)[place]).astype(np.float32)
    swap = (rng.random(3 * n) < noise) & (true < 2)
    targets = np.where(swap, 1 - true, true)
    probabilities, _ = out_of_fold(x, targets, 3, np.arange(3 * n))
    return subject(targets, probabilities)


def test_the_smallest_class_is_named_and_copies_count_once():
    (finding,) = imbalance(sized(300, 90, 200))
    assert finding.details["smallest"] == "b"
    assert finding.details["ratio"] == pytest.approx(300 / 90)
    assert "51 %" in finding.evidence  # of always answering the largest
    assert imbalance(sized(100, 90, 80)) == []
    one = sized(100, 100)
    one.groups = np.concatenate([np.arange(100), 100 + np.arange(100) % 20])
    (finding,) = imbalance(one)
    assert finding.details["sizes"] == {"a": 100, "b": 20}


def test_a_tiny_class_is_told_how_many_it_needs():
    findings = tiny_class(sized(200, 6, 200))
    assert [f.details["class"] for f in findings] == ["b"]
    assert findings[0].details["needed"] > 6
    assert f"{findings[0].details['needed']} or more" in findings[0].suggestion
    assert tiny_class(sized(200, 200)) == []


def test_worse_classes_need_more_pictures():
    few, many = sized(40, 40), sized(40, 40)
    many.probabilities = many.probabilities.copy()
    many.probabilities[::2] = many.probabilities[::2, ::-1]
    assert tiny_class(few) == []
    assert len(tiny_class(many)) == 2


@given(st.floats(0.01, 0.99), st.floats(0.02, 0.4))
def test_the_number_needed_is_the_least(rate, half_width):
    n = least_for_half_width(rate, half_width)

    def half(count):
        z = 1.959963984540054
        p, zz = rate, z * z
        return z / (1 + zz / count) * np.sqrt(p * (1 - p) / count + zz / (4 * count**2))

    assert n >= 2
    assert half(n) <= half_width
    assert n == 2 or half(n - 1) > half_width


def test_the_number_needed_agrees_with_the_interval():
    n = least_for_half_width(0.5)
    low, high = wilson_interval(n // 2, n)
    assert (high - low) / 2 == pytest.approx(0.1, abs=0.003)


def test_classes_that_are_one_are_confusable():
    (finding,) = confusable(drawn(alike=True))
    assert (finding.details["first"], finding.details["second"]) == ("a", "b")
    assert finding.details["low"] <= 0.5 <= finding.details["high"] + 0.02
    assert finding.details["n"] == 400


def test_separate_classes_are_not_confusable_however_often_one_looks():
    assert sum(len(confusable(drawn(alike=False, seed=seed))) for seed in range(10)) == 0


def test_wrong_labels_alone_do_not_make_classes_confusable():
    one = drawn(alike=False, noise=0.2)
    pair = confused_pairs(one.probabilities, one.targets, one.groups, one.classes)[0]
    assert pair.rate > 0.15
    assert pair.ceiling > 0.1
    assert confusable(one) == []


def test_few_pictures_prove_nothing():
    targets = np.asarray([0, 0, 0, 1, 1, 1])
    wrong = np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 1, 0]]
    assert confusable(subject(targets, 0.6 * wrong + 0.2)) == []


def test_copies_do_not_count_in_confusion():
    one = drawn(alike=True, n=30)
    often = subject(
        np.repeat(one.targets, 5), np.repeat(one.probabilities, 5, axis=0), np.repeat(one.groups, 5)
    )
    pairs = [confused_pairs(s.probabilities, s.targets, s.groups, s.classes) for s in (one, often)]
    assert pairs[0] == pairs[1]


def test_sizes_sum_to_different_pictures():
    assert class_sizes(np.asarray([0, 1, 1]), np.asarray([3, 3, 3]), 2).tolist() == [1, 1]


def test_a_class_nobody_has_is_passed_over():
    one = sized(100, 100)
    one.probabilities = np.pad(one.probabilities, ((0, 0), (0, 1)))
    one.classes = ("a", "b", "c")
    assert confusable(one) == []
    assert imbalance(one) == []
