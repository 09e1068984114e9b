"""Work in threads, answers in order, memory bounded.

`Executor.map` takes all of its input at once before Python 3.14; a million pictures would queue up.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ordered_map", "stopping"]

_thread = threading.local()

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, ahead: int = 4
) -> Iterator[R]:
    """`function` of every item, in order, computed by `workers` threads.

    At most `workers * ahead` items are taken before their answers are wanted. When the caller stops
    early, or is interrupted, what has begun is finished and nothing more is begun; nor is what has failed
    tried again (`stopping`).

    >>> list(ordered_map(str.upper, "abc", workers=2))
    ['A', 'B', 'C']
    """
    waiting: deque[Future[R]] = deque()
    stop = threading.Event()
    pool = ThreadPoolExecutor(
        max(1, workers), "tellapart", initializer=setattr, initargs=(_thread, "stop", stop)
    )
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= max(1, workers) * ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def stopping() -> threading.Event:
    """What is set when nobody wants the answer any more that this thread works for.

    >>> stopping().is_set()
    False
    """
    stop: threading.Event = getattr(_thread, "stop", None) or threading.Event()
    return stop
