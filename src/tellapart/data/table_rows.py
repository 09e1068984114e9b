"""What the rows of a table of pictures mean, whatever kind of file they stand in.

The columns are those of fastai's cleaned.csv (`name,label`) or our own (path, label, split, group); a
`url` counts as a path. One odd row is a failure that names its place, and the others are used.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from tellapart.data.failure import Failure
from tellapart.data.places import is_url, secret_refusal, shown
from tellapart.data.scan import SPLIT_NAMES, SPLITS
from tellapart.errors import DatasetError

__all__ = ["Place", "Row", "read_rows", "used_columns"]

_PATH: Final = ("path", "name", "file", "filename", "file_name", "image", "url")
_LABEL: Final = ("label", "class", "category", "labels")
_MOST_TEXT: Final = 8192  # characters of a path, a label and the like
_MOST_FAILURES: Final = 10_000
_IS_VALID: Final = {"": "train"} | {
    value: split
    for split, values in {"valid": ("true", "1", "1.0"), "train": ("false", "0", "0.0")}.items()
    for value in values
}

Row = dict[str, str]

Place = tuple[str, Mapping[str, Any] | str]
"""Where a row stands, for messages, and its values by column; or what is wrong with it as a whole."""


def used_columns(file: str, fields: Sequence[str]) -> list[str]:
    """Those of the columns that count, the path's first and the label's second.

    Raises DatasetError where one of these two is missing.
    """
    path, label = _field(fields, _PATH), _field(fields, _LABEL)
    if path is None or label is None:
        raise DatasetError(
            f"{file}: its columns are {', '.join(fields) or 'missing'}; "
            "expected name,label (or path,label) in the first line"
        )
    return [path, label, *(name for name in ("split", "is_valid", "group") if name in fields)]


def read_rows(
    file: str, columns: Sequence[str], places: Iterable[Place], example: str
) -> tuple[list[Row], list[Failure]]:
    """Rows (path, label, split, group), and failures, from what `used_columns` gave and the rows.

    Raises DatasetError where no row can be used.
    """
    rows: dict[str, Row] = {}
    failures = _Failures(file)
    for place, row in _texts(columns, places):
        if isinstance(row, str):
            failures.append(Failure(place, "odd row", row))
        elif odd := _odd(row):
            failures.append(Failure(place, "odd row", odd))
        elif (before := rows.setdefault(row["path"], row))["label"] != row["label"]:
            labels = f"{before['label']!r} before, {row['label']!r} here"
            failures.append(Failure(place, "two labels", f"{_told(row['path'])}: {labels}"))
        elif before != row:
            odd = f"{_told(row['path'])} in another split or group"
            failures.append(Failure(place, "odd row", odd))
    if not rows:
        first = f". The first: {failures.kept[0]}" if failures.kept else ""
        raise DatasetError(f"{file}: no usable row; expected {example}{first}")
    return list(rows.values()), failures.all()


class _Failures:
    """The first of them, and how many there are more: a table may have millions of empty rows."""

    def __init__(self, file: str) -> None:
        self.kept: list[Failure] = []
        self._file, self._more = file, 0

    def append(self, failure: Failure) -> None:
        if len(self.kept) < _MOST_FAILURES:
            self.kept.append(failure)
        else:
            self._more += 1

    def all(self) -> list[Failure]:
        more = Failure(self._file, "odd rows", f"{self._more:,} more that cannot be used")
        return [*self.kept, more] if self._more else self.kept


def _told(path: str) -> str:
    """A path without what is secret in it: below the URL of a folder it may have a query too."""
    if is_url(path) or not secret_refusal(f"https://a/{path}"):
        return shown(path)
    return path.partition("?")[0]


def _texts(columns: Sequence[str], places: Iterable[Place]) -> Iterator[tuple[str, Row | str]]:
    path, label, *_ = columns
    for place, raw in places:
        if isinstance(raw, str):
            yield place, raw
            continue
        try:
            yield (
                place,
                {
                    "path": _text(raw, path, str),
                    "label": unicodedata.normalize("NFC", _text(raw, label, str | int)),
                    "split": _split(raw, columns),
                    "group": _text(raw, "group", str | int),
                },
            )
        except TypeError as error:
            yield place, str(error)


def _text(raw: Mapping[str, Any], column: str, kinds: Any) -> str:
    value = raw.get(column)
    if value is None:
        return ""
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"its {column} is no text but of the type {type(value).__name__}")
    if isinstance(value, str) and len(value) > _MOST_TEXT:
        raise TypeError(f"its {column} has {len(value):,} characters; at most {_MOST_TEXT:,}")
    return str(value).strip()


def _odd(row: Row) -> str:
    """What is wrong with a row; empty where nothing is."""
    if not row["path"] or not row["label"]:
        return "no path" if not row["path"] else "no label"
    if "\0" in row["path"]:
        return "a NUL character in its path"
    return "" if row["split"] in ("", *SPLITS) else f"split {row['split']!r}: none of {SPLITS}"


def _field(fields: Sequence[str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in fields), None)


def _split(raw: Mapping[str, Any], columns: Sequence[str]) -> str:
    if "split" in columns:
        value = _text(raw, "split", str).lower().replace("-", "_").replace(" ", "_")
        return SPLIT_NAMES.get(value, value)
    if "is_valid" in columns:  # as fastai writes it
        said = raw.get("is_valid")
        value = "" if said is None else str(said).strip().lower()
        return _IS_VALID.get(value, value)
    return ""
