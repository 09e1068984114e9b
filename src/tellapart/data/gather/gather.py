"""The verb: lists of links in, verified pictures in class folders and a receipt out."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tellapart.data.cpus import cpu_count
from tellapart.data.dataset import Dataset
from tellapart.data.gather.claim import claimed
from tellapart.data.gather.links import Link, read_links
from tellapart.data.gather.options import GatherOptions
from tellapart.data.gather.plan import BEYOND, REMOVED, Plan, make_plan
from tellapart.data.gather.session import Session
from tellapart.data.gather.settle import (
    arrange,
    judge,
    placeholders,
    plural,
    remembered,
    unreadable_rows,
)
from tellapart.data.images import looks_like_image
from tellapart.data.receipt import (
    Receipt,
    ReceiptLog,
    ReceiptRow,
    read_receipt_counting,
    write_receipt,
)

__all__ = ["RECEIPT", "Gathered", "Sources", "gather"]

Sources = Mapping[str, str | Path | Sequence[str]] | str | Path | Sequence[str | Path]
Progress = Callable[[str, int, int, int], None]

RECEIPT = "receipt.csv"
_log = logging.getLogger(__name__)


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
    listed, notes = read_links(sources)
    links = list({(link.url, link.label): link for link in listed}.values())
    folder = Path(into)
    with claimed(folder) as parts:
        before, unreadable = read_receipt_counting(folder / RECEIPT)
        if unreadable:
            notes.append(unreadable_rows(folder / RECEIPT, unreadable))
        plan = make_plan(folder, links, before, options)
        count = _Count(links, plan, progress or (lambda *_: None))
        interrupted = _ask(folder, parts, plan, options, workers or cpu_count(), count)
        rows = _settle(folder, links, plan, before, options)
    if interrupted:
        count.say_stopped()
        raise KeyboardInterrupt
    notes += _notes(folder, rows, plan, options)
    receipt = Receipt(folder / RECEIPT, tuple(rows), tuple(notes))
    return Gathered(Dataset.from_receipt(receipt), receipt)


class _Count:
    """How far each class is, for who watches."""

    def __init__(self, links: Sequence[Link], plan: Plan, progress: Progress) -> None:
        self.total = Counter(link.label for link in links)
        self.done: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._progress = progress
        listed = {(link.url, link.label) for link in links}
        for key, row in plan.rows.items():
            if key in listed:
                self._add(row)
        for label in self.total:
            self._report(label)

    def ended(self, row: ReceiptRow) -> None:
        self._add(row)
        self._report(row.label)

    def say_stopped(self) -> None:
        done, total, lost = self.done.total(), self.total.total(), self.lost.total()
        _log.warning("Stopped: %s of %s links are done, %s lost.", done, total, lost)

    def _add(self, row: ReceiptRow) -> None:
        self.done[row.label] += 1
        self.lost[row.label] += row.status == "failed"

    def _report(self, label: str) -> None:
        self._progress(label, self.done[label], self.total[label], self.lost[label])


def _ask(
    into: Path, parts: Path, plan: Plan, options: GatherOptions, workers: int, count: _Count
) -> bool:
    """Ask for all that is planned, and put the rows into the plan; whether it was interrupted."""
    if not plan.asks:
        return False
    with ReceiptLog(into / RECEIPT) as log:

        def ended(rows: list[ReceiptRow]) -> None:
            for row in rows:
                log.add(row)
                plan.rows[row.key] = row
                count.ended(row)

        asks = list(plan.asks.values())
        return _run_aside(Session(into, parts, asks, options, workers, ended))


def _settle(
    into: Path,
    links: Sequence[Link],
    plan: Plan,
    before: Mapping[tuple[str, str], ReceiptRow],
    options: GatherOptions,
) -> list[ReceiptRow]:
    """The receipt as it is to stay: one row for each link, in the order of the lists."""
    listed = dict.fromkeys((link.url, link.label) for link in links)
    order = [key for key in plan.rows if key not in listed]
    order += [key for key in listed if key in plan.rows]
    rows = judge([plan.rows[key] for key in order], options.conflicts)
    rows = arrange(into, rows, before.values())
    write_receipt(into / RECEIPT, rows)
    return rows


def _notes(into: Path, rows: Sequence[ReceiptRow], plan: Plan, options: GatherOptions) -> list[str]:
    beyond: Counter[str] = Counter(row.label for row in rows if row.reason == BEYOND)
    notes = [
        f"{plural(n, 'link')} of {label} not asked for (--max-per-class {options.max_per_class:,})"
        for label, n in beyond.items()
    ]
    if removed := len({row.path for row in rows if row.reason == REMOVED}):
        notes.append(f"{plural(removed, 'picture')} removed by hand stay away (--ask-again asks)")
    if plan.unlisted:
        text = "stay though these lists do not name them; delete what you do not want"
        notes.append(f"{plural(plan.unlisted, 'picture')} {text}")
    if foreign := _not_gathered(into, rows):
        text = "in the class folders came some other way; train uses them too"
        notes.append(f"{plural(foreign, 'picture')} {text}")
    return [*notes, *remembered(rows, options.conflicts), *placeholders(into, rows)]


def _not_gathered(into: Path, rows: Sequence[ReceiptRow]) -> int:
    """Pictures in the folders of these classes that are in no row."""
    known = {row.path for row in rows}
    folders = {row.label: into / row.label for row in rows if row.path}
    files = ((label, file) for label, folder in folders.items() for file in _files(folder))
    return sum(
        f"{label}/{file.name}" not in known and looks_like_image(file) for label, file in files
    )


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.name[0] != "."] if folder.is_dir() else []


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
