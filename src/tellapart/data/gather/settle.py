"""The same content more than once: under several links, in several classes, in place of what was asked for.

In one class it is stored once. In two classes one label must be wrong, so it is kept in neither, and
aside in `.conflicts`, until somebody decides; the decision is written in the rows' reasons, so that the
next run knows it. The judgement is arithmetic on rows; only `arrange` touches files, and only ones that
were gathered.
"""

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tellapart.data.gather.store import verify_file
from tellapart.data.receipt import PENDING, ReceiptRow, keep_aside
from tellapart.errors import ImageError

__all__ = [
    "CONFLICTS_FOLDER",
    "arrange",
    "is_there",
    "judge",
    "placeholders",
    "plural",
    "remembered",
    "unreadable_rows",
]

CONFLICTS_FOLDER = ".conflicts"

_DECIDED = {
    "keep": "in two classes, kept in each",
    "first": "in two classes, kept in the first",
    "drop": "in two classes, dropped",
}
_FEWEST_LINKS = 3  # one picture for so many links may stand for "no longer available"
_USABLE = ("ok", "duplicate", "conflict")


def judge(rows: Sequence[ReceiptRow], decision: str | None) -> list[ReceiptRow]:
    """The rows with what the same content makes of them, in the same order.

    `decision` is keep, drop, first, or None for what was decided before, if anything was.
    """
    judged = list(rows)
    for places in _same_content(rows).values():
        group = [rows[place] for place in places]
        for place, row in zip(places, _judge_group(group, decision), strict=True):
            judged[place] = row
    return judged


def _same_content(rows: Sequence[ReceiptRow]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.sha256 and row.status in _USABLE:
            found.setdefault(row.sha256, []).append(place)
    return found


def _judge_group(group: list[ReceiptRow], decision: str | None) -> list[ReceiptRow]:
    classes = list(dict.fromkeys(row.label for row in group))
    chosen = decision or _decided_before(group)
    if not decision and chosen == "first":  # the first of then, whatever the order of now
        classes.sort(
            key=lambda name: (name, "ok") not in {(row.label, row.status) for row in group}
        )
    wanted = classes[:1] if len(classes) == 1 or chosen == "first" else classes
    if len(classes) > 1 and chosen in (None, "drop"):
        wanted = []
    reason = "" if len(classes) == 1 else _DECIDED[chosen] if chosen else PENDING
    first: dict[str, ReceiptRow] = {}
    judged = []
    for row in group:
        others = ", ".join(name for name in classes if name != row.label)
        detail = f"also in {others}" if others else ""
        if row.label not in wanted:
            judged.append(replace(row, status="conflict", reason=reason, detail=detail))
        elif row.label in first:
            before = first[row.label].url or first[row.label].path
            text = f"the same picture as {before}"
            judged.append(replace(row, status="duplicate", reason="same picture", detail=text))
        else:
            first[row.label] = row
            judged.append(replace(row, status="ok", reason=reason, detail=detail))
    return judged


def _decided_before(group: list[ReceiptRow]) -> str | None:
    reasons = {row.reason for row in group}
    return next((name for name, reason in _DECIDED.items() if reason in reasons), None)


def arrange(
    into: Path, rows: Sequence[ReceiptRow], before: Iterable[ReceiptRow] = ()
) -> list[ReceiptRow]:
    """Bring the gathered files where judged rows say: into the folders of their classes, or aside.

    `before` are the rows of an earlier run: a file of theirs may be the one that is wanted elsewhere
    now. Only what gathering stored is moved, and only while it holds what its name says: a user's own
    pictures and edits stay. Every move is a rename or a copy put in place whole; killed between, the
    next run completes it.
    """
    arranged = list(rows)
    owned: dict[str, set[Path]] = {}
    for row in (*rows, *before):
        if _is_gathered(row):
            owned.setdefault(row.sha256, set()).add(into / row.path)
    for sha256, places in _same_content(rows).items():
        places = [place for place in places if _is_gathered(rows[place])]
        if not places:
            continue
        name = Path(rows[places[0]].path).name
        homes = {rows[place].label: into / rows[place].label / name for place in places}
        wanted = [homes[label] for label in homes if any(
            rows[place].label == label and rows[place].status != "conflict" for place in places
        )]  # fmt: skip
        targets = wanted or [into / CONFLICTS_FOLDER / name]
        _bring(sha256, owned[sha256] | {into / CONFLICTS_FOLDER / name}, targets)
        for place in places:
            row = rows[place]
            home = homes[row.label]
            target = home if home in targets else targets[0]
            if target.is_file():
                arranged[place] = replace(row, path=target.relative_to(into).as_posix())
    return arranged


def _is_gathered(row: ReceiptRow) -> bool:
    """Whether its file is one that gathering stored: named after its content."""
    return bool(row.url and row.sha256) and PurePosixPath(row.path).stem == row.sha256


def _bring(sha256: str, owned: Iterable[Path], targets: Sequence[Path]) -> None:
    there = [path for path in sorted(owned) if path.is_file()]
    surplus = [path for path in there if path not in targets]
    missing = [target for target in targets if not target.exists()]
    if not surplus and not missing:
        return  # as nearly always; nothing is read
    whole = [path for path in {*there, *targets} if _holds(path, sha256)]
    for target in missing if whole else []:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}")
        shutil.copyfile(whole[0], beside)
        beside.replace(target)
    for path in surplus:
        if path in whole:  # what was edited stays
            path.unlink()


def _holds(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == sha256
    except OSError:
        return False


def is_there(into: Path, row: ReceiptRow) -> bool:
    """Whether the picture of a row is there, whole, even where a kill came while it was moved."""
    aside = into / CONFLICTS_FOLDER / Path(row.path).name
    return any(_is_whole(path, row.bytes) for path in (into / row.path, aside))


def _is_whole(path: Path, size: int | None) -> bool:
    """By its size, or by its pixels where somebody has edited it, which is not to be undone."""
    try:
        return path.stat().st_size == size or bool(verify_file(path, path.name))
    except (OSError, ImageError):
        return False


def placeholders(into: Path, rows: Sequence[ReceiptRow]) -> list[str]:
    """Sentences about single pictures that came for many links, as "no longer available" does."""
    notes = []
    for places in _same_content(rows).values():
        links = {rows[place].url for place in places} - {""}
        shown = [rows[place] for place in places if rows[place].status == "ok"]
        if len(links) >= _FEWEST_LINKS and shown:
            text = f"{len(links)} links gave one and the same picture, {into / shown[0].path}"
            notes.append((len(links), f"{text}: if it says 'no longer available', delete it"))
    return [text for _, text in sorted(notes, key=lambda note: -note[0])]


def remembered(rows: Sequence[ReceiptRow], decision: str | None) -> list[str]:
    """A sentence about decisions of an earlier run that still hold."""
    reasons = {row.reason for row in rows} & set(_DECIDED.values())
    if decision or not reasons:
        return []
    return [f"as decided before: {', '.join(sorted(reasons))}; --conflicts decides anew"]


def plural(count: int, noun: str) -> str:
    """
    >>> plural(1, "link"), plural(2000, "link")
    ('1 link', '2,000 links')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def unreadable_rows(file: Path, count: int) -> str:
    """Keep a receipt with rows that cannot be read before it is rewritten; a sentence that says so."""
    copy = keep_aside(file)
    return f"{plural(count, 'row')} of {file} cannot be read; the file as it was is kept as {copy}"
