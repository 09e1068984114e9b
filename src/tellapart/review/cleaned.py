"""cleaned.csv: the table of the pictures as it is after the decisions in a journal.

    name,label,split,group,given,decision

`name` is relative to the folder of the file, so that `Dataset.from_csv` reads it wherever it lies; `given`
is the label that the data gives. Nothing in it depends on the time or the machine: the same journal and
data give the same bytes. `group` is what the data says of itself; near copies are found anew by whoever
trains on the table. The pictures themselves are never touched.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from tellapart.data.atomic_file import write_atomically
from tellapart.data.csv_lines import csv_lines
from tellapart.data.dataset import Dataset
from tellapart.data.failure import Failure
from tellapart.data.hashing import sha256_of_files
from tellapart.data.places import is_url
from tellapart.data.plain_text import plain
from tellapart.errors import DatasetError, UsageError
from tellapart.review.decisions import Entry, Standing
from tellapart.review.journal import Journal
from tellapart.review.labels_now import LabelsNow
from tellapart.review.reviewed import find_reviewed
from tellapart.training.run import Run
from tellapart.training.train import TrainOptions

__all__ = [
    "HEADER",
    "Cleaned",
    "apply_decisions",
    "cleaned_rows",
    "standing_labels",
    "write_cleaned",
]

HEADER: Final = ("name", "label", "split", "group", "given", "decision")
NAME: Final = "cleaned.csv"
_LOSSES = {"changed": "the file has changed since", "gone": "it is not in the data any more"}


@dataclass(frozen=True)
class Cleaned:
    """What was written: `rows` pictures to `file`, from the decisions in `journal`.

    `counts` are decisions applied, by action. `failures` are decisions that could not be applied (reason
    `changed` or `gone`), pictures that could not be written (`name`), and rows of the data that were none.
    """

    file: Path
    journal: Path
    rows: int
    counts: dict[str, int]
    failures: tuple[Failure, ...] = ()

    def sentence(self) -> str:
        """In one line."""
        words = {"keep": "kept", "relabel": "relabelled", "remove": "removed", "unsure": "unsure"}
        done = ", ".join(f"{self.counts[action]:,} {word}" for action, word in words.items())
        return f"{self.rows:,} pictures in {plain(str(self.file))}; decided: {done}"

    def reasons(self) -> Counter[str]:
        """How many failures there are of each reason."""
        return Counter(failure.reason for failure in self.failures)

    def to_json(self) -> dict[str, Any]:
        return {
            "file": plain(str(self.file)),
            "journal": plain(str(self.journal)),
            "pictures": self.rows,
            "decided": self.counts,
            "failures": [
                {"path": plain(f.path), "reason": f.reason, "detail": plain(f.detail)}
                for f in self.failures
            ],
        }


def apply_decisions(
    data_or_run: Dataset | Run | str | Path,
    out: str | Path | None = None,
    journal: str | Path | None = None,
    options: TrainOptions | None = None,
) -> Cleaned:
    """Write the cleaned table of what was reviewed, by default `cleaned.csv` where the pictures are.

    Nothing is embedded; the files that were decided about are hashed, since a decision counts for the
    content that was looked at alone.

    Raises DatasetError where there is no journal, or no picture left; UsageError for a place that holds
    something else.
    """
    found = find_reviewed(data_or_run, options)
    dataset = found.dataset
    file = dataset.root / NAME if out is None else Path(out)
    check_place(file, found.file)
    kept = found.journal if journal is None else Path(journal)
    with Journal(kept, root=dataset.root, classes=dataset.classes, create=False) as opened:
        now = standing_labels(dataset, opened)
    rows, unwritable = cleaned_rows(dataset, now, file.parent)
    if not rows:
        raise DatasetError(f"no picture of {dataset.root} is left; {file} was not written")
    write_cleaned(file, rows)
    failures = (*dataset.failures, *_not_applied(dataset, now), *unwritable)
    return Cleaned(file, kept, len(rows), now.counts(), failures)


def standing_labels(dataset: Dataset, journal: Journal) -> LabelsNow:
    """What stands of the decisions in a journal, for the files as they are now."""
    standing = Standing()
    standing.add(journal.since(0))
    decided = standing.all()
    paths = [path for path in dataset.paths if path in decided]
    answers = zip(paths, sha256_of_files(dataset.root, paths), strict=True)
    hashes = {path: answer for path, answer in answers if isinstance(answer, str)}
    found = [hashes.get(path, "") for path in dataset.paths]
    now = LabelsNow(dataset.paths, found, dataset.targets, dataset.classes)
    now.update(standing, decided)
    return now


def cleaned_rows(
    dataset: Dataset, now: LabelsNow, folder: Path
) -> tuple[list[tuple[str, ...]], list[Failure]]:
    """The rows of a table that lies in `folder`, as `HEADER` names them, in the order of the paths.

    Removed pictures are left out, and those whose row could not be read back are failures: CSV files
    are UTF-8, and blanks around a name do not count in them.
    """
    above = _folders_between(folder, dataset.root)
    table = dataset.table
    rows: list[tuple[str, ...]] = []
    failures: list[Failure] = []
    columns = zip(dataset.paths, dataset.labels, table["split"], table["group"], strict=True)
    for row, (path, given, split, group) in enumerate(columns):
        entry = now.decided.get(row)
        if not now.kept[row]:
            continue
        label = given if entry is None or entry.label is None else entry.label
        stays = not above or PurePosixPath(path).is_absolute() or is_url(path)
        name = path if stays else f"{above}/{path}"
        if odd := _cannot_be_read_back(name, label, group):
            failures.append(Failure(path, "name", odd))
        else:
            rows.append((name, label, split, group, plain(given), entry.action if entry else ""))
    return rows, failures


def write_cleaned(file: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write `HEADER` and the rows, aside and then renamed. Raises DatasetError where that cannot be."""
    try:
        write_atomically(file, "".join(csv_lines([HEADER, *rows])))
    except OSError as error:
        raise DatasetError(
            f"{file} cannot be written: {error.strerror or error}. Choose another --out FILE"
        ) from None


def check_place(file: Path, data: Path | None = None) -> None:
    """Raises UsageError where `file` is the data itself, or anything but a cleaned table."""
    other = "choose another --out FILE"
    if file.is_dir():
        raise UsageError(f"{file} is a folder; --out takes the name of a file")
    if not file.exists():
        return
    if not file.is_file():
        raise UsageError(f"{file} is no file; {other}")
    if data is not None and data.exists() and file.samefile(data):
        raise UsageError(f"{file} is the data itself; {other}")
    header = ",".join(HEADER).encode() + b"\n"
    try:
        with file.open("rb") as opened:
            known = opened.read(len(header)) == header
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}; {other}") from None
    if not known:
        raise UsageError(f"{file} holds something else than a cleaned table; {other}")


def _folders_between(folder: Path, root: Path) -> str:
    """How to get from one to the other; "" where they are the same. Links are followed first, since `..`
    leads out of the folder that a link leads to."""
    way = os.path.relpath(root.resolve(), folder.resolve())
    return "" if way == os.curdir else Path(way).as_posix()


def _cannot_be_read_back(name: str, label: str, group: str) -> str:
    """What of a row would be lost in a table; "" where nothing would."""
    for what, text in (("name", name), ("label", label), ("group", group)):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return f"its {what} is not valid UTF-8; rename it"
        if "\r" in text or text != text.strip():
            return f"its {what} begins or ends with a blank, or holds a carriage return; rename it"
        if "\0" in text:
            return f"a NUL character in its {what}; rename it"
    if label != unicodedata.normalize("NFC", label):
        return "its label is not composed Unicode; rename it"
    return ""


def _not_applied(dataset: Dataset, now: LabelsNow) -> list[Failure]:
    def failure(path: str, reason: str, entry: Entry) -> Failure:
        return Failure(path, reason, f"{_LOSSES[reason]}; decided was: {entry.action}")

    changed = [failure(dataset.paths[row], "changed", e) for row, e in sorted(now.changed.items())]
    gone = [failure(path, "gone", e) for path, e in sorted(now.gone.items())]
    return changed + [lost for lost in gone if not lost.detail.endswith("remove")]
