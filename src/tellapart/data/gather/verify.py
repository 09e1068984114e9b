"""The checks of gathering on pictures that are on disk already, and a clean copy of what passes them.

The originals stay as they are. What is bad is written in the receipt and left out of the data set.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tellapart.data.cpus import cpu_count
from tellapart.data.dataset import Dataset
from tellapart.data.gather.claim import locked
from tellapart.data.gather.gather import RECEIPT, REMOVED, Gathered
from tellapart.data.gather.options import GatherOptions
from tellapart.data.gather.settle import judge, placeholders
from tellapart.data.gather.store import Verified, verify_file, write_copy
from tellapart.data.ordered_map import ordered_map
from tellapart.data.receipt import Receipt, ReceiptRow, read_receipt, write_receipt
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
        raise UsageError("max_size is for copies: name a folder for them with copy_to")
    target = None if copy_to is None else _free(Path(copy_to), root)
    file = root / RECEIPT if receipt is None else Path(receipt)
    found, notes = scan_folder(root)
    found.sort()  # which of two copies is kept does not depend on the disk
    with locked(root):
        before = read_receipt(file)
        answers = []
        check = partial(_check, root, options)
        for answer in ordered_map(check, [path for path, _, _ in found], workers=workers):
            answers.append(answer)
            if progress is not None:
                progress(len(answers), len(found))
        rows = judge(_rows(found, answers, before), conflicts)
        write_receipt(file, rows)
    outcome = Receipt(file, tuple(rows), (*notes, *placeholders(rows)))
    if target is None:
        return Gathered(Dataset.from_receipt(outcome, root=root), outcome)
    copied = _copy(root, target, outcome, options, workers)
    return Gathered(Dataset.from_receipt(copied), outcome)


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
    known: dict[str, list[ReceiptRow]] = {}
    for row in before.values():
        known.setdefault(row.path, []).append(row)
    rows: list[ReceiptRow] = []
    paths = set()
    for (path, label, split), answer in zip(found, answers, strict=True):
        paths.add(path)
        provenance = json.dumps({"split": split}, separators=(",", ":")) if split else ""
        own = [row for row in known.get(path, []) if row.label == label]
        own = own or [ReceiptRow("", label, "ok", path=path, provenance=provenance)]
        rows += [_with_facts(row, answer) for row in own]
    rows += [_without_file(row) for row in before.values() if row.url and row.path not in paths]
    return rows


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
    if folder.resolve().is_relative_to(data.resolve()):
        raise UsageError(f"{folder} lies in {data}; copies would mix with the originals")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there already; name a new folder for the copies")
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror}") from None
    return folder


def _copy(
    root: Path, target: Path, outcome: Receipt, options: GatherOptions, workers: int
) -> Receipt:
    aside = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write = partial(_copy_row, root, aside, options.max_size)
        rows = tuple(ordered_map(write, outcome.stored, workers=workers))
        write_receipt(aside / RECEIPT, rows)
        aside.replace(target)
    except OSError as error:
        raise DatasetError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Receipt(target / RECEIPT, rows)


def _copy_row(root: Path, aside: Path, max_size: int | None, row: ReceiptRow) -> ReceiptRow:
    facts = write_copy(root / row.path, aside / row.path, max_size)
    path = f"{row.path}{facts.suffix}"
    return replace(
        row, path=path, bytes=facts.bytes, width=facts.width, height=facts.height,
        sha256=facts.sha256,
    )  # fmt: skip
