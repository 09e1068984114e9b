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
        with parquet.ParquetFile(BytesIO(read_table_url(url)) if url else file) as opened:
            given = {field.strip().lower(): field for field in opened.schema_arrow.names}
            columns = used_columns(name, list(given))
            batches = opened.iter_batches(_ROWS, columns=[given[column] for column in columns])
            places = _places(name.rpartition("/")[2], columns, batches)
            return read_rows(name, columns, places, "a path and a label in each row")
    except OSError as error:
        raise DatasetError(f"{name} cannot be read: {error.strerror or error}") from None
    except arrow.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise DatasetError(f"{name}: no Parquet table that can be read ({reason})") from None


def _places(name: str, columns: Sequence[str], batches: Any) -> Iterator[Place]:
    row = 0
    for batch in batches:
        values = [column.to_pylist() for column in batch.columns]
        named = dict(
            zip((field.strip().lower() for field in batch.schema.names), values, strict=True)
        )
        for several in zip(*(named[column] for column in columns), strict=True):
            row += 1
            yield f"{name} row {row}", dict(zip(columns, several, strict=True))
