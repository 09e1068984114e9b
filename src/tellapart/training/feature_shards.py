"""Features of many pictures in files of some hundred rows each: what a cluster leaves behind.

A shard is an Arrow file (https://arrow.apache.org/docs/format/Columnar.html), there whole or not at
all. It is named after the pictures' paths and after all that made the vectors, the same space that the
feature cache has for a key, so that nobody needs a list of them. Each row has the hash of the
picture's bytes, as the cache's key has, and a stamp of the file, by which a later run tells without
reading the picture whether it is still the same. A broken picture is a row with a reason.

Where the paths are cut into shards depends on the paths themselves (content-defined chunking, as in
rsync's and restic's), not on their count: a new picture among a million makes one shard anew.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.failure import PASSING, Failure
from tellapart.data.picture_facts import FACT
from tellapart.data.stored_file import StoredFolder

__all__ = ["ShardRows", "cut", "read_shard", "shard_name", "write_shard"]

_VERSION: Final = 1  # to be raised when the columns change
_FEW, _MANY = 128, 1024  # rows of a shard, on average, of some thousand pictures and of many
_MANY_FROM: Final = 100_000

Facts = NDArray[np.void]
Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ShardRows:
    """B pictures: `values` float32 (B, D), `facts` (B,) records of FACT (or none, of a view), by row
    `sha256`, and `stamps` ("" where a file could not be asked); `failures` by row, whose numbers are zeros.
    """

    values: NDArray[np.float32]
    facts: Facts
    sha256: tuple[str, ...]
    stamps: tuple[str, ...]
    failures: dict[int, Failure]

    def known(self, stamps: Sequence[str]) -> NDArray[np.bool_]:
        """Which rows still hold, (B,), where the files' stamps are now these.

        A picture that could not be reached is looked at again.
        """
        same = np.asarray([a == b != "" for a, b in zip(self.stamps, stamps, strict=True)], bool)
        lost = [row for row, failure in self.failures.items() if failure.reason in PASSING]
        same[lost] = False
        return same


def cut(paths: Sequence[str]) -> Iterator[slice]:
    """Where to cut N paths into shards, in order: by the paths themselves, at 3/4 to 5/4 of the usual rows.

    No shard is much longer than others, since the last one is waited for.

    >>> paths = [f"{n:05}.jpg" for n in range(1000)]
    >>> [part.stop - part.start for part in cut(paths)] == [part.stop - part.start for part in cut(paths)]
    True
    """
    usual = _FEW if len(paths) < _MANY_FROM else _MANY
    start = 0
    for end, path in enumerate(paths, 1):
        length = end - start
        if length >= usual * 3 // 4 and (length >= usual * 5 // 4 or _is_border(path, usual)):
            yield slice(start, end)
            start = end
    if start < len(paths):
        yield slice(start, len(paths))


def _is_border(path: str, usual: int) -> bool:
    told = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(told, "little") % (usual // 4) == 0


def shard_name(space: str, root: str, paths: Sequence[str]) -> str:
    """The file of these pictures below a store: `SPACE/HASH.arrow`."""
    told = hashlib.sha256(f"{_VERSION} {FACT.descr} {space}\0{root}".encode(*_NAMES))
    for path in paths:
        told.update(b"\0" + path.encode(*_NAMES))
    return f"{space[:32]}/{told.hexdigest()[:40]}.arrow"


_NAMES: Final = ("utf-8", "surrogateescape")


def write_shard(store: str, name: str, rows: ShardRows) -> None:
    """Put the rows into the file `name` below `store`, a folder or a URL. Raises DatasetError."""
    import pyarrow as pa

    vectors = rows.values.astype("<f2")
    if not np.array_equal(vectors.astype(np.float32), rows.values):
        vectors = rows.values  # one does not fit into half precision (training/feature_cache.py)
    width = rows.values.shape[1]
    count = len(rows.sha256)
    lost = [
        json.dumps(astuple(f)) if (f := rows.failures.get(row)) else None for row in range(count)
    ]
    table = pa.table(
        {
            "sha256": pa.array(rows.sha256, pa.string()),
            "stamp": pa.array(rows.stamps, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width),
            "facts": pa.array(
                [record.tobytes() for record in rows.facts] or [None] * count,
                pa.binary(FACT.itemsize),
            ),
            "failure": pa.array(lost, pa.string()),
        }
    )  # fmt: skip
    told = _digest(vectors, rows.facts, rows.sha256, rows.stamps, lost)
    table = table.replace_schema_metadata({"digest": told})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    StoredFolder(store).write(name, sink.getvalue())


def read_shard(store: str, name: str, count: int) -> ShardRows | None:
    """The rows of a shard of `count` pictures; None where there is none, or none that can be used."""
    import pyarrow as pa

    raw = StoredFolder(store).read(name)
    if raw is None:
        return None
    try:
        table = pa.ipc.open_file(pa.py_buffer(raw)).read_all()
        columns = {column: table.column(column) for column in table.column_names}
        return _rows(columns, table.schema.metadata) if len(table) == count else None
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None


def _digest(vectors: Array, facts: Facts, *texts: Sequence[str | None]) -> str:
    """Of all that a shard holds: Arrow itself does not notice a bit that has changed on the disk."""
    told = hashlib.sha256(json.dumps([list(column) for column in texts]).encode())
    told.update(vectors.tobytes())
    told.update(facts.tobytes())
    return told.hexdigest()


def _rows(columns: dict[str, Any], metadata: dict[bytes, bytes]) -> ShardRows:
    """Raises ValueError where they are not as they were written."""
    vectors = columns["vector"].combine_chunks()
    values = vectors.flatten().to_numpy(zero_copy_only=False)
    facts = columns["facts"].combine_chunks()
    records = np.zeros(0, FACT)
    if not facts.null_count:
        records = np.frombuffer(b"".join(facts.to_pylist()), FACT)
    texts = [columns[name].to_pylist() for name in ("sha256", "stamp", "failure")]
    if metadata[b"digest"].decode() != _digest(values, records, *texts):
        raise ValueError("damaged")
    sha256, stamps, failures = texts
    lost = {
        row: Failure(*json.loads(text)) for row, text in enumerate(failures) if text is not None
    }
    values = values.astype(np.float32).reshape(len(vectors), vectors.type.list_size)
    return ShardRows(values, records, tuple(sha256), tuple(stamps), lost)
