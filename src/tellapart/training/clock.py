"""How long the stages of a command took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Clock"]


class Clock:
    """Seconds by stage, in the order in which they ran.

    >>> clock = Clock()
    >>> with clock.stage("embed"):
    ...     pass
    >>> list(clock.seconds)
    ['embed']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
