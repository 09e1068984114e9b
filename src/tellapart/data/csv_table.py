"""Reading a CSV table of pictures: `name,label` as fastai's cleaned.csv has it, or our own columns.

The standard library's reader serves better than pandas' here: one odd row is a failure with its line
number, and the others are read.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from tellapart.data.failure import Failure
from tellapart.data.places import as_url
from tellapart.data.remote import read_table_url
from tellapart.data.table_rows import Place, Row, read_rows, used_columns
from tellapart.errors import DatasetError

__all__ = ["read_csv_table"]

_MOST_BYTES = 1 << 30


def read_csv_table(file: str | Path) -> tuple[list[Row], list[Failure]]:
    """Rows (path, label, split, group), and failures, of a file or of what lies at a URL.

    Comma, semicolon or tab; UTF-8 with or without a byte-order mark. A row without a path or label,
    with more fields than the header, or with a path that stands there twice with two labels, is a
    failure that names its line.

    Raises DatasetError where the file cannot be read or lacks the columns.
    """
    name = as_url(file) or str(file)
    lines = _lines(_text(file))
    _, header = next(lines, (1, []))
    if isinstance(header, csv.Error):
        raise DatasetError(f"{name}: no table of comma-separated values ({header})")
    fields = [field.strip().lower() for field in header]
    columns = used_columns(name, fields)
    places = _places(name.rpartition("/")[2], fields, lines)
    return read_rows(name, columns, places, "lines such as pictures/1.jpg,cat")


def _places(
    name: str, fields: list[str], lines: "Iterator[tuple[int, list[str] | csv.Error]]"
) -> Iterator[Place]:
    for line, values in lines:
        place = f"{name} line {line}"
        if isinstance(values, csv.Error):
            yield place, str(values)
        elif len(values) > len(fields):
            yield place, f"more than {len(fields)} fields"
        else:
            yield place, dict(zip(fields, values, strict=False))


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


def _text(file: str | Path) -> str:
    url = as_url(file)
    try:
        if url is not None:
            return read_table_url(url).decode("utf-8-sig")
        if Path(file).stat().st_size > _MOST_BYTES:
            raise DatasetError(f"{file}: larger than {_MOST_BYTES >> 30} GiB; is it a table?")
        return Path(file).read_text("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{url or file}: not UTF-8 at byte {error.start}; save it as CSV in UTF-8"
        ) from None
