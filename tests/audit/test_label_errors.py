"""Wrong labels, foreign pictures and pictures between two classes, planted and found."""

from types import SimpleNamespace

import numpy as np
import pytest

from tellapart.audit.label_errors import (
    SUSPECT,
    ambiguous,
    ambiguous_pictures,
    atypical_pictures,
    atypicality,
    label_errors,
    label_quality,
)
from tellapart.audit.neighbours import nearest_neighbours
from tellapart.audit.out_of_fold import deal_folds, held_out, principal_components


def blobs(n=400, classes=4, distance=3.0, seed=0, dimensions=60):
    """Classes apart along the first directions; the others are ever weaker noise."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % classes
    x = rng.normal(size=(n, dimensions)) / np.arange(1, dimensions + 1)
    x[:, :classes] = rng.normal(size=(n, classes)) / 2 + distance * np.eye(classes)[targets]
    # Directions as they come: each feature is a mixture.
    return (x @ np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]).astype(
        np.float32
    ), targets


def planted(targets, share=0.05, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(targets), int(share * len(targets)), replace=False)
    wrong = targets.copy()
    wrong[rows] = (wrong[rows] + 1 + rng.integers(0, targets.max(), len(rows))) % (
        targets.max() + 1
    )
    return wrong, rows


def judged(x, labels, seed=0):
    classes, groups = int(labels.max()) + 1, np.arange(len(labels))
    components = principal_components(x)
    folds = deal_folds(labels, groups, seed=seed)
    probabilities = held_out(components, labels, classes, folds)
    near = nearest_neighbours(components, groups)
    return label_quality(components, probabilities, labels, folds, near), near, probabilities


def subject(x, targets, groups=None):
    """As much of a Subject as these checks look at."""
    groups = np.arange(len(targets)) if groups is None else groups
    classes = tuple("abcdefgh"[: int(targets.max()) + 1])
    components = principal_components(x)
    folds = deal_folds(targets, groups)
    return SimpleNamespace(
        components=components, targets=targets, groups=groups, classes=classes, folds=folds,
        probabilities=held_out(components, targets, len(classes), folds),
        neighbours=nearest_neighbours(components, groups), seed=0, workers=2,
        paths=[f"{row}.jpg" for row in range(len(targets))],
    )  # fmt: skip


def test_planted_errors_come_first_with_their_true_class():
    x, targets = blobs()
    labels, rows = planted(targets)
    quality, _, _ = judged(x, labels)
    first = np.argsort(quality.score, kind="stable")[: len(rows)]
    assert np.isin(first, rows).mean() >= 0.9
    suspects = quality.suspects(labels)
    assert np.isin(suspects, rows).mean() >= 0.95
    assert np.isin(rows, suspects).mean() >= 0.8
    assert (quality.suggested[rows] == targets[rows]).mean() >= 0.95
    assert (quality.score[suspects] < SUSPECT).all()


def test_clean_labels_raise_no_alarm():
    found = [len(judged(*blobs(seed=seed))[0].suspects(blobs(seed=seed)[1])) for seed in range(5)]
    assert sum(found) <= 1


def test_labels_by_chance_are_not_called_wrong_with_confidence():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 60)).astype(np.float32)
    labels = rng.integers(0, 3, 300)
    quality, _, _ = judged(x, labels)
    assert len(quality.suspects(labels)) <= 45  # by the odds alone, 200 are "wrong"


def test_it_ranks_better_than_cleanlab_on_noisy_labels():
    rank = pytest.importorskip("cleanlab.rank")
    x, targets = blobs(distance=1.5, n=600)
    ours, theirs = [], []
    for seed in range(4):
        labels, rows = planted(targets, 0.15, seed)
        quality, _, probabilities = judged(x, labels, seed)
        scores = rank.get_label_quality_scores(labels, probabilities)
        for answer, score in ((ours, quality.score), (theirs, scores)):
            first = np.argsort(score, kind="stable")[: len(rows)]
            answer.append(np.isin(first, rows).mean())
    assert np.mean(ours) > np.mean(theirs)


def test_classes_of_less_than_5_are_not_judged():
    x, targets = blobs(n=203, classes=2)
    targets[:3] = 2
    quality, _, _ = judged(x, targets)
    assert not quality.judged[:3].any()
    assert (quality.score[:3] == 1).all()
    assert quality.judged[3:].all()


def test_a_small_class_far_away_is_not_called_wrong():
    x, targets = blobs(n=300, classes=2)
    targets[:8] = 2
    x[:8, :2] = 0
    x[:8, 9] += 8
    quality, _, _ = judged(x, targets)
    assert not np.isin(np.arange(8), quality.suspects(targets)).any()


def test_a_copy_is_no_neighbour():
    x, _ = blobs(n=60)
    x = np.concatenate([x, x])
    groups = np.tile(np.arange(60), 2)
    near = nearest_neighbours(principal_components(x), groups)
    assert (groups[near.rows] != groups[:, None]).all()
    alone = nearest_neighbours(principal_components(x), np.arange(120))
    assert (groups[alone.rows] == groups[:, None]).any(axis=1).all()


def test_neighbours_do_not_depend_on_workers():
    x, _ = blobs(n=1300)
    one = nearest_neighbours(x, np.arange(1300), workers=1)
    two = nearest_neighbours(x, np.arange(1300), workers=2)
    assert np.array_equal(one.rows, two.rows)
    assert np.array_equal(one.distance, two.distance)


def test_foreign_pictures_are_the_least_typical():
    x, targets = blobs(n=500)
    rng = np.random.default_rng(3)
    x[:5] = 6 * rng.normal(size=(5, 60))
    near = nearest_neighbours(principal_components(x), np.arange(500))
    far = atypicality(near, targets)
    assert set(np.argsort(-far)[:5].tolist()) == set(range(5))
    findings = atypical_pictures(subject(x, targets))
    assert {f.paths[0] for f in findings[:5]} == {f"{row}.jpg" for row in range(5)}
    assert len(findings) <= 8
    assert all(f.check == "outlier" and 0 <= f.score <= 1 for f in findings)


def test_pictures_between_two_classes_are_ambiguous_and_no_errors():
    x, targets = blobs(n=400)
    between = np.concatenate([np.flatnonzero(targets == k)[:10] for k in (0, 1)])
    middle = (x[targets == 0].mean(axis=0) + x[targets == 1].mean(axis=0)) / 2
    x[between] = middle + np.random.default_rng(5).normal(size=(20, 60)) / 20
    one = subject(x, targets)
    findings = ambiguous_pictures(one)
    paths = {f"{row}.jpg" for row in between}
    found = [f for f in findings if f.paths[0] in paths]
    assert len(found) >= 10
    assert len(findings) - len(found) <= 1
    assert all(sorted(f.details["classes"]) == ["a", "b"] for f in found)
    assert len({f.paths[0] for f in label_errors(one)} & paths) <= 2


def test_three_equal_classes_are_not_two():
    assert ambiguous(np.full((4, 3), 1 / 3)).tolist() == []


def test_findings_name_both_labels_and_are_sorted():
    x, targets = blobs()
    labels, rows = planted(targets)
    findings = label_errors(subject(x, labels))
    scores = [finding.score for finding in findings]
    assert scores == sorted(scores)
    row = int(findings[0].paths[0].split(".")[0])
    assert row in rows
    assert findings[0].details["label"] == "abcd"[labels[row]]
    assert findings[0].details["suggested"] == "abcd"[targets[row]]
    assert f"labelled {'abcd'[labels[row]]!r}" in findings[0].evidence


def test_one_class_pair_and_few_pictures_do_not_fail():
    x, targets = blobs(n=12, classes=2)
    one = subject(x, targets)
    for check in (label_errors, atypical_pictures, ambiguous_pictures):
        assert isinstance(check(one), list)
