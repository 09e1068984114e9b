"""The same content more than once: under several links, in several classes, in place of what was asked for.

In one class it is stored once. In two classes one label must be wrong, so it is kept in neither, and
aside in `.conflicts`, until somebody decides; the decision is written in the rows' reasons, so that the
next run knows it. The judgement is arithmetic on rows; only `arrange` touches files, and only ones that
were gathered.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tellapart.data.gather.store import verify_file
from tellapart.data.receipt import PENDING, ReceiptRow
from tellapart.errors import ImageError

__all__ = ["CONFLICTS_FOLDER", "arrange", "is_there", "judge", "placeholders"]

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


def arrange(into: Path, rows: Sequence[ReceiptRow]) -> list[ReceiptRow]:
    """Bring the gathered files where judged rows say: into the folders of their classes, or aside.

    Every move is a rename or a copy put in place whole; killed between, the next run completes it.
    """
    arranged = list(rows)
    for sha256, places in _same_content(rows).items():
        group = [rows[place] for place in places]
        suffix = Path(group[0].path).suffix
        wanted = {row.label for row in group if row.status != "conflict"}
        homes = {row.label: into / row.label / f"{sha256}{suffix}" for row in group}
        aside = into / CONFLICTS_FOLDER / f"{sha256}{suffix}"
        targets = [homes[label] for label in homes if label in wanted] or [aside]
        _bring([*homes.values(), aside], targets)
        for place, row in zip(places, group, strict=True):
            target = homes[row.label] if row.label in wanted else targets[0]
            path = target.relative_to(into).as_posix()
            arranged[place] = replace(row, path=path)
    return arranged


def _bring(known: Sequence[Path], targets: Sequence[Path]) -> None:
    there = [path for path in known if path.is_file()]
    if not there:
        return
    for target in targets:
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(f".{target.name}")
            shutil.copyfile(there[0], beside)
            beside.replace(target)
    for path in there:
        if path not in targets:
            path.unlink()


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


def placeholders(rows: Sequence[ReceiptRow]) -> list[str]:
    """Sentences about single pictures that came for many links, as "no longer available" does."""
    notes = []
    for places in _same_content(rows).values():
        links = {rows[place].url for place in places} - {""}
        if len(links) >= _FEWEST_LINKS:
            path = rows[places[0]].path
            notes.append((len(links), f"one picture came for {len(links)} links ({path}): look at it, "
                          "it may stand for 'no longer available'"))  # fmt: skip
    return [text for _, text in sorted(notes, key=lambda note: -note[0])]
