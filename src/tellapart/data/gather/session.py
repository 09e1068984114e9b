"""All links, side by side: one event loop that asks, processes that decode, a row when each has ended."""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from tellapart.data.gather.claim import unwritable
from tellapart.data.gather.fetch import (
    HOST_FAILS,
    Body,
    Fault,
    Redirect,
    fetch,
    is_passing,
    new_session,
)
from tellapart.data.gather.options import GatherOptions
from tellapart.data.gather.schedule import Ask, Schedule
from tellapart.data.gather.store import Verified
from tellapart.data.gather.verifiers import Verifiers
from tellapart.data.receipt import ReceiptRow
from tellapart.errors import TellapartError

__all__ = ["Session"]

_MOST_REDIRECTS = 10
_LONGEST_REST = 120.0  # seconds; who asks for more is asked again another day
_MOST_REST = 600.0  # seconds that one host may ask for in all
_MOST_FAILURES = 20  # of one host in a row, each after its retries
_BACKOFF = 0.5  # seconds before the first retry; doubled each time, with jitter
_LONGEST_BACKOFF = 30.0


def host_of(url: str) -> str:
    """Who is asked, whatever the port."""
    return urlsplit(url).hostname or ""


@dataclass(slots=True)
class Session:
    """Asks for everything in `asks`; calls `ended` with the rows of each, in the loop's thread.

    `parts` is a folder for what is on its way, on the disk of `into`. An exception of `ended`, or a
    disk that cannot be written, ends the work and is raised by `run`.
    """

    into: Path
    parts: Path
    asks: list[Ask]
    options: GatherOptions
    workers: int
    ended: Callable[[list[ReceiptRow]], None]
    _schedule: Schedule = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _fatal: BaseException | None = field(init=False, default=None)
    _stopping: bool = field(init=False, default=False)
    _loop: asyncio.AbstractEventLoop | None = field(init=False, default=None)
    _wake: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _failed: Counter[str] = field(init=False, default_factory=Counter)
    _verifiers: Verifiers = field(init=False)
    _names: Iterator[str] = field(init=False)

    async def run(self) -> None:
        """Until every ask has ended, or it was stopped."""
        self._loop = asyncio.get_running_loop()
        # Names are looked up in threads: six, as is usual, would wait for six slow name servers.
        self._loop.set_default_executor(ThreadPoolExecutor(min(32, self.options.concurrency)))
        # Of this run alone: a worker of one that was killed may still be writing.
        self._names = map(f"{secrets.token_hex(4)}-{{}}".format, count())
        self._schedule = Schedule(self.options.per_host, self._loop.time)
        for ask in () if self._stopping else self.asks:
            self._put_afresh(ask)
        processes = min(self.workers, max(1, len(self.asks)))
        async with Verifiers(processes) as self._verifiers, new_session(self.options) as session:
            await self._dispatch(session)
        if self._fatal is not None:
            raise self._fatal

    def stop(self, *, at_once: bool) -> None:
        """From any thread: ask for nothing new and let what is in hand end, or end it too."""
        self._stopping = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop, at_once)

    def _stop(self, at_once: bool) -> None:
        self._schedule.drain()
        if at_once:
            for task in self._tasks:
                task.cancel()
        self._wake.set()

    async def _dispatch(self, session: aiohttp.ClientSession) -> None:
        assert self._loop is not None
        while (self._schedule or self._tasks) and self._fatal is None:
            self._wake.clear()
            while len(self._tasks) < self.options.concurrency and (ask := self._schedule.take()):
                task = self._loop.create_task(self._take_on(session, ask))
                self._tasks.add(task)
                task.add_done_callback(self._done)
            free = len(self._tasks) < self.options.concurrency
            at = self._schedule.next_at() if free else None
            timer = None if at is None else self._loop.call_at(at, self._wake.set)
            await self._wake.wait()
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fatal = self._fatal or error
        self._wake.set()

    async def _take_on(self, session: aiohttp.ClientSession, ask: Ask) -> None:
        """One request of an ask, and what follows from its answer."""
        assert self._loop is not None
        host = ask.host
        part = self.parts / next(self._names)
        ask.started = ask.started or time.monotonic()
        ask.tries += not ask.redirects
        try:
            answer = await fetch(session, ask.current, part, self.options)
            if isinstance(answer, Redirect):
                self._follow(ask, answer)
            else:
                await self._store(ask, answer, part)
        except Fault as fault:
            self._meet(ask, fault)
        except TellapartError:
            raise
        except Exception as error:  # whatever one answer brings about ends no other link
            self._meet(ask, Fault("bad answer", f"{type(error).__name__}: {error}"[:300]))
        finally:
            self._schedule.give_back(host)

    async def _store(self, ask: Ask, body: Body, part: Path) -> None:
        """Have the body verified and put where it belongs, and write down what came of it."""
        classes = dict.fromkeys(link.label for link in ask.links)
        folders = [self.into / label for label in classes]
        what, *rest = await self._verifiers.store(
            body.content, ask.request, part, folders, self.options.max_size, self.options.min_side
        )
        if what == "disk":
            raise unwritable(self.into, OSError(None, *rest))
        if what == "bad":
            reason, detail = rest
            raise Fault(reason, detail, http_status=body.http_status, size=body.size)
        self._end(ask, body, Verified(*rest), small=what == "small")

    def _follow(self, ask: Ask, redirect: Redirect) -> None:
        if ask.redirects >= _MOST_REDIRECTS:
            text = f"more than {_MOST_REDIRECTS}, the last to {redirect.to[:200]}"
            raise Fault("too many redirects", text, http_status=redirect.http_status)
        ask.redirects += 1
        ask.current = redirect.to
        ask.host = host_of(redirect.to)
        self._schedule.put(ask)

    def _meet(self, ask: Ask, fault: Fault) -> None:
        """Retry, or write down why not."""
        wait = fault.wait or 0.0
        again = fault.again and ask.tries <= self.options.retries and wait <= _LONGEST_REST
        if again and self._schedule.rested(ask.host) + wait <= _MOST_REST:
            if self._stopping:
                return  # without a row it is asked again the next time
            if fault.wait is not None:
                self._schedule.rest(ask.host, wait)
            backoff = min(_LONGEST_BACKOFF, _BACKOFF * 2 ** (ask.tries - 1))
            delay = max(wait, backoff * random.uniform(0.5, 1.5))  # noqa: S311
            self._put_afresh(ask, delay)
            return
        detail = fault.detail
        if fault.again and wait > _LONGEST_REST:
            detail = f"it asks to wait {wait:,.0f} s; run the same command again later"
        row = _row_of(ask, "failed", fault.reason, fault.http_status, detail, size=fault.size)
        self._write(ask, row)
        self._mark(ask.host, failed=is_passing(fault.reason, fault.http_status))

    def _mark(self, host: str, *, failed: bool) -> None:
        """Leave a host alone for good that only fails, or asks for rest again and again."""
        self._failed[host] = self._failed[host] + 1 if failed else 0
        tired = failed and self._schedule.rested(host) > _MOST_REST / 2
        if self._failed[host] < _MOST_FAILURES and not tired:
            return
        for ask in self._schedule.drain(host):
            ask.started = ask.started or time.monotonic()
            why = "asks for rest again and again" if tired else "only fails"
            text = f"{host} {why}; run the same command later"
            self._write(ask, _row_of(ask, "failed", HOST_FAILS, None, text, size=None))

    def _end(self, ask: Ask, body: Body, facts: Verified, *, small: bool) -> None:
        row = replace(
            _row_of(ask, "ok", "", body.http_status, "", size=facts.bytes),
            width=facts.width, height=facts.height, sha256=facts.sha256,
        )  # fmt: skip
        if small:
            text = (
                f"{facts.width} × {facts.height} px; at least {self.options.min_side} are asked for"
            )
            self._write(ask, replace(row, status="failed", reason="too small", detail=text))
            return
        self._write(ask, row, f"{facts.sha256}{facts.suffix}")
        self._mark(ask.host, failed=False)

    def _write(self, ask: Ask, row: ReceiptRow, name: str = "") -> None:
        self.ended(
            [
                replace(
                    row, url=link.url, label=link.label, provenance=link.provenance,
                    path=f"{link.label}/{name}" if name else "",
                )
                for link in ask.links
            ]
        )  # fmt: skip

    def _put_afresh(self, ask: Ask, delay: float = 0.0) -> None:
        ask.current, ask.host, ask.redirects = ask.request, host_of(ask.request), 0
        self._schedule.put(ask, delay)


def _row_of(
    ask: Ask, status: str, reason: str, http_status: int | None, detail: str, size: int | None
) -> ReceiptRow:
    seconds = round(time.monotonic() - ask.started, 3)
    return ReceiptRow(
        "", "", status, reason, http_status, ask.tries, ask.current, size, seconds=seconds, detail=detail
    )  # fmt: skip
