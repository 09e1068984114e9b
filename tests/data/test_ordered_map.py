"""Work in threads: answers in order, input taken as it is wanted, an end at any moment."""

import itertools
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tellapart.data.ordered_map import ordered_map


@settings(max_examples=50)
@given(st.lists(st.integers()), st.integers(0, 5), st.integers(1, 4))
def test_it_is_map(items: list[int], workers: int, ahead: int) -> None:
    assert list(ordered_map(str, items, workers=workers, ahead=ahead)) == [str(i) for i in items]


def test_answers_keep_their_order_when_later_ones_are_ready_first() -> None:
    second = threading.Event()

    def slow_first(item: int) -> int:
        if item == 0:
            assert second.wait(10)
        if item == 1:
            second.set()
        return item

    assert list(ordered_map(slow_first, range(5), workers=2)) == [0, 1, 2, 3, 4]


def test_as_many_work_at_once_as_there_are_workers() -> None:
    together = threading.Barrier(3, timeout=10)  # breaks unless three calls are under way
    list(ordered_map(lambda _: together.wait(), range(6), workers=3))
    names = set(ordered_map(lambda _: threading.current_thread().name, range(50), workers=3))
    assert len(names) <= 3


def test_no_more_is_taken_than_is_wanted() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for item in itertools.count():
            taken.append(item)
            yield item

    answers = ordered_map(lambda item: item * 2, endless(), workers=2, ahead=3)
    assert taken == []
    assert next(answers) == 0
    assert len(taken) == 6
    assert list(itertools.islice(answers, 10)) == list(range(2, 22, 2))
    assert len(taken) <= 16
    answers.close()


def test_stopping_early_finishes_what_has_begun_and_begins_nothing_more() -> None:
    begun, finished = [], []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.02)
        finished.append(item)
        return item

    before = threading.active_count()
    answers = ordered_map(work, range(1000), workers=2, ahead=8)
    assert next(answers) == 0
    answers.close()
    count = len(begun)
    assert begun == sorted(begun)
    assert sorted(finished) == begun
    assert count < 16
    time.sleep(0.05)
    assert len(begun) == count
    assert threading.active_count() == before


def test_an_error_comes_at_its_place() -> None:
    def halve(item: int) -> float:
        return 1 / item

    answers = ordered_map(halve, [1, 2, 0, 4], workers=3)
    assert [next(answers), next(answers)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(answers)
    assert list(answers) == []
    assert not [t for t in threading.enumerate() if t.name.startswith("tellapart")]


def test_an_error_of_the_input_is_passed_on() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(ordered_map(str, broken(), workers=2))
    assert not [t for t in threading.enumerate() if t.name.startswith("tellapart")]
