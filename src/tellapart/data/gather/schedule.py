"""Who is asked next: hosts in turn, few connections to each, and none while it rests."""

import heapq
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from tellapart.data.gather.links import Link

__all__ = ["Ask", "Schedule"]


@dataclass(slots=True, eq=False)
class Ask:
    """One address to ask for, and the links that want its answer; how far it got is written on it."""

    request: str
    links: list[Link] = field(default_factory=list)
    current: str = ""
    host: str = ""
    redirects: int = 0
    tries: int = 0
    started: float = 0.0


class Schedule:
    """Asks that wait, by host. At most `per_host` of a host are out at a time; hosts take turns.

    >>> schedule = Schedule(per_host=1)
    >>> for n, host in enumerate("aab"):
    ...     schedule.put(Ask(str(n), host=host))
    >>> first, second = schedule.take(), schedule.take()
    >>> first.host, second.host, schedule.take()
    ('a', 'b', None)
    """

    def __init__(self, per_host: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_host = per_host
        self._clock = clock
        self._waiting: dict[str, deque[Ask]] = {}
        self._out: Counter[str] = Counter()
        self._turns: deque[str] = deque()
        self._in_turn: set[str] = set()
        self._resting: dict[str, float] = {}
        self._rested: defaultdict[str, float] = defaultdict(float)
        self._later: list[tuple[float, int, Ask | str]] = []
        self._number = count()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting) or any(isinstance(what, Ask) for _, _, what in self._later)

    def put(self, ask: Ask, delay: float = 0.0) -> None:
        """Let `ask` wait for its host's turn, at the earliest after `delay` seconds."""
        if delay > 0:
            heapq.heappush(self._later, (self._clock() + delay, next(self._number), ask))
            return
        self._waiting.setdefault(ask.host, deque()).append(ask)
        self._offer(ask.host)

    def rest(self, host: str, seconds: float) -> None:
        """Leave a host in peace for a while, as its Retry-After asks."""
        until = self._clock() + seconds
        before = self._resting.get(host, 0.0)
        if until > before:
            self._resting[host] = until
            self._rested[host] += until - max(before, self._clock())
            heapq.heappush(self._later, (until, next(self._number), host))

    def rested(self, host: str) -> float:
        """Seconds of rest that a host has had, or has been promised, in all."""
        return self._rested[host]

    def take(self) -> Ask | None:
        """The next one, which is then out until `give_back`; None where none may go now."""
        self._wake()
        while self._turns:
            host = self._turns.popleft()
            self._in_turn.discard(host)
            if not self._may_go(host):
                continue
            waiting = self._waiting[host]
            ask = waiting.popleft()
            if not waiting:
                del self._waiting[host]
            self._out[host] += 1
            self._offer(host)
            return ask
        return None

    def give_back(self, host: str) -> None:
        """One that was out for this host has come back."""
        self._out[host] -= 1
        if not self._out[host]:
            del self._out[host]
        self._offer(host)

    def next_at(self) -> float | None:
        """When, on the clock, something that waits for its time may go; None where nothing does."""
        return self._later[0][0] if self._later else None

    def drain(self, host: str | None = None) -> list[Ask]:
        """Everything that waits, or all of one host's, taken out: it will not be asked for now."""
        hosts = list(self._waiting) if host is None else [host]
        left = [ask for name in hosts for ask in self._waiting.pop(name, ())]
        kept = []
        for entry in self._later:
            what = entry[2]
            if isinstance(what, Ask) and host in (None, what.host):
                left.append(what)
            elif host is not None:
                kept.append(entry)
        heapq.heapify(kept)
        self._later = kept
        if host is None:
            self._resting.clear()
        return left

    def _may_go(self, host: str) -> bool:
        return (
            host in self._waiting and self._out[host] < self._per_host and host not in self._resting
        )

    def _offer(self, host: str) -> None:
        if host not in self._in_turn and self._may_go(host):
            self._turns.append(host)
            self._in_turn.add(host)

    def _wake(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            _, _, what = heapq.heappop(self._later)
            if isinstance(what, Ask):
                self.put(what)
            elif self._resting.get(what, 0.0) <= now:
                self._resting.pop(what, None)
                self._offer(what)
