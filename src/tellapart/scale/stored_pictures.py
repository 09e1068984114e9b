"""What is known of pictures, read from the shards where it lies: for workers that compare them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tellapart.errors import EngineError
from tellapart.training.feature_shards import ShardRows, read_shard

__all__ = ["StoredPictures", "StoredRows", "read_stored"]


@dataclass(frozen=True, eq=False)
class StoredPictures:
    """N pictures of the shards `names` in `store`, which begin at the rows `starts` (one more than names).

    `rows` (N,) are their numbers there, ascending: broken pictures lie there too. `length` is how many
    columns of the vectors count. `content` tells these pictures from others that lay in shards of these
    names before. Called in any process, it gives thumbnails and vectors.
    """

    store: str
    names: tuple[str, ...]
    starts: NDArray[np.intp]
    rows: NDArray[np.intp]
    length: int
    content: str

    def __call__(self) -> tuple[Any, "StoredRows"]:
        return StoredRows(self, "thumbnail"), StoredRows(self, "vector")


@dataclass(frozen=True)
class StoredRows:
    """Thumbnails uint8 (N, S, S, 3), or vectors float32 (N, D): rows by a slice or an array of numbers."""

    pictures: StoredPictures
    what: Literal["thumbnail", "vector"]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.pictures.rows), self.pictures.length

    def __getitem__(self, key: Any) -> NDArray[Any]:
        p = self.pictures
        wanted = p.rows[key]
        shards = np.searchsorted(p.starts, wanted, side="right") - 1
        found: NDArray[Any] | None = None
        for shard in np.unique(shards):
            here = shards == shard
            count = int(p.starts[shard + 1] - p.starts[shard])
            values = self._column(_kept(p.content, p.store, p.names[shard], count))
            if found is None:
                found = np.empty((len(wanted), *values.shape[1:]), values.dtype)
            found[here] = values[wanted[here] - p.starts[shard]]
        if found is None:
            return self._column(_kept(p.content, p.store, p.names[0], int(p.starts[1])))[:0]
        return found

    def _column(self, rows: ShardRows) -> NDArray[Any]:
        if self.what == "thumbnail":
            return rows.facts["thumbnail"]
        return rows.values[:, : self.pictures.length]


@lru_cache(maxsize=24)
def _kept(content: str, store: str, name: str, count: int) -> ShardRows:
    """The last few shards; rows are asked for in their order."""
    return read_stored(store, name, count)


def read_stored(store: str, name: str, count: int) -> ShardRows:
    """The rows of a shard that a worker has written. Raises EngineError."""
    shard = read_shard(store, name, count)
    if shard is None:
        raise EngineError(
            f"the shard {name} was written by a worker and is not in {store}. Give a store that all nodes "
            "see: --store with a shared folder or a URL such as s3://bucket/shards."
        )
    return shard
