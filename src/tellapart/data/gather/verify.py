"""The checks of gathering on pictures that are on disk already, and a clean copy of what passes them.

The originals stay as they are. What is bad is written in the receipt and left out of the data set.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tellapart.data.cpus import cpu_count
from tellapart.data.dataset import Dataset
from tellapart.data.gather.claim import locked, unwritable
from tellapart.data.gather.gather import RECEIPT, Gathered
from tellapart.data.gather.options import GatherOptions
from tellapart.data.gather.plan import REMOVED
from tellapart.data.gather.settle import judge, placeholders, plural, unreadable_rows
from tellapart.data.gather.store import Verified, verify_file, write_copy
from tellapart.data.ordered_map import ordered_map
from tellapart.data.receipt import Receipt, ReceiptRow, read_receipt_counting, write_receipt
from tellapart.data.scan import scan_folder
from tellapart.errors import DatasetError, ImageError, UsageError

__all__ = ["verify"]

Progress = Callable[[int, int], None]


def verify(
    data: str | Path,
    *,
    min_side: int = GatherOptions.min_side,
    max_size: int | None = None,
    copy_to: str | Path | None = None,
    conflicts: str | None = None,
    receipt: str | Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Gathered:
    """Check every picture in the class folders of `data`, and write `data/receipt.csv`.

    A picture is bad where it does not decode to its end, is smaller than `min_side` px, or stands in two
    classes (see `gather` for `conflicts`); of copies in one class the first is kept. No original is
    changed or moved. A receipt of `gather` that is there keeps its links.

    copy_to: a new folder for a clean copy of what is good: upright RGB, JPEG or PNG, longer side at most
      `max_size` px; files that are so already are copied byte for byte. It is there whole or not at all.
    receipt: the file to write, instead of `data/receipt.csv`.
    progress: called with (pictures done, pictures in all).

    Gives the data set of what is good (of the copies, where they are made) and the receipt of all.

    Raises UsageError, DatasetError (no pictures there, a folder that cannot be written).

    >>> dataset, receipt = verify("photos", copy_to="clean", max_size=500)  # doctest: +SKIP
    """
    options = GatherOptions(min_side=min_side, max_size=max_size, conflicts=conflicts)
    root, workers = Path(data), workers or cpu_count()
    if max_size is not None and copy_to is None:
        raise UsageError("max_size (--max-size) is for copies, and needs copy_to (--copy-to)")
    target = None if copy_to is None else _free(Path(copy_to), root)
    file = root / RECEIPT if receipt is None else Path(receipt)
    found, notes = scan_folder(root)
    found.sort()  # which of two copies is kept does not depend on the disk
    with locked(root):
        before, unreadable = read_receipt_counting(file)
        if unreadable:
            notes.append(unreadable_rows(file, unreadable))
        answers = []
        check = partial(_check, root, options)
        for answer in ordered_map(check, [path for path, _, _ in found], workers=workers):
            answers.append(answer)
            if progress is not None:
                progress(len(answers), len(found))
        rows = judge(_rows(found, answers, before), conflicts)
        write_receipt(file, rows)
    outcome = _of_disk(file, rows, {path for path, _, _ in found}, notes, root)
    if target is None:
        return Gathered(Dataset.from_receipt(outcome, root=root), outcome)
    copied = _copy(root, target, outcome, options, workers)
    outcome = replace(outcome, notes=(*outcome.notes, *copied.notes))
    return Gathered(Dataset.from_receipt(copied), outcome)


def _of_disk(
    file: Path, rows: Sequence[ReceiptRow], found: set[str], notes: Sequence[str], root: Path
) -> Receipt:
    """The part of the receipt that was looked at: a row for every picture that is on disk."""
    on_disk: dict[str, ReceiptRow] = {}
    for row in rows:
        if row.path in found and (row.path not in on_disk or row.status == "ok"):
            on_disk[row.path] = row
    more = list(notes)
    if without := len({row.key for row in rows if row.path not in found}):
        more.append(f"{plural(without, 'link')} of {file} have no picture")
    return Receipt(file, tuple(on_disk.values()), (*more, *placeholders(root, rows)))


def _check(root: Path, options: GatherOptions, path: str) -> Verified | ImageError:
    try:
        facts = verify_file(root / path, path)
    except ImageError as error:
        return error
    if facts.is_small(options.min_side):
        size = f"{facts.width} × {facts.height} px; at least {options.min_side} are asked for"
        return ImageError(path, "too small", size)
    return facts


def _rows(
    found: Sequence[tuple[str, str, str]],
    answers: Sequence[Verified | ImageError],
    before: dict[tuple[str, str], ReceiptRow],
) -> list[ReceiptRow]:
    """A row per picture, those of a receipt with their links; and its rows of links that have none."""
    known: dict[tuple[str, str], list[ReceiptRow]] = {}
    for row in before.values():
        known.setdefault((row.path, row.label), []).append(row)
    rows: list[ReceiptRow] = []
    paths = {path for path, _, _ in found}
    for (path, label, split), answer in zip(found, answers, strict=True):
        provenance = json.dumps({"split": split}, separators=(",", ":")) if split else ""
        own = known.pop((path, label), None)
        own = own or [ReceiptRow("", label, "ok", path=path, provenance=provenance)]
        rows += [_with_facts(row, answer) for row in own]
    others = (row for rest in known.values() for row in rest if row.url)
    return rows + [row if row.path in paths else _without_file(row) for row in others]


def _with_facts(row: ReceiptRow, answer: Verified | ImageError) -> ReceiptRow:
    if isinstance(answer, ImageError):
        facts = ReceiptRow(row.url, row.label, "failed", answer.reason, detail=answer.detail)
        return replace(
            facts, path=row.path, http_status=row.http_status, tries=row.tries,
            final_url=row.final_url, seconds=row.seconds, provenance=row.provenance,
        )  # fmt: skip
    return replace(
        row, status="ok", reason=row.reason if row.status in ("ok", "conflict") else "", detail="",
        bytes=answer.bytes, width=answer.width, height=answer.height, sha256=answer.sha256,
    )  # fmt: skip


def _without_file(row: ReceiptRow) -> ReceiptRow:
    stored = row.status in ("ok", "duplicate")
    return replace(row, status="skipped", reason=REMOVED, detail="") if stored else row


def _free(folder: Path, data: Path) -> Path:
    """A folder for copies: new or empty, and not among the originals."""
    folder = folder.resolve()
    if folder.is_relative_to(data.resolve()):
        raise UsageError(f"{folder} is {data} or lies in it; name another folder for the copies")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there already; name a new folder for the copies")
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror}") from None
    return folder


def _copy(
    root: Path, target: Path, outcome: Receipt, options: GatherOptions, workers: int
) -> Receipt:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise unwritable(target, error) from None
    try:
        write = partial(_copy_row, root, aside, options.max_size)
        rows = [row for row in ordered_map(write, outcome.stored, workers=workers) if row]
        write_receipt(aside / RECEIPT, rows)
        aside.chmod(0o777 & ~_umask())
        aside.replace(target)
    except OSError as error:
        raise unwritable(target, error) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    lost = len(outcome.stored) - len(rows)
    notes = (f"{plural(lost, 'picture')} changed while copied, and left out",) if lost else ()
    return Receipt(target / RECEIPT, tuple(rows), notes)


def _umask() -> int:
    """What the process leaves out of the modes of new files; asking means setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _copy_row(root: Path, aside: Path, max_size: int | None, row: ReceiptRow) -> ReceiptRow | None:
    try:
        place, facts = write_copy(root / row.path, aside / row.path, max_size)
    except ImageError:
        return None
    return replace(
        row, path=place.relative_to(aside).as_posix(), bytes=facts.bytes, width=facts.width,
        height=facts.height, sha256=facts.sha256,
    )  # fmt: skip
