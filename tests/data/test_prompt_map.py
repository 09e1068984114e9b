"""Answers to items that come slowly."""

import queue
import threading

import pytest

from tellapart.data.prompt_map import prompt_map


def given(items):
    """Items of a queue, which may let wait; None is the last."""
    while (item := items.get()) is not None:
        yield item


def test_an_answer_does_not_wait_for_the_next_item():
    items = queue.Queue()
    answers = prompt_map(str.upper, given(items), workers=2)
    for name in "abcdef":
        items.put(name)
        assert next(answers) == name.upper()
    items.put(None)
    assert list(answers) == []


def test_order_is_kept_and_few_are_taken_ahead():
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield taken

    answers = prompt_map(lambda n: n * n, endless(), workers=2)
    assert [next(answers) for _ in range(100)] == [n * n for n in range(1, 101)]
    answers.close()
    assert taken < 130
    assert not [t for t in threading.enumerate() if t.name.startswith("tellapart_")]


def test_errors_of_items_and_of_the_function_are_raised():
    def broken():
        yield 1
        raise OSError("the pipe is gone")

    answers = prompt_map(str, broken(), workers=1)
    assert next(answers) == "1"
    with pytest.raises(OSError, match="pipe"):
        next(answers)
    with pytest.raises(ZeroDivisionError):
        list(prompt_map(lambda n: 1 / n, [1, 0, 2], workers=1))
