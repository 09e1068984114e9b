"""Threads that decode and compute what waits in one queue.

Each takes a few pictures at a time, never more than its share of what waits, and answers them one by one with
a session of one thread. A batch in one run of the network brings nothing on a CPU (measured: 120–210
pictures a second in batches of 4 to 16, 204–213 for two threads with a picture each), would make quick
pictures wait for slow ones, and would let an answer depend on what it was computed with. Decoding and the
network release the interpreter's lock, so threads are enough.

What it does not know: who asked, and until when; whoever waits gives a job up by `abandon`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from tellapart.ship.prediction import Prediction

__all__ = ["Job", "Predicts", "Workers"]

_TOGETHER: Final = 4


class Predicts(Protocol):
    """What answers: a predictor, or what stands for one in a test."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def predict_beside(self, source: Any, *, name: str | None = None) -> Prediction: ...


class Job:
    """The pictures of one request, answered by one model; `done` is called, in a worker's thread, when all
    are answered or one of them failed in a way that no picture should.

    `pictures`: (name, bytes). `answers` are in their order; `fault` is what went wrong, if anything did;
    `begun` is when the first was taken (monotonic seconds), `seconds` what each took that was computed.
    """

    def __init__(
        self,
        predictor: Predicts,
        pictures: Sequence[tuple[str, bytes]],
        done: Callable[["Job"], None],
    ) -> None:
        self.predictor = predictor
        self.answers: list[Prediction | None] = [None] * len(pictures)
        self.fault: Exception | None = None
        self.begun: float | None = None
        self.seconds: list[float] = []
        self.abandoned = False
        self._pictures: list[tuple[str, bytes] | None] = list(pictures)
        self._left, self._done = len(pictures), done
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._pictures)

    def abandon(self) -> None:
        """Nobody wants the answers any more: what was not begun is left out."""
        self.abandoned = True

    def answer(self, index: int) -> None:
        """Compute one answer."""
        picture, self._pictures[index] = (
            self._pictures[index],
            None,
        )  # its memory is free afterwards
        if self.abandoned or picture is None:
            return
        start = time.monotonic()
        if self.begun is None:
            self.begun = start
        name, content = picture
        try:
            answer = self.predictor.predict_beside(content, name=name)
        except Exception as error:
            self._settle(index, None, error, 0.0)
        else:
            self._settle(index, answer, None, time.monotonic() - start)

    def _settle(
        self, index: int, answer: Prediction | None, fault: Exception | None, seconds: float
    ) -> None:
        with self._lock:
            self.answers[index] = answer
            if answer is not None and answer.error is None:
                self.seconds.append(seconds)
            self._left -= 1
            over = self._left == 0 or (fault is not None and self.fault is None)
            self.fault = self.fault or fault
            if fault is not None:
                self.abandoned = True
        if over:
            self._done(self)


class Workers:
    """`count` threads over one queue. What may be put into it is for `admission` to bound."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._waiting: deque[tuple[Job, int]] = deque()
        self._some = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"tellapart-worker-{i}", daemon=True)
            for i in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        """Pictures that nobody has taken yet."""
        return len(self._waiting)

    def submit(self, job: Job) -> None:
        with self._some:
            self._waiting.extend((job, index) for index in range(len(job)))
            self._some.notify(min(len(job), self.count))

    def close(self, patience: float = 5.0) -> None:
        """Drop what waits, and wait for what is being computed, so many seconds at most."""
        with self._some:
            self._closed = True
            self._waiting.clear()
            self._some.notify_all()
        until = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while taken := self._take():
            for job, index in taken:
                job.answer(index)
            del taken, job  # an idle worker holds no picture

    def _take(self) -> list[tuple[Job, int]]:
        """A few of what waits, as soon as something does; nothing when it ends."""
        with self._some:
            while not self._waiting and not self._closed:
                self._some.wait()
            share = max(1, min(_TOGETHER, len(self._waiting) // self.count))
            return [self._waiting.popleft() for _ in range(min(share, len(self._waiting)))]
