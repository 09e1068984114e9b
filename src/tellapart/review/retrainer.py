"""A thread that asks for a new ranking when enough has been decided, or when nobody decides for a while."""

import threading
import time
from collections.abc import Callable

__all__ = ["Retrainer"]


class Retrainer:
    """Calls `rank(asked)` in a thread of its own, once at a time.

    It does so when `most` decisions are waiting, when some are and none came for `quiet` seconds, or at
    once when it is asked. What `rank` raises goes to `failed`, and the thread goes on.
    """

    def __init__(
        self,
        rank: Callable[[bool], object],
        failed: Callable[[Exception], None],
        *,
        most: int = 10,
        quiet: float = 3.0,
    ) -> None:
        self._rank, self._failed, self._most, self._quiet = rank, failed, most, quiet
        self._changed = threading.Condition()
        self._waiting, self._newest = 0, 0.0
        self._asked = self._running = self._stopped = False
        self._thread = threading.Thread(target=self._work, name="tellapart-ranking", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a ranking is being made, or has been asked for."""
        with self._changed:
            return self._running or self._asked

    def add(self, count: int) -> None:
        """So many decisions have been made."""
        with self._changed:
            self._waiting += count
            self._newest = time.monotonic()
            self._changed.notify_all()

    def ask(self) -> None:
        """A new ranking, as soon as can be."""
        with self._changed:
            self._asked = True
            self._changed.notify_all()

    def stop(self, patience: float = 5.0) -> None:
        """No further ranking; one that is being made may end within `patience` seconds."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(patience)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and (seconds := self._seconds_left()) != 0:
                    self._changed.wait(seconds)
                if self._stopped:
                    return
                asked, self._asked, self._waiting, self._running = self._asked, False, 0, True
            try:
                self._rank(asked)
            except Exception as error:  # a decision may come that makes it possible again
                self._failed(error)
            finally:
                with self._changed:
                    self._running = False

    def _seconds_left(self) -> float | None:
        """Until a ranking is due; None where nothing waits."""
        if self._asked or self._waiting >= self._most:
            return 0
        if not self._waiting:
            return None
        return max(0.0, self._newest + self._quiet - time.monotonic())
