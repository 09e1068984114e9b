"""Copies as findings: what is superfluous, what leaked, which labels disagree."""

from types import SimpleNamespace

import numpy as np
import pytest

from tellapart.audit.copies import conflict, exact_duplicate, leak, near_duplicate
from tellapart.data.copies import Copies, connected


def subject(pairs, *, splits=None, targets=None, sizes=None, count=6):
    """As much of a Subject as these checks look at; pairs are (copy, original, kind, similarity)."""
    copy, original = (np.array([pair[end] for pair in pairs], np.intp) for end in (0, 1))
    facts = np.zeros(count, [("width", "<u4"), ("height", "<u4")])
    facts["width"] = facts["height"] = 100 if sizes is None else sizes
    return SimpleNamespace(
        copies=Copies(
            copy, original, np.array([pair[2] for pair in pairs], object),
            np.array([pair[3] for pair in pairs], np.float32), connected(copy, original, count),
        ),
        paths=[f"{letter}.jpg" for letter in "abcdef"[:count]],
        splits=np.array(splits or [""] * count, object),
        targets=np.array(targets or [0] * count), classes=("cat", "dog"), facts=facts,
    )  # fmt: skip


def test_a_near_copy_is_named_with_what_was_done_to_it():
    (finding,) = near_duplicate(subject([(3, 1, "mirrored, cropped", 0.96)]))
    assert finding.paths == ("d.jpg", "b.jpg")
    assert finding.score == pytest.approx(0.02)
    assert finding.evidence == (
        "a copy of b.jpg (mirrored, cropped); 96 % of the overlapping part agree"
    )
    assert exact_duplicate(subject([(3, 1, "mirrored, cropped", 0.96)])) == []


def test_one_of_each_group_is_kept_and_all_others_named():
    chain = [(1, 0, "resized", 0.9), (2, 1, "cropped", 0.8), (3, 0, "exact", 1.0)]
    every = subject(chain)
    exact, near = exact_duplicate(every), near_duplicate(every)
    assert [finding.paths for finding in exact] == [("d.jpg", "a.jpg")]
    assert exact[0].score == 0
    assert [finding.paths for finding in near] == [("b.jpg", "a.jpg"), ("c.jpg", "b.jpg")]


def test_even_a_circle_of_copies_keeps_one():
    circle = [(0, 1, "cropped", 0.9), (1, 2, "cropped", 0.9), (2, 0, "framed", 0.9)]
    found = near_duplicate(subject(circle, sizes=[10, 30, 20, 1, 1, 1]))
    assert [finding.paths[0] for finding in found] == ["a.jpg", "c.jpg"]


def test_copies_in_different_splits_are_leaks_and_not_duplicates():
    across = subject([(1, 0, "re-encoded", 0.99)], splits=["train", "valid", *["train"] * 4])
    assert near_duplicate(across) == []
    (finding,) = leak(across)
    assert finding.paths == ("b.jpg", "a.jpg")
    assert finding.evidence.endswith("that one is in train, this one in valid")


def test_a_leak_is_named_though_its_pair_lies_elsewhere():
    splits = ["valid", "valid", "train", "test", "train", "train"]
    stars = [(1, 0, "exact", 1.0), (2, 0, "exact", 1.0), (3, 1, "mirrored", 0.9)]
    every = subject(stars, splits=splits)
    assert [finding.paths for finding in leak(every)] == [
        ("a.jpg", "c.jpg"), ("b.jpg", "c.jpg"), ("d.jpg", "c.jpg"),
    ]  # fmt: skip
    assert leak(every)[2].evidence.startswith("a copy of c.jpg by way of other copies")
    assert [finding.paths for finding in exact_duplicate(every)] == [("b.jpg", "a.jpg")]


def test_nothing_leaks_where_nothing_is_divided():
    assert leak(subject([(1, 0, "exact", 1.0)])) == []


def test_labels_that_disagree_are_both_named():
    every = subject([(1, 0, "exact", 1.0), (3, 2, "resized", 0.9)], targets=[0, 1, 1, 1, 0, 0])
    (finding,) = conflict(every)
    assert finding.paths == ("b.jpg", "a.jpg")
    assert finding.evidence == "the same bytes as a.jpg; this one is labelled dog, that one cat"


def test_without_copies_there_is_nothing_to_say():
    none = subject([])
    assert [*exact_duplicate(none), *near_duplicate(none), *leak(none), *conflict(none)] == []
