"""Who is let in: only what can be answered within the deadline, and what memory is bounded for.

Every request that has been let in counts with its pictures, from its head to its answer. What they take is
known from the last ones (exponentially averaged wall seconds a picture, first those of the warm-up), so the
wait of the next one is that many pictures, shared by the workers. Where it comes too near to the deadline the
answer is 503 at once, before the body is read: a server that has too much to do stays as quick as it can be
for those that it serves, in the place of being too slow for everybody. Where CPUs are so short that requests
wait unread, that time is spent too: it is told by how late the server's own clock ticks (`lag`).

It lives in the event loop's thread, and needs no locks. What it does not know: how large the pictures are
that wait; a queue of pictures that are all far larger than the last ones is found late.
"""

import math
import time
from typing import Final, Self

from tellapart.ship.server.limits import Limits

__all__ = ["Admission", "Overloaded", "Place", "TooMuch"]

_SHARE: Final = 0.7
"""Of the deadline that the estimate may take; the rest is for what it is wrong by."""
_WEIGHT: Final = 0.05  # of the last picture in the average
_TICK: Final = 0.1  # seconds between two ticks, if nothing is late
_FADES: Final = 0.9  # at each tick: what was late is soon late again
_TIMES: Final = (
    3  # a request is late when it is read, when its task is begun, and when its answer is sent
)


class Overloaded(Exception):
    """Too much waits; `retry_after` says in how many whole seconds it is worth asking again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too much waits; ask again in {retry_after} s")
        self.retry_after = retry_after


class TooMuch(Exception):
    """One request has more pictures than could be answered in time if nothing else waited."""

    def __init__(self, fits: int) -> None:
        super().__init__(f"at most {fits} pictures can be answered in time")
        self.fits = fits


class Place:
    """What one request takes; a context that gives it back."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self.pictures, self.bytes = 0, 0

    def take(self, *, pictures: int = 0, size: int = 0) -> None:
        """Take more. Raises Overloaded, or TooMuch; what was taken before is kept then."""
        self._admission.check(pictures, size, own=self.pictures)
        self.pictures += pictures
        self.bytes += size
        self._admission.pictures += pictures
        self._admission.bytes += size

    def leave(self) -> None:
        """Give it back."""
        self._admission.pictures -= self.pictures
        self._admission.bytes -= self.bytes
        self.pictures = self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class Admission:
    """Counts what was let in, and says whether more can be.

    `seconds`: what a picture takes one worker, as measured before the start.

    >>> admission = Admission(Limits(deadline=1), workers=1, seconds=0.2)
    >>> with Place(admission) as place:
    ...     place.take(pictures=3)
    ...     try: place.take(pictures=1)
    ...     except TooMuch as refused: refused.fits
    3
    """

    def __init__(self, limits: Limits, workers: int, seconds: float) -> None:
        self._limits, self._workers = limits, workers
        self.pictures, self.bytes = 0, 0
        self.seconds = seconds
        self._ticked, self._late = time.monotonic(), 0.0

    def tick(self) -> None:
        """To be called every tenth of a second by the event loop."""
        now = time.monotonic()
        self._late = max(now - self._ticked - _TICK, _FADES * self._late)
        self._ticked = now

    @property
    def lag(self) -> float:
        """Seconds by which the event loop is late."""
        return max(0.0, time.monotonic() - self._ticked - _TICK, self._late)

    @property
    def wait(self) -> float:
        """Seconds until all that was let in is answered."""
        return self.pictures * self.seconds / self._workers

    @property
    def retry_after(self) -> int:
        """Whole seconds, 1 or more, until what waits now is done."""
        return max(1, math.ceil(self.wait))

    def check(self, pictures: int, size: int, *, own: int = 0) -> None:
        """Raises Overloaded where so many more pictures or bytes do not fit; TooMuch where they never would,
        together with the `own` ones that the request has already."""
        limits = self._limits
        whole = limits.deadline * _SHARE
        if pictures:
            fits = max(1, min(int(whole * self._workers / self.seconds), limits.most_waiting))
            if own + pictures > fits:
                raise TooMuch(fits)
        # The first one is always let in: a model that is slower than the deadline could never answer else.
        late = (self.pictures + pictures) * self.seconds / self._workers > whole - _TIMES * self.lag
        if pictures and self.pictures and (late or self._is_full(pictures)):
            raise Overloaded(self.retry_after)
        if size and self.bytes + size > limits.most_held:
            raise Overloaded(self.retry_after)

    def _is_full(self, pictures: int) -> bool:
        return self.pictures + pictures > self._limits.most_waiting

    def learn(self, seconds: float) -> None:
        """One more picture took a worker so long."""
        self.seconds += _WEIGHT * (seconds - self.seconds)
