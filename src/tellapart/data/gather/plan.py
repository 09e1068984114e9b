"""Which links are asked for: the lists of now against what earlier runs left.

What came stays and is not asked for again, nor is what failed for good. Lists change between runs: a link
that moved to another class takes its picture along, rows of failures that no list names any more go,
and pictures that no list names any more stay, since another list may have been meant to add to them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from tellapart.data.gather.addresses import REFUSED
from tellapart.data.gather.fetch import is_passing
from tellapart.data.gather.links import Link
from tellapart.data.gather.options import GatherOptions
from tellapart.data.gather.schedule import Ask
from tellapart.data.gather.settle import is_there
from tellapart.data.receipt import ReceiptRow

__all__ = ["BEYOND", "REMOVED", "Plan", "make_plan"]

Key = tuple[str, str]
REMOVED = "removed by hand"
BEYOND = "beyond max-per-class"
_USABLE = ("ok", "duplicate", "conflict")


@dataclass
class Plan:
    """Rows that are final, by link and class; and who is to be asked, by address."""

    rows: dict[Key, ReceiptRow] = field(default_factory=dict)
    asks: dict[str, Ask] = field(default_factory=dict)
    unlisted: int = 0  # pictures of these classes whose link is in no list of now


def make_plan(
    into: Path, links: Sequence[Link], before: Mapping[Key, ReceiptRow], options: GatherOptions
) -> Plan:
    """Divide the links into those with a final row and those to ask for."""
    plan = Plan()
    donors = _keep_others(plan, links, before)
    taken: Counter[str] = Counter()
    for link in links:
        key = (link.url, link.label)
        taken[link.label] += not link.reason
        row = _kept(into, before[key], options) if key in before else None
        if row is None and (link.reason or taken[link.label] > options.max_per_class):
            row = _without_asking(link)
        if row is None and (donor := donors.get(link.url)) and is_there(into, donor):
            row = _taken_along(donor, link)
        if row is not None:
            plan.rows[key] = row
        else:
            plan.asks.setdefault(link.request, Ask(link.request)).links.append(link)
    return plan


def _keep_others(
    plan: Plan, links: Sequence[Link], before: Mapping[Key, ReceiptRow]
) -> dict[str, ReceiptRow]:
    """Put rows that the lists do not name into the plan where they are to stay. Gives a row with a
    picture for each address that has one, in whichever class."""
    listed = {(link.url, link.label) for link in links}
    urls, classes = {url for url, _ in listed}, {label for _, label in listed}
    donors: dict[str, ReceiptRow] = {}
    for key, row in before.items():
        usable = row.status in _USABLE
        if usable and row.url:
            donors.setdefault(row.url, row)
        if key in listed:
            continue
        corrected = row.label in classes and (row.url in urls or not usable)
        if not corrected or row.reason == REMOVED:
            plan.rows[key] = row
            plan.unlisted += row.label in classes and row.status == "ok" and bool(row.url)
    return donors


def _taken_along(donor: ReceiptRow, link: Link) -> ReceiptRow:
    path = f"{link.label}/{PurePosixPath(donor.path).name}"
    return replace(
        donor, label=link.label, status="ok", reason="", detail="", path=path,
        provenance=link.provenance,
    )  # fmt: skip


def _kept(into: Path, row: ReceiptRow, options: GatherOptions) -> ReceiptRow | None:
    """The row of an earlier run where it is final; None where the link is to be asked for."""
    if row.status in _USABLE or row.reason == REMOVED:
        if is_there(into, row):
            return replace(row, status="ok", reason="") if row.reason == REMOVED else row
        if options.ask_again or (into / row.path).exists():
            return None
        return replace(row, status="skipped", reason=REMOVED)
    if row.status == "skipped":
        return None
    return row if _failed_for_good(row, options) else None


def _without_asking(link: Link) -> ReceiptRow:
    status, reason = ("failed", link.reason) if link.reason else ("skipped", BEYOND)
    return ReceiptRow(
        link.url, link.label, status, reason, detail=link.detail, provenance=link.provenance
    )


def _failed_for_good(row: ReceiptRow, options: GatherOptions) -> bool:
    """Whether asking again would only give the same answer, with these options."""
    side = min(row.width or 0, row.height or 0)
    may_come = (
        options.ask_again
        or bool(row.path)  # it came once, and its file has gone bad since
        or not row.tries  # it was no link, and the list has been corrected
        or is_passing(row.reason, row.http_status)
        or (row.reason == "too small" and side >= options.min_side)
        or (row.reason == "too large" and (row.bytes or 0) <= options.max_bytes)
        or (row.reason == REFUSED and options.allow_private)
        or (row.reason == "refused by robots tag" and options.ignore_robots)
    )
    return not may_come
