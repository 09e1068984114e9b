"""Reading a CSV table of pictures: `name,label` as fastai's cleaned.csv has it, or our own columns.

The standard library's reader serves better than pandas' here: one odd row is a failure with its line
number, and the others are read.
"""

import csv
import io
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from tellapart.data.failure import Failure
from tellapart.data.scan import SPLIT_NAMES, SPLITS
from tellapart.errors import DatasetError

__all__ = ["read_csv_table"]

_PATH = ("path", "name", "file", "filename", "file_name", "image")
_LABEL = ("label", "class", "category", "labels")
_IS_VALID = {"": "train"} | {
    value: split
    for split, values in {"valid": ("true", "1", "1.0"), "train": ("false", "0", "0.0")}.items()
    for value in values
}
_MOST_BYTES = 1 << 30

Row = dict[str, str]


def read_csv_table(file: Path) -> tuple[list[Row], list[Failure]]:
    """Rows (path, label, split, group), and failures.

    Comma, semicolon or tab; UTF-8 with or without a byte-order mark. A row without a path or label,
    with more fields than the header, or with a path that stands there twice with two labels, is a
    failure that names its line.

    Raises DatasetError where the file cannot be read or lacks the columns.
    """
    lines = _lines(_text(file))
    _, header = next(lines, (1, []))
    if isinstance(header, csv.Error):
        raise DatasetError(f"{file}: no table of comma-separated values ({header})")
    fields = [field.strip().lower() for field in header]
    path_field, label_field = _field(fields, _PATH), _field(fields, _LABEL)
    if path_field is None or label_field is None:
        raise DatasetError(
            f"{file}: its columns are {', '.join(fields) or 'missing'}; "
            "expected name,label (or path,label) in the first line"
        )
    group_field = _field(fields, ("group",))
    rows: dict[str, Row] = {}
    failures: list[Failure] = []
    for line, values in lines:
        place = f"{file.name} line {line}"
        if isinstance(values, csv.Error):
            failures.append(Failure(place, "odd row", str(values)))
            continue
        raw = dict(zip(fields, values, strict=False))
        row = {
            "path": (raw.get(path_field) or "").strip(),
            "label": unicodedata.normalize("NFC", (raw.get(label_field) or "").strip()),
            "split": _split(raw, fields),
            "group": (raw.get(group_field) or "").strip() if group_field else "",
        }
        if odd := _odd(row, len(values) - len(fields), len(fields)):
            failures.append(Failure(place, "odd row", odd))
        elif (before := rows.setdefault(row["path"], row))["label"] != row["label"]:
            labels = f"{before['label']!r} before, {row['label']!r} here"
            failures.append(Failure(place, "two labels", f"{row['path']}: {labels}"))
        elif before != row:
            failures.append(Failure(place, "odd row", f"{row['path']} in another split or group"))
    if not rows:
        raise DatasetError(f"{file}: no usable row; expected lines such as pictures/1.jpg,cat")
    return list(rows.values()), failures


def _lines(text: str) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Rows, or why there is none, with the line where each begins; empty lines are no rows."""
    delimiter = max(",;\t", key=text.lstrip("\r\n").split("\n", 1)[0].count)
    # Strict: a quote that is left open is an error then, and no label of many lines.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            if values := next(reader):
                yield line, values
        except StopIteration:
            return
        except csv.Error as error:
            yield line, error


def _odd(row: Row, surplus: int, fields: int) -> str:
    """What is wrong with a row; empty where nothing is."""
    if surplus > 0:
        return f"more than {fields} fields"
    if not row["path"] or not row["label"]:
        return "no path" if not row["path"] else "no label"
    if "\0" in row["path"]:
        return "a NUL character in its path"
    return "" if row["split"] in ("", *SPLITS) else f"split {row['split']!r}: none of {SPLITS}"


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise DatasetError(f"{file}: larger than {_MOST_BYTES >> 30} GiB; is it a table?")
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{file}: not UTF-8 at byte {error.start}; save it as CSV in UTF-8"
        ) from None


def _field(fields: list[str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in fields), None)


def _split(raw: Row, fields: list[str]) -> str:
    if "split" in fields:
        value = (raw.get("split") or "").strip().lower().replace("-", "_").replace(" ", "_")
        return SPLIT_NAMES.get(value, value)
    if "is_valid" in fields:  # as fastai writes it
        value = (raw.get("is_valid") or "").strip().lower()
        return _IS_VALID.get(value, value)
    return ""
