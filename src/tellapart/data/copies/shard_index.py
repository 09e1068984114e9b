"""An index of the nearest neighbours in one shard, a file of its own; many are asked together.

A graph of neighbours over neighbours (HNSW: Malkov and Yashunin, "Efficient and robust approximate nearest
neighbor search", 2016), by usearch, over rows kept in half precision. Each is built by itself, one row
after the other in one thread, so that the same rows give the same bytes wherever that is done.

The files are usearch's own. One that was altered can end the process that reads it, so none is opened but
where its length and SHA-256 are those that were written beside it, or that whoever asks was told. That
guards against damage and mixed-up files; who may write the folder can still write both.
"""

import hashlib
import json
import mmap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from tellapart.data.atomic_file import write_atomically
from tellapart.errors import DatasetError, MissingExtra

__all__ = ["ShardIndex", "merged_neighbours"]

Array = NDArray[np.float32]
Indices = NDArray[np.intp]

CONNECTIVITY: Final = 16  # neighbours that each row keeps in the graph
EXPANSION_ADD: Final = 64  # rows that are looked at where one is put in …
EXPANSION_SEARCH: Final = 48  # … and where one is looked up
_FORMAT: Final = 1
_BLOCK: Final = 8192  # rows that are looked up at a time
_AGAIN: Final = "Delete it, and run the same command again: it is built anew."


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The rows of a shard, in `graph` (usearch's), each under the number that it has in the whole.

    `content` is what a graph that was loaded looks into, and has to stay as long as that does.
    """

    graph: Any
    content: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self.graph)

    @property
    def dimensions(self) -> int:
        """Length of each row."""
        return int(self.graph.ndim)

    @classmethod
    def build(cls, rows: Array, numbers: Indices) -> Self:
        """An index of rows (n, D) by the angle between them; `numbers` (n,) are what is found.

        Deterministic. n may be 0. Raises MissingExtra without usearch.
        """
        graph = _graph(rows.shape[1])
        if len(rows):
            graph.add(np.asarray(numbers, np.uint64), np.asarray(rows, np.float32), threads=1)
        return cls(graph)

    def save(self, path: Path, *, made_of: str = "") -> dict[str, Any]:
        """Write it to `path`, whole or not at all, and its receipt beside it, which is also given.

        The receipt tells the file's length and SHA-256, and `made_of`, whatever tells the rows apart.
        """
        content = bytes(self.graph.save())
        receipt = {
            "format": _FORMAT, "count": len(self), "dimensions": self.dimensions,
            "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "made_of": made_of,
        }  # fmt: skip
        write_atomically(path, content)
        write_atomically(receipt_of(path), json.dumps(receipt))
        return receipt

    @classmethod
    def load(cls, path: Path, receipt: Mapping[str, Any] | None = None) -> Self:
        """The index in a file, mapped and not read into memory; it must be as `receipt` says.

        Without one the receipt beside the file counts. Raises DatasetError where the file is missing, cut,
        changed or another one, and opens nothing then.
        """
        told = read_receipt(path) if receipt is None else receipt
        try:
            with path.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path}: no index can be read ({error}). {_AGAIN}") from None
        if len(content) != told["bytes"] or hashlib.sha256(content).hexdigest() != told["sha256"]:
            raise DatasetError(
                f"{path}: this is not the index that was written ({told['bytes']:,} bytes, SHA-256 "
                f"{told['sha256'][:12]}…); it has {len(content):,} bytes. {_AGAIN}"
            )
        graph = _graph(told["dimensions"])
        graph.view(content)
        graph.expansion_search = EXPANSION_SEARCH
        if (len(graph), graph.ndim) != (told["count"], told["dimensions"]):
            raise DatasetError(
                f"{path}: the index has {len(graph):,} rows of {graph.ndim} numbers, where "
                f"{told['count']:,} of {told['dimensions']} were written. {_AGAIN}"
            )
        return cls(graph, content)

    def neighbours(self, queries: Array, count: int, threads: int = 1) -> tuple[Indices, Array]:
        """Numbers and cosines (Q, count) of the nearest rows, best first; −1 and −2 where there are no more.

        The answer does not depend on `threads`.
        """
        numbers = np.full((len(queries), count), -1, np.intp)
        cosines = np.full((len(queries), count), -2, np.float32)
        if not len(self) or not len(queries):
            return numbers, cosines
        several = (
            queries if len(queries) > 1 else np.repeat(queries, 2, axis=0)
        )  # else another shape comes
        found = self.graph.search(several, count, threads=threads)
        is_there = np.arange(count) < np.asarray(found.counts)[: len(queries), None]
        keys = np.asarray(found.keys)[: len(queries)]
        numbers[is_there] = keys[is_there]
        cosines[is_there] = 1 - np.asarray(found.distances)[: len(queries)][is_there]
        return numbers, cosines


def merged_neighbours(
    indexes: Sequence[ShardIndex], queries: Array, count: int, *, threads: int = 1
) -> tuple[Indices, Array]:
    """The nearest rows of all indexes together, as `ShardIndex.neighbours` gives them of one.

    Each index is asked for its `count` nearest, and the best of all are kept. Of equal cosines the smaller
    number comes first, so that the order of the indexes does not matter.
    """
    numbers = np.full((len(queries), count), -1, np.intp)
    cosines = np.full((len(queries), count), -2, np.float32)
    for start in range(0, len(queries), _BLOCK):
        part = slice(start, start + _BLOCK)
        for index in indexes:
            more = index.neighbours(queries[part], count, threads)
            both = np.concatenate([numbers[part], more[0]], axis=1)
            told = np.concatenate([cosines[part], more[1]], axis=1)
            best = np.lexsort((both, -told), axis=1)[:, :count]
            numbers[part] = np.take_along_axis(both, best, axis=1)
            cosines[part] = np.take_along_axis(told, best, axis=1)
    return numbers, cosines


def receipt_of(path: Path) -> Path:
    """Where the receipt of an index lies."""
    return path.with_name(f"{path.name}.json")


def read_receipt(path: Path) -> dict[str, Any]:
    """What was written beside an index. Raises DatasetError where that is nothing that can be used."""
    kinds = {
        "format": int,
        "count": int,
        "dimensions": int,
        "bytes": int,
        "sha256": str,
        "made_of": str,
    }
    try:
        told = json.loads(receipt_of(path).read_bytes())
        if told["format"] == _FORMAT and all(type(told[k]) is kind for k, kind in kinds.items()):
            return dict(told)
        reason = "of another kind"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error)
    raise DatasetError(f"{path}: its receipt cannot be read ({reason}). {_AGAIN}")


def _graph(dimensions: int) -> Any:
    """An empty graph.

    Ray is loaded first, where there is one: usearch brings a C++ library of its own, whose locales a
    later Ray would find, and end the process by (usearch 2.26, Ray 2.60: std::regex_error in ray.init).
    """
    with suppress(ModuleNotFoundError):
        import ray  # noqa: F401
    try:
        from usearch.index import Index
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error) or error from None
    return Index(
        ndim=dimensions, metric="cos", dtype="f16", connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD, expansion_search=EXPANSION_SEARCH, enable_key_lookups=False,
    )  # fmt: skip
