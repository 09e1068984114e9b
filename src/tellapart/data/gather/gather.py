"""The verb: lists of links in, verified pictures in class folders and a receipt out."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tellapart.data.cpus import cpu_count
from tellapart.data.dataset import Dataset
from tellapart.data.gather.addresses import REFUSED
from tellapart.data.gather.claim import claimed
from tellapart.data.gather.fetch import is_passing
from tellapart.data.gather.links import Link, read_links
from tellapart.data.gather.options import GatherOptions
from tellapart.data.gather.schedule import Ask
from tellapart.data.gather.session import Session
from tellapart.data.gather.settle import arrange, is_there, judge, placeholders
from tellapart.data.receipt import Receipt, ReceiptLog, ReceiptRow, read_receipt, write_receipt

__all__ = ["RECEIPT", "REMOVED", "Gathered", "Sources", "gather"]

Sources = Mapping[str, str | Path | Sequence[str]] | str | Path | Sequence[str | Path]
Progress = Callable[[str, int, int, int], None]

RECEIPT = "receipt.csv"
_log = logging.getLogger(__name__)
REMOVED = "removed by hand"
_BEYOND = "beyond max-per-class"


class Gathered(NamedTuple):
    """What gathering and verifying give: the usable pictures, and what became of every one."""

    dataset: Dataset
    receipt: Receipt


def gather(
    sources: Sources,
    into: str | Path,
    *,
    max_per_class: int = GatherOptions.max_per_class,
    max_size: int | None = GatherOptions.max_size,
    min_side: int = GatherOptions.min_side,
    max_bytes: int = GatherOptions.max_bytes,
    timeout: float = GatherOptions.timeout,
    retries: int = GatherOptions.retries,
    concurrency: int = GatherOptions.concurrency,
    per_host: int = GatherOptions.per_host,
    conflicts: str | None = GatherOptions.conflicts,
    allow_private: bool = GatherOptions.allow_private,
    ignore_robots: bool = GatherOptions.ignore_robots,
    ask_again: bool = GatherOptions.ask_again,
    user_agent: str | None = GatherOptions.user_agent,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Gathered:
    """Download the pictures of lists of links into `into/CLASS/`, verified, with `into/receipt.csv`.

    `sources` maps each class to a file of links or to the links themselves, or is one file or several,
    which tell the class by their name (`urls_CLASS.csv`) or by a column `label`. Asked again, what
    came before is not asked for again.

    max_per_class: the first so many links of a class are asked for.
    max_size: longer side, px, of a stored copy where a picture is larger; None keeps what came.
    min_side: smaller pictures (shorter side, px) are refused.
    max_bytes, timeout: what one answer may have, in bytes and in seconds.
    retries: for 429, 5xx and broken connections, with growing waits or as Retry-After asks.
    concurrency, per_host: requests at a time, in all and to one host.
    conflicts: what to do with one picture in two classes: "keep" in each, "drop", or keep in the
      "first"; None keeps it in neither, aside in `into/.conflicts`, until you decide.
    allow_private: ask addresses that are not public as well.
    ignore_robots: take pictures whose X-Robots-Tag says noai, noimageai or noindex.
    ask_again: ask again for all that failed, for what failed for good and what was removed too.
    progress: called with (class, links done, links in all, links lost) whenever one has ended.

    An interrupt (Ctrl-C) lets the links in hand end, writes them down and is raised then; a second
    ends at once. Works in a notebook, whose event loop is left alone.

    Raises UsageError, DatasetError (lists that cannot be read, a folder that cannot be written).

    >>> dataset, receipt = gather({"cat": "urls_cat.csv", "dog": "urls_dog.csv"}, "pets")  # doctest: +SKIP
    >>> receipt.reasons  # doctest: +SKIP
    [('HTTP 404', 7, 'http://example.org/cat.jpg'), ('timeout', 2, 'http://example.net/1.png')]
    """
    options = GatherOptions(
        max_per_class, max_size, min_side, max_bytes, timeout, retries, concurrency, per_host,
        conflicts, allow_private, ignore_robots, ask_again, user_agent,
    )  # fmt: skip
    links, notes = read_links(sources)
    folder = Path(into)
    with claimed(folder) as parts:
        work = _Work(folder, parts, links, options, progress or (lambda *_: None))
        work.plan()
        interrupted = work.ask(workers or cpu_count())
        receipt = work.finish(notes)
    if interrupted:
        raise KeyboardInterrupt
    return Gathered(Dataset.from_receipt(receipt), receipt)


@dataclass
class _Work:
    """One call: what was there, what is to be asked, what came."""

    into: Path
    parts: Path
    links: list[Link]
    options: GatherOptions
    progress: Progress
    rows: dict[tuple[str, str], ReceiptRow] = field(default_factory=dict)
    asks: dict[str, Ask] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)

    def plan(self) -> None:
        """Divide the links into those with a final row and those to ask for."""
        self.rows = read_receipt(self.into / RECEIPT)
        taken: Counter[str] = Counter()
        for link in self.links:
            self.total[link.label] += 1
            key = (link.url, link.label)
            taken[link.label] += not link.reason
            before = self.rows.get(key)
            row = before and self._kept(before)
            if row is None and (link.reason or taken[link.label] > self.options.max_per_class):
                row = _without_asking(link)
            if row is not None:
                self.rows[key] = row
                self._count(row)
                continue
            self.rows.pop(key, None)
            self.asks.setdefault(link.request, Ask(link.request)).links.append(link)
        for label in self.total:
            self.progress(label, self.done[label], self.total[label], self.lost[label])

    def _kept(self, row: ReceiptRow) -> ReceiptRow | None:
        """The row of an earlier run where it is final; None where the link is to be asked for."""
        if row.status in ("ok", "duplicate", "conflict") or row.reason == REMOVED:
            if is_there(self.into, row):
                return replace(row, status="ok", reason="") if row.reason == REMOVED else row
            if self.options.ask_again or (self.into / row.path).exists():
                return None
            return replace(row, status="skipped", reason=REMOVED)
        if row.status == "skipped":
            return None
        return row if _failed_for_good(row, self.options) else None

    def ask(self, workers: int) -> bool:
        """Ask for all that is planned; whether it was interrupted."""
        if not self.asks:
            return False
        with ReceiptLog(self.into / RECEIPT) as log:

            def ended(rows: list[ReceiptRow]) -> None:
                for row in rows:
                    log.add(row)
                    self.rows[row.key] = row
                    self._count(row)
                    label = row.label
                    self.progress(label, self.done[label], self.total[label], self.lost[label])

            asks = list(self.asks.values())
            session = Session(self.into, self.parts, asks, self.options, workers, ended)
            return _run_aside(session)

    def finish(self, notes: Sequence[str]) -> Receipt:
        """The receipt as it is to stay: settled, one row for each link, in the order of the lists."""
        listed = {(link.url, link.label) for link in self.links}
        order = [key for key in self.rows if key not in listed]
        order += [key for key in dict.fromkeys((link.url, link.label) for link in self.links)
                  if key in self.rows]  # fmt: skip
        rows = judge([self.rows[key] for key in order], self.options.conflicts)
        rows = arrange(self.into, rows)
        write_receipt(self.into / RECEIPT, rows)
        return Receipt(
            self.into / RECEIPT, tuple(rows), (*notes, *_notes(rows), *placeholders(rows))
        )

    def _count(self, row: ReceiptRow) -> None:
        self.done[row.label] += 1
        self.lost[row.label] += row.status == "failed"


def _without_asking(link: Link) -> ReceiptRow:
    status, reason = ("failed", link.reason) if link.reason else ("skipped", _BEYOND)
    return ReceiptRow(
        link.url, link.label, status, reason, detail=link.detail, provenance=link.provenance
    )


def _failed_for_good(row: ReceiptRow, options: GatherOptions) -> bool:
    """Whether asking again would only give the same answer, with these options."""
    side = min(row.width or 0, row.height or 0)
    may_come = (
        options.ask_again
        or bool(row.path)  # it came once, and its file has gone bad since
        or is_passing(row.reason, row.http_status)
        or (row.reason == "too small" and side >= options.min_side)
        or (row.reason == "too large" and (row.bytes or 0) <= options.max_bytes)
        or (row.reason == REFUSED and options.allow_private)
        or (row.reason == "refused by robots tag" and options.ignore_robots)
    )
    return not may_come


def _notes(rows: Sequence[ReceiptRow]) -> list[str]:
    beyond: Counter[str] = Counter(row.label for row in rows if row.reason == _BEYOND)
    notes = [
        f"{n:,} links of {label} are beyond the first ones of a class; --max-per-class takes more"
        for label, n in beyond.items()
    ]
    if removed := sum(row.reason == REMOVED for row in rows):
        notes.append(f"{removed:,} pictures were removed by hand and are not asked for again")
    return notes


def _run_aside(session: Session) -> bool:
    """Run in an event loop in a thread of its own, so that a notebook's loop is not in the way and an
    interrupt, which comes to the main thread, can let the others finish. Whether one came."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(session.run())
        except BaseException as error:
            failures.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="tellapart-gather").start()
    interrupts = 0
    while not ended.is_set():
        try:
            ended.wait()
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts == 1:
                _log.warning(
                    "Interrupted: links in hand are finished first; a second Ctrl-C ends at once."
                )
            session.stop(at_once=interrupts > 1)
    if failures:
        raise failures[0]
    return bool(interrupts)
