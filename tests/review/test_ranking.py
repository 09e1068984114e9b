"""Queues of a review: planted faults come first, and a ranking follows the labels."""

import csv

import numpy as np
import pytest

from tellapart import draw_gallery
from tellapart.audit.opened import open_subject
from tellapart.data.dataset import Dataset
from tellapart.errors import DatasetError
from tellapart.review.ranking import QUEUES, Ranker


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A gallery with faults: its subject, and the planted paths by fault."""
    root = tmp_path_factory.mktemp("ranked") / "gallery"
    draw_gallery(root, per_class=40, seed=3, faults=True)
    planted = {}
    with (root / "faults.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            planted.setdefault(row["fault"], []).append(row)
    return open_subject(root).subject, planted


@pytest.fixture(scope="module")
def first(faulty):
    subject, _ = faulty
    ranker = Ranker(subject)
    return ranker, ranker.rank(subject.targets, np.ones(len(subject.targets), bool))


def rows_of(subject, paths):
    places = {path: row for row, path in enumerate(subject.paths)}
    return [places[path] for path in paths if path in places]


def in_front(ranking, queue, count):
    return [row for item in ranking.queues[queue][:count] for row in item]


def test_swapped_labels_come_first(faulty, first):
    subject, planted = faulty
    swapped = rows_of(subject, [row["path"] for row in planted["label_error"]])
    found = set(in_front(first[1], "label_errors", len(swapped) + 2))
    assert len(found & set(swapped)) >= 0.75 * len(swapped)
    worst = in_front(first[1], "label_errors", 1)[0]
    assert repr(subject.classes[subject.targets[worst]]) in first[1].why("label_errors", worst)


def test_copies_lie_side_by_side(faulty, first):
    subject, planted = faulty
    pairs = [
        rows_of(subject, [row["path"], row["other_path"]])
        for fault in ("exact_duplicate", "near_duplicate", "leak")
        for row in planted.get(fault, [])
    ]
    items = [set(item) for item in first[1].queues["copies"]]
    together = sum(any(set(pair) <= item for item in items) for pair in pairs)
    assert together >= 0.75 * len(pairs)
    assert all(2 <= len(item) <= 6 for item in items)


def test_odd_pictures_are_queued_with_a_reason(faulty, first):
    subject, planted = faulty
    odd = set(in_front(first[1], "odd", 10_000))
    for fault in ("blank", "blurry", "dark", "tiny"):
        for row in rows_of(subject, [row["path"] for row in planted[fault]]):
            assert row in odd, fault
            assert first[1].why("odd", row)
            assert first[0].findings[row]


def test_the_marked_pictures_stand_before_the_unmarked_of_their_class(faulty, first):
    subject, planted = faulty
    marked = set(rows_of(subject, [row["path"] for row in planted["shortcut"]]))
    queue = in_front(first[1], "shortcuts", 10_000)
    if not queue:
        pytest.skip("no mark was found in so few pictures")
    half = queue[: len(marked) // 2]
    assert len(marked & set(half)) >= 0.9 * len(half)


def test_every_queue_gives_reasons_and_no_row_twice(faulty, first):
    subject, _ = faulty
    assert set(first[1].queues) == set(QUEUES)
    for name, items in first[1].queues.items():
        rows = [row for item in items for row in item]
        assert len(set(rows)) == len(rows), name
        assert all(0 <= row < len(subject.targets) for row in rows)
        assert all(first[1].why(name, row) for row in rows[:20])
    assert sorted(in_front(first[1], "random", 10_000)) == list(range(len(subject.targets)))


def test_a_ranking_after_changes_is_that_of_the_changed_labels(faulty):
    """Fitted again from where it was, against a ranker that never saw the old labels."""
    subject, planted = faulty
    kept = np.ones(len(subject.targets), bool)
    labels = subject.targets.copy()
    for row in planted["label_error"]:
        for place in rows_of(subject, [row["path"]]):
            labels[place] = subject.classes.index(row["detail"].split()[-1])
    again = Ranker(subject)
    before = again.rank(subject.targets, kept)
    warm, fresh = again.rank(labels, kept), Ranker(subject).rank(labels, kept)
    assert warm.metrics.errors < before.metrics.errors
    assert abs(warm.metrics.errors - fresh.metrics.errors) <= 3
    assert np.abs(warm.probabilities - fresh.probabilities).mean() < 0.02
    once, twice = (set(in_front(r, "top_losses", 30)) for r in (warm, fresh))
    assert len(once & twice) >= 24


def test_what_is_removed_is_ranked_and_counted_no_more(faulty, first):
    subject, _ = faulty
    kept = np.ones(len(subject.targets), bool)
    gone = in_front(first[1], "top_losses", 5)
    kept[gone] = False
    ranking = Ranker(subject).rank(subject.targets, kept)
    assert ranking.metrics.n == kept.sum()
    for name in ("label_errors", "top_losses", "least_sure"):
        assert not set(gone) & set(in_front(ranking, name, 10_000))
    kept[subject.targets != 0] = False
    with pytest.raises(DatasetError, match="fewer than two classes"):
        first[0].rank(subject.targets, kept)


def test_what_has_one_class_cannot_be_reviewed(write_picture, tmp_path):
    for number in range(6):
        write_picture(tmp_path / "cat" / f"{number}.png", size=(64, 64))
    with pytest.raises(DatasetError, match="two classes"):
        Ranker(open_subject(Dataset.from_folder(tmp_path)).subject)


def test_labels_set_back_give_the_figures_that_they_gave(faulty):
    subject, _ = faulty
    kept = np.ones(len(subject.targets), bool)
    ranker = Ranker(subject)
    before = ranker.rank(subject.targets, kept)
    changed = subject.targets.copy()
    changed[:10] = (changed[:10] + 1) % len(subject.classes)
    ranker.rank(changed, kept)
    after = ranker.rank(subject.targets, kept)
    assert after.metrics.errors == before.metrics.errors
    assert np.abs(after.probabilities - before.probabilities).max() < 0.03


def test_removed_pictures_have_no_vote(faulty):
    subject, _ = faulty
    kept = np.ones(len(subject.targets), bool)
    kept[subject.neighbours.rows[0]] = False
    votes = Ranker(subject).rank(subject.targets, kept).quality.votes
    assert votes[0].sum() == 0
    assert votes[kept].sum() > 0
