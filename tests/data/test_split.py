"""The laws of dealing: groups hold together, classes keep their shares, order means nothing."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tellapart.data.split import deal, group_rows

SHARES = st.sampled_from([(0.8, 0.2), (0.5, 0.5), (1.0, 0.0), (0.7, 0.15, 0.15), (0.2,) * 5])
LABELS = st.lists(st.sampled_from("abcd"), max_size=60)


def keys_of(n: int) -> list[str]:
    return [f"key {i}" for i in range(n)]


def parts_of(
    labels: list[str], groups: NDArray[np.intp], shares: tuple[float, ...], seed: int = 0
) -> NDArray[np.intp]:
    return deal(labels, groups, shares, keys=keys_of(len(labels)), seed=seed)


# Dealing.


@given(LABELS, SHARES, st.integers(0, 9))
def test_parts_are_complete_and_known(
    labels: list[str], shares: tuple[float, ...], seed: int
) -> None:
    parts = parts_of(labels, np.arange(len(labels)), shares, seed)
    assert parts.shape == (len(labels),)
    assert set(parts.tolist()) <= set(range(len(shares)))


@given(LABELS, SHARES, st.integers(0, 9))
def test_every_class_has_its_share_in_every_part(
    labels: list[str], shares: tuple[float, ...], seed: int
) -> None:
    parts = parts_of(labels, np.arange(len(labels)), shares, seed)
    for label, n in Counter(labels).items():
        own = np.bincount(parts[np.asarray(labels) == label], minlength=len(shares))
        assert np.abs(own - n * np.asarray(shares)).max() < 1 + 1e-6


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), max_size=60), SHARES)
def test_a_group_never_falls_apart(rows: list[tuple[str, int]], shares: tuple[float, ...]) -> None:
    groups = np.asarray([group for _, group in rows], np.intp)
    parts = parts_of([label for label, _ in rows], groups, shares)
    for group in set(groups.tolist()):
        assert len(set(parts[groups == group].tolist())) == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), max_size=40),
    SHARES,
    st.randoms(use_true_random=False),
)
def test_the_order_of_rows_means_nothing(rows, shares, random) -> None:  # type: ignore[no-untyped-def]
    labels, groups = [label for label, _ in rows], np.asarray([g for _, g in rows], np.intp)
    keys = keys_of(len(rows))
    order = list(range(len(rows)))
    random.shuffle(order)
    parts = deal(labels, groups, shares, keys=keys, seed=3)
    again = deal(
        [labels[i] for i in order],
        -groups[order] - 5,  # the numbers of the groups mean nothing either
        shares,
        keys=[keys[i] for i in order],
        seed=3,
    )
    assert again.tolist() == parts[order].tolist()


def test_the_seed_decides_and_nothing_else() -> None:
    labels = ["cat", "dog"] * 200
    first, again, other = (parts_of(labels, np.arange(400), (0.8, 0.2), s) for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # Two random fifths share about a fifth of their members: 16 of 80.
    assert 4 <= np.sum((first == 1) & (other == 1)) <= 32


def test_the_keys_decide_who_goes_where() -> None:
    labels = ["cat"] * 100
    parts = deal(labels, np.arange(100), (0.5, 0.5), keys=keys_of(100), seed=0)
    named_otherwise = deal(
        labels, np.arange(100), (0.5, 0.5), keys=[f"other {i}" for i in range(100)], seed=0
    )
    assert not np.array_equal(parts, named_otherwise)


def test_keys_that_are_no_valid_text_can_be_dealt() -> None:
    parts = deal(["a"] * 2, np.arange(2), (0.5, 0.5), keys=["\udce9", "\udcff"], seed=0)
    assert sorted(parts.tolist()) == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_small_classes_stay_in_training(seed: int) -> None:
    labels = ["one"] + ["two"] * 2 + ["three"] * 3 + ["many"] * 94
    parts = parts_of(labels, np.arange(100), (0.8, 0.2), seed)
    held = Counter(label for label, part in zip(labels, parts, strict=True) if part == 1)
    assert (held["one"], held["two"], held["three"]) == (0, 0, 1)
    assert held["many"] in (18, 19)


def test_a_hundred_classes_of_one_picture_all_stay_in_training() -> None:
    assert set(parts_of([str(i) for i in range(100)], np.arange(100), (0.8, 0.2)).tolist()) == {0}


def test_small_classes_do_not_crowd_into_one_of_equal_parts() -> None:
    """As in cross-validation: every fold gets its share of them."""
    parts = parts_of([str(i) for i in range(100)], np.arange(100), (0.2,) * 5)
    assert np.bincount(parts).tolist() == [20] * 5


def test_a_large_group_is_balanced_by_the_single_ones() -> None:
    labels = ["cat"] * 10 + ["dog"] * 10
    groups = np.asarray([0] * 8 + list(range(1, 13)), np.intp)  # eight copies of one cat
    for seed in range(5):
        parts = parts_of(labels, groups, (0.8, 0.2), seed)
        assert np.bincount(parts).tolist() == [16, 4]
        assert set(parts[:8].tolist()) == {0}


def test_groups_of_several_classes_count_for_each() -> None:
    labels = ["cat", "dog"] * 20
    groups = np.arange(40) // 2  # every cat with a dog
    parts = parts_of(labels, groups, (0.75, 0.25))
    assert Counter(zip(labels, parts.tolist(), strict=True)) == {
        ("cat", 0): 15, ("dog", 0): 15, ("cat", 1): 5, ("dog", 1): 5,
    }  # fmt: skip


def test_nothing_to_deal() -> None:
    assert parts_of([], np.arange(0), (0.8, 0.2)).tolist() == []


# Groups.


def reachable(columns: tuple[list[str], ...], start: int) -> set[int]:
    """The rows that hang together with one, by following shared values until nothing is added."""
    found, waiting = {start}, [start]
    while waiting:
        row = waiting.pop()
        for column in columns:
            near = {i for i, value in enumerate(column) if value and value == column[row]} - found
            found |= near
            waiting += near
    return found


VALUES = st.sampled_from(["", "", "", "a", "b", "c", "d", "e"])


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=25))
def test_rows_are_grouped_by_what_they_share(rows: list[tuple[str, str, str]]) -> None:
    columns = tuple([row[i] for row in rows] for i in range(3))
    numbers = group_rows(*columns)
    for row in range(len(rows)):
        assert set(np.flatnonzero(numbers == numbers[row]).tolist()) == reachable(columns, row)
    assert sorted(set(numbers.tolist())) == list(range(len(set(numbers.tolist()))))


def test_equal_values_in_different_columns_share_nothing() -> None:
    assert group_rows(["a", ""], ["", "a"]).tolist() == [0, 1]


def test_a_long_chain_is_one_group() -> None:
    n = 5000
    left = [f"l{i // 2}" for i in range(n)]
    right = [f"r{(i + 1) // 2}" for i in range(n)]
    assert set(group_rows(left, right).tolist()) == {0}


def test_no_rows_have_no_groups() -> None:
    assert group_rows([], []).tolist() == []
