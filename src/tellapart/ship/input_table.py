"""The pictures of a job, one after the other: from a table, or as they were asked for.

Tables are read in batches, so that memory does not grow with their rows. A row without a usable path is
an input all the same, which gets its error, so that answers stand in the order of the rows.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from tellapart.data.places import as_url, folder_of_url, is_url, joined, refuse_secret, shown
from tellapart.errors import DatasetError, MissingExtra

__all__ = ["TABLES", "Input", "as_inputs", "inputs_of_table", "rows_of_table"]

TABLES: Final = (".csv", ".parquet")
"""How the name of a table ends."""

_PATH: Final = ("path", "name", "url", "file", "filename", "file_name", "image")
_BATCH: Final = 4096  # rows of a Parquet table


class Input(NamedTuple):
    """One picture: what its row is called, and where every worker finds it."""

    name: str
    place: str


def as_inputs(sources: Iterable[str | Path | Input]) -> Iterator[Input]:
    """Paths and URLs as inputs; a relative path is one of the working folder.

    >>> [given.name for given in as_inputs(["a.jpg", "s3://bucket/b.jpg"])]
    ['a.jpg', 's3://bucket/b.jpg']
    """
    for source in sources:
        if isinstance(source, Input):
            yield source
        else:
            name = as_url(source) or str(source)
            alone = not name or is_url(name) or name.startswith("/")
            yield Input(name, name if alone else str(Path(name).absolute()))


def inputs_of_table(file: str | Path) -> Iterator[Input]:
    """The rows of a CSV or Parquet table, which may lie behind a URL: its column path, name, url, file,
    filename, file_name or image. A relative path is one of the table's folder.

    Raises DatasetError where the table cannot be read or has no such column, MissingExtra where
    reading it needs an extra.

    >>> next(inputs_of_table("no/such.csv"))
    Traceback (most recent call last):
    ...
    tellapart.errors.DatasetError: no/such.csv cannot be read: No such file or directory
    """
    text = as_url(file) or str(file)
    folder = folder_of_url(text) if is_url(text) else str(Path(text).absolute().parent)
    names = _parquet_names(text) if text.lower().endswith(".parquet") else _csv_names(text)
    try:
        for name in names:
            yield Input(name, _placed(name, folder))
    except (DatasetError, MissingExtra):
        raise
    except OSError as error:
        raise _unread(text, error) from None
    except Exception as error:  # of a file system behind a URL, which raises its own
        if not is_url(text):
            raise
        raise _unread(text, error) from None


def _unread(file: str, error: Exception) -> DatasetError:
    """Of a library only the kind of its error: a key may stand in its text."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    hint = ". Look at the URL, and at the credentials in the environment" if is_url(file) else ""
    return DatasetError(f"{shown(file)} cannot be read: {reason}{hint}")


def rows_of_table(file: str | Path) -> int | None:
    """How many rows a Parquet table has; None where that is not known without reading all."""
    if not str(file).lower().endswith(".parquet"):
        return None
    with _parquet(str(file)) as table:
        return int(table.metadata.num_rows)


def _placed(name: str, folder: str) -> str:
    if not name or name.startswith("/") or is_url(name):
        return name
    return joined(folder, name) if is_url(folder) else os.path.join(folder, name)  # noqa: PTH118


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    """A file or URL, to be read as bytes."""
    if not is_url(file):
        with Path(file).open("rb") as local:
            yield local
        return
    refuse_secret(file)
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error) or error from None
    try:
        opened = fsspec.open(file, "rb")
    except (ImportError, ValueError) as error:  # a package that is missing, or no such thing
        raise DatasetError(f"{shown(file)} cannot be opened: {error}") from None
    with opened as remote:
        yield remote


@contextmanager
def _parquet(file: str) -> Iterator[Any]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error) or error from None
    try:
        with _opened(file) as stream:
            yield arrow.parquet.ParquetFile(stream)
    except OSError as error:
        raise _unread(file, error) from None
    except arrow.ArrowException as error:
        raise DatasetError(f"{file}: no Parquet table, or a cut one ({error})") from None


def _parquet_names(file: str) -> Iterator[str]:
    with _parquet(file) as table:
        texts = [field.name for field in table.schema_arrow if _is_text(field.type)]
        names = {name.strip().lower(): name for name in reversed(texts)}
        column = names[_column(list(names), file, "columns of text")]
        for batch in table.iter_batches(_BATCH, columns=[column]):
            yield from (name or "" for name in batch.column(0).to_pylist())


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return any(is_kind(kind) for is_kind in (types.is_string, types.is_large_string))


def _csv_names(file: str) -> Iterator[str]:
    with _opened(file) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
        first = text.readline()
        delimiter = max(",;\t", key=first.count)
        # Strict: a quote that is left open is an error then, and no path of many lines.
        reader = csv.reader(chain([first], text), delimiter=delimiter, strict=True)
        fields = [field.strip().lower() for field in next(reader, [])]
        at = fields.index(_column(fields, file))
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                _check_lines(file, line, reader.line_num, error)
                yield ""
                continue
            name = row[at].strip() if len(row) > at else ""
            if "\n" in name:
                _check_lines(file, line, reader.line_num, "a path of several lines")
            if row:  # empty lines are no rows
                yield name


def _check_lines(file: str, first: int, last: int, what: object) -> None:
    """Raises DatasetError where other rows are lost with one: each is to have its answer."""
    if last > first:
        raise DatasetError(
            f"{file}, lines {first} to {last}: {what}; a quote is open there. Close it, or write it twice"
        )


def _column(fields: list[str], file: str, what: str = "columns") -> str:
    found = next((name for name in _PATH if name in fields), None)
    if found is None:
        raise DatasetError(
            f"{file}: its {what} are {', '.join(fields) or 'missing'}; expected one of "
            f"{', '.join(_PATH)}"
        )
    return found
