"""Work in threads on what comes slowly: each answer as soon as it is there, in order, memory bounded."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Full, Queue
from typing import TypeVar

__all__ = ["prompt_map"]

T = TypeVar("T")
R = TypeVar("R")
_LOOK = 0.2  # seconds after which one that waits for room looks whether it is still wanted


def prompt_map(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, ahead: int = 4
) -> Iterator[R]:
    """As `ordered_map`, for items that a person or another program gives one at a time: an answer does not
    wait until the next item comes. They are taken in a thread of its own, which ends with the program.

    >>> list(prompt_map(str.upper, "abc", workers=2))
    ['A', 'B', 'C']
    """
    waiting: Queue[Future[R] | None] = Queue(max(1, workers) * ahead)
    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="tellapart")
    unwanted = threading.Event()

    def put(answer: "Future[R] | None") -> None:
        while not unwanted.is_set():
            try:
                return waiting.put(answer, timeout=_LOOK)
            except Full:
                continue

    def take() -> None:
        try:
            for item in items:
                if unwanted.is_set():
                    return
                put(pool.submit(function, item))
        except BaseException as error:
            failed: Future[R] = Future()
            failed.set_exception(error)
            put(failed)
        put(None)

    threading.Thread(target=take, name="tellapart-items", daemon=True).start()
    try:
        while (answer := waiting.get()) is not None:
            yield answer.result()
    finally:
        unwanted.set()
        pool.shutdown(wait=True, cancel_futures=True)
