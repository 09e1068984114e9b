"""Reading a Parquet table of pictures: the columns that a CSV table has, through pyarrow.

Only the columns that count are read, some thousand rows at a time. Labels may be whole numbers, which
become texts; a dictionary of labels is read as what it stands for.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from tellapart.data.failure import Failure
from tellapart.data.places import as_url
from tellapart.data.remote import read_table_url
from tellapart.data.table_rows import Place, Row, read_rows, used_columns
from tellapart.errors import DatasetError, MissingExtra

__all__ = ["read_parquet_table"]

_ROWS: Final = 8192
_MOST_ROWS: Final = 100_000_000
_MOST_BATCH: Final = 256 << 20  # bytes of the rows that are read at a time, as the file tells


def read_parquet_table(file: str | Path) -> tuple[list[Row], list[Failure]]:
    """Rows (path, label, split, group), and failures, of a file or of what lies at a URL.

    A row without a path or label, or with one of another type, is a failure that names it; the first
    row is 1.

    Raises DatasetError where the file cannot be read or lacks the columns, MissingExtra without pyarrow.
    """
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error) or error from None
    url = as_url(file)
    name = url or str(file)
    try:
        # Opened here: Arrow knows no file names that are not UTF-8.
        with BytesIO(read_table_url(url)) if url else Path(file).open("rb") as content:
            opened = parquet.ParquetFile(content)
            given = {field.strip().lower(): field for field in opened.schema_arrow.names}
            columns = used_columns(name, list(given))
            wanted = [given[column] for column in columns]
            texts = _checked(name, opened, wanted)
            # As dictionaries: a long text that stands in all rows would fill the memory else.
            opened = parquet.ParquetFile(content, metadata=opened.metadata, read_dictionary=texts)
            batches = opened.iter_batches(_rows_at_once(opened.metadata), columns=wanted)
            places = _places(name.rpartition("/")[2], columns, batches)
            return read_rows(name, columns, places, "a path and a label in each row")
    except OSError as error:
        raise DatasetError(f"{name} cannot be read: {error.strerror or error}") from None
    except (arrow.ArrowException, ValueError, OverflowError, IndexError) as error:
        reason = str(error).partition("\n")[0]
        raise DatasetError(f"{name}: no Parquet table that can be read ({reason})") from None


def _checked(name: str, opened: Any, wanted: Sequence[str]) -> list[str]:
    """Those of the columns that hold texts. Raises DatasetError for too many rows, and for columns of
    lists and the like, or such as stand there twice."""
    from pyarrow import types

    told = opened.metadata
    if told.num_rows > _MOST_ROWS:
        raise DatasetError(f"{name}: {told.num_rows:,} rows; at most {_MOST_ROWS:,} are read")
    texts = []
    for column in wanted:
        if opened.schema_arrow.names.count(column) > 1:
            raise DatasetError(f"{name}: more than one column is called {column}")
        kind = opened.schema_arrow.field(column).type
        if types.is_nested(kind):
            raise DatasetError(f"{name}: no usable row: its {column} is {kind}; expected texts")
        if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind):
            texts.append(column)
    return texts


def _rows_at_once(told: Any) -> int:
    groups = map(told.row_group, range(told.num_row_groups))  # their columns' may end the process
    most = max((g.total_byte_size / max(1, g.num_rows) for g in groups), default=1)
    return int(max(1, min(_ROWS, _MOST_BATCH / max(1, most))))


def _places(name: str, columns: Sequence[str], batches: Any) -> Iterator[Place]:
    row = 0
    for batch in batches:
        fields = [field.strip().lower() for field in batch.schema.names]
        named = dict(zip(fields, map(_values, batch.columns), strict=True))
        for several in zip(*(named[column] for column in columns), strict=True):
            row += 1
            place = f"{name} row {row}"
            odd = [c for c, value in zip(columns, several, strict=True) if value is _UNREADABLE]
            if odd:
                yield place, f"its {odd[0]} cannot be read: not UTF-8, or beyond all dates"
            else:
                yield place, dict(zip(columns, several, strict=True))


_UNREADABLE: Final = object()


def _values(column: Any) -> list[Any]:
    """Those of a column of a batch, each text of a dictionary once."""
    indices = getattr(column, "indices", None)
    if indices is None:
        try:
            found: list[Any] = column.to_pylist()
        except (ValueError, OverflowError):
            return [_value(item) for item in column]
        return found
    known: dict[int | None, Any] = {None: None}
    for index in set(indices.to_pylist()) - {None}:
        known[index] = _value(column.dictionary[index])
    return [known[index] for index in indices.to_pylist()]


def _value(item: Any) -> Any:
    try:
        return item.as_py()
    except (ValueError, OverflowError):
        return _UNREADABLE
