"""The receipt: a row for every link or picture, with what became of it.

A CSV file that is only appended to while work goes on, so that a kill -9 costs at most the row being
written, and rewritten whole, one row for each, when the work ends. Read back, of several rows for
one link the last counts, and a torn last line is as good as none. It knows nothing of networks.
"""

import csv
import errno
import html
import io
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tellapart.data.atomic_file import write_atomically
from tellapart.data.csv_lines import csv_lines
from tellapart.data.scan import SPLITS
from tellapart.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "PENDING",
    "STATUSES",
    "Receipt",
    "ReceiptLog",
    "ReceiptRow",
    "is_receipt",
    "keep_aside",
    "read_receipt",
    "read_receipt_counting",
    "write_receipt",
]

STATUSES = ("ok", "duplicate", "conflict", "failed", "skipped")
"""ok: stored and usable. duplicate: the same content as another of its class, which is stored once.
conflict: the same content in two classes. failed: lost. skipped: not asked for, beyond a bound."""

PENDING = "in two classes"
"""The reason of a conflict that nobody has decided yet."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """What became of one link, or of one picture on disk.

    `path` is relative to the folder of the pictures, POSIX; `bytes`, `width` and `height` (px, upright) and
    `sha256` are those of the file there, or of what came where nothing was kept. `seconds` is the
    time from the first request to the end. `provenance` is JSON: further columns of the list.
    """

    url: str
    label: str
    status: str
    reason: str = ""
    http_status: int | None = None
    tries: int = 0
    final_url: str = ""
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    sha256: str = ""
    path: str = ""
    seconds: float = 0.0
    detail: str = ""
    provenance: str = ""

    @property
    def key(self) -> Key:
        """What it is a row of: the link, or the path of a picture that has none, and its class."""
        return self.url or self.path, self.label

    @property
    def split(self) -> str:
        """The split that the list or the folder gave it; "" where none did."""
        try:
            found = json.loads(self.provenance).get("split", "") if self.provenance else ""
        except (ValueError, AttributeError):
            return ""
        return found if found in SPLITS else ""

    def values(self) -> list[str]:
        """Its fields as they stand in the file: no line ends, whatever is in them."""
        raw = (getattr(self, name) for name in _NAMES)
        return ["" if value is None else _one_line(str(value)) for value in raw]


_NAMES = tuple(field.name for field in fields(ReceiptRow))
_WHOLE = frozenset({"http_status", "tries", "bytes", "width", "height"})
_HEXADECIMAL = frozenset("0123456789abcdef")
COLUMNS = tuple("class" if name == "label" else name for name in _NAMES)
_HEADER = ",".join(COLUMNS) + "\n"


@dataclass(frozen=True)
class Receipt:
    """All rows of a receipt, as a value; `notes` are sentences for the user.

    A row's class is its attribute `label`. `stored` counts pictures; `counts` and `rows` count links.

    >>> row = ReceiptRow("http://x.org/1.jpg", "cat", "failed", "timeout")
    >>> receipt = Receipt(Path("receipt.csv"), (row,))
    >>> receipt.counts["cat"]["failed"], receipt.reasons
    (1, [('timeout', 1, 'http://x.org/1.jpg')])
    """

    file: Path
    rows: tuple[ReceiptRow, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> dict[str, Counter[str]]:
        """For each class, in the order they appear, how many rows have which status."""
        counts: dict[str, Counter[str]] = {}
        for row in self.rows:
            counts.setdefault(row.label, Counter())[row.status] += 1
        return counts

    @cached_property
    def stored(self) -> tuple[ReceiptRow, ...]:
        """The rows with a picture to use, one for each picture."""
        return tuple({row.path: row for row in self.rows if row.status == "ok"}.values())

    @cached_property
    def lost(self) -> tuple[ReceiptRow, ...]:
        """The rows that gave no usable picture: what failed, and what stands in two classes, undecided."""
        return tuple(row for row in self.rows if row.status == "failed" or row.reason == PENDING)

    @cached_property
    def reasons(self) -> list[tuple[str, int, str]]:
        """Why pictures were lost: (reason, how many, one of them), the most frequent first."""
        counts = Counter(row.reason for row in self.lost)
        examples = {row.reason: row.url or row.path for row in reversed(self.lost)}
        return [(reason, n, examples[reason]) for reason, n in counts.most_common()]

    @property
    def table(self) -> "pd.DataFrame":
        """The rows as a pandas table with the columns of the file."""
        import pandas as pd

        values = [[getattr(row, name) for name in _NAMES] for row in self.rows]
        return pd.DataFrame(values, columns=list(COLUMNS))

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("class", *STATUSES))
        body = "".join(
            f"<tr><td>{html.escape(label)}</td>{''.join(f'<td>{n[s]}</td>' for s in STATUSES)}</tr>"
            for label, n in self.counts.items()
        )
        lost = "".join(
            f"<tr><td>{html.escape(reason)}</td><td>{n}</td><td>{html.escape(example)}</td></tr>"
            for reason, n, example in self.reasons
        )
        lost = f"<table><tr><th>lost</th><th>n</th><th>for instance</th></tr>{lost}</table>"
        return f"<table><tr>{head}</tr>{body}</table>{lost if self.reasons else ''}"


class ReceiptLog:
    """The file while it grows: every row is there, in one piece, as soon as `add` returns.

    Raises DatasetError where the file is no receipt or cannot be written, as on a full disk.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> "ReceiptLog":
        _make_ready(self.file)
        try:
            self._handle = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise _unwritable(self.file, error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.close(self._handle)

    def add(self, row: ReceiptRow) -> None:
        raw = next(csv_lines([row.values()])).encode("utf-8", "backslashreplace")
        try:
            if os.write(self._handle, raw) < len(raw):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise _unwritable(self.file, error) from None


def _make_ready(file: Path) -> None:
    """Let the file end in a whole line of our own form, whoever has touched it."""
    text = _text(file)
    if not text.startswith(_HEADER) or not text.endswith("\n"):
        write_receipt(file, read_receipt(file).values())


def keep_aside(file: Path) -> Path:
    """A copy of a receipt with rows that cannot be read, under a name that is free."""
    names = (file.with_name(f"{file.stem}-{n}.bak{file.suffix}") for n in range(1, 1000))
    copy = next(name for name in names if not name.exists())
    try:
        write_atomically(copy, file.read_bytes())
    except OSError as error:
        raise _unwritable(copy, error) from None
    return copy


def read_receipt(file: Path) -> dict[Key, ReceiptRow]:
    """The last row of every link or picture, in the order of their first; none where there is no file.

    Raises DatasetError where the file is something else.
    """
    return read_receipt_counting(file)[0]


def read_receipt_counting(file: Path) -> tuple[dict[Key, ReceiptRow], int]:
    """The same, and how many rows could not be read, as after somebody's editing.

    A spreadsheet's or pandas' way of writing is understood: semicolons, 320.0 for 320, a byte-order mark,
    other line ends. A row whose class or path would lead out of the folder counts as unreadable.
    """
    lines = list(io.StringIO(_text(file), newline="\n"))
    if not lines or (len(lines) == 1 and _HEADER.startswith(lines[0])):  # killed over the header
        return {}, 0
    delimiter = max(",;\t", key=lines[0].count)
    header = next(csv.reader([lines[0]], delimiter=delimiter), [])
    header = [name.strip().lower() for name in header]
    if not {*COLUMNS[:3]} <= {*header}:
        raise DatasetError(
            f"{file} is no receipt of tellapart; move it away or choose another folder"
        )
    rows: dict[Key, ReceiptRow] = {}
    unreadable = 0
    for line in lines[1:]:  # each for itself: an open quote spoils its own line alone
        values = next(csv.reader([line], delimiter=delimiter), [])
        torn = not line.endswith("\n") and len(values) < len(header)
        row = None if torn else _row(dict(zip(header, values, strict=False)))
        if row is not None:
            rows[row.key] = row
        elif values and not torn:
            unreadable += 1
    return rows, unreadable


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig", "backslashreplace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}") from None


def is_receipt(file: Path) -> bool:
    """Whether a CSV file has the columns by which receipts are known."""
    try:
        with file.open("rb") as opened:
            start = opened.read(4096).removeprefix(b"\xef\xbb\xbf")
    except OSError:
        return False
    first = start.split(b"\n")[0].replace(b";", b",").replace(b"\t", b",")
    names = {name.strip(b' "\r').lower() for name in first.split(b",")}
    return names >= {name.encode() for name in (*COLUMNS[:3], "path")}


def write_receipt(file: Path, rows: Iterable[ReceiptRow]) -> None:
    """The whole file anew, so that it is there as it was or as it will be.

    Raises DatasetError where it cannot be written.
    """
    lines = csv_lines([COLUMNS, *(row.values() for row in rows)])
    try:
        write_atomically(file, "".join(lines).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise _unwritable(file, error) from None


def _row(values: dict[str, str]) -> ReceiptRow | None:
    """A row from its fields; None where they are none, or would lead somewhere else."""
    found: dict[str, Any] = {}
    try:
        for name, column in zip(_NAMES, COLUMNS, strict=True):
            value = values.get(column, "").strip() if name in _WHOLE else values.get(column, "")
            if name in _WHOLE:
                found[name] = _whole(value) if value else (0 if name == "tries" else None)
            else:
                found[name] = float(value or 0) if name == "seconds" else value
    except ValueError:
        return None
    found["status"] = found["status"].strip().lower()
    row = ReceiptRow(**found)
    return row if row.status in STATUSES and (row.url or row.path) and _stays_inside(row) else None


def _whole(text: str) -> int:
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


def _stays_inside(row: ReceiptRow) -> bool:
    """A receipt may come with somebody else's folder, and files are moved by what it says."""
    path = PurePosixPath(row.path)
    inside = not path.is_absolute() and ".." not in path.parts and "\0" not in row.path
    named = row.status == "failed" or ("/" not in row.label and row.label not in ("", ".", ".."))
    hashed = not row.sha256 or (len(row.sha256) == 64 and not {*row.sha256} - _HEXADECIMAL)
    return inside and named and hashed


def _one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _unwritable(file: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"{file} cannot be written: {error.strerror or error}. What it holds is kept; "
        "make room or allow writing, and run the same command again."
    )
