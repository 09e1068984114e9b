"""The nearest pictures by way of an index for each shard, for more of them than one search can compare.

Two passes over the shards. In the first each gets its indexes, one of the vectors' main directions and one
of what the pictures look like; in the second the pictures of each shard are looked up in the indexes of
all. Shards know nothing of each other in either, so that a cluster can do them at once. All that they
make lies in one folder; a second run does only what is missing or was made of something else.

What it costs: each picture is looked up in every shard, so the second pass grows with the number of
pictures times the number of shards times the logarithm of a shard's size. All indexes are mapped at once,
about 550 bytes a picture. Numbers of pictures and of pairs lie in memory, about 400 bytes a picture.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.atomic_file import write_atomically
from tellapart.data.copies.neighbours import EXACT, Directions, main_directions
from tellapart.data.copies.rows import Rows, taken
from tellapart.data.copies.search import (
    CROWD,
    DIMENSIONS,
    LOOK,
    LOOKALIKES,
    Nearest,
    looks,
    search_rows,
)
from tellapart.data.copies.shard_index import ShardIndex, merged_neighbours, read_receipt
from tellapart.errors import DatasetError

__all__ = ["Shards", "in_turn"]

Array = NDArray[np.float32]
Indices = NDArray[np.intp]
Pictures = tuple[NDArray[np.uint8], Rows]
Run = Callable[[Callable[[Any, Mapping[str, Any]], Mapping[str, Any]], Any, Iterable[Mapping[str, Any]]],
               Iterable[Mapping[str, Any]]]  # fmt: skip

_NAMES: Final = ("main", "look")
_VERSION: Final = 1  # to be raised when other rows are indexed, or otherwise


def in_turn(
    task: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]],
    shared: Any,
    parts: Iterable[Mapping[str, Any]],
) -> Iterable[Mapping[str, Any]]:
    """The receipts of `task(shared, part)` for all parts, done in this process one after the other."""
    return (task(shared, part) for part in parts)


@dataclass(frozen=True)
class Shards:
    """How pictures are looked up by shards; a `Search` for `find_copies`.

    Indexes lie in `folder`, which all who work on it must see. A shard has `size` pictures: small ones
    keep more workers busy, but each picture is looked up in each of them. Up to `above` pictures in
    all are compared without any index, as exactly as ever. `run` does a pass: `in_turn` here,
    `scale.ray_map.map_parts` on a cluster. There `pictures` opens, in each worker's process, the same
    thumbnails and vectors that are compared; without it they travel as they are. `threads` look up in
    each process; the answer does not depend on them. `report` is called with `neighbours`, the number
    of shards' passes done and of all.

    Raises MissingExtra without usearch, DatasetError where a file in the folder is not as it was written.
    """

    folder: Path
    size: int = 250_000
    above: int = EXACT
    run: Run = in_turn
    pictures: Callable[[], Pictures] | None = None
    threads: int = 1
    report: Callable[[str, int, int], None] = lambda stage, done, total: None

    def __call__(
        self, rows: Indices, thumbnails: NDArray[np.uint8], vectors: Rows, seed: int
    ) -> Nearest:
        """The nearest among some rows, ascending, of N pictures."""
        if len(rows) <= self.above:
            return search_rows(rows, thumbnails, vectors, seed)
        parts = [
            {"shard": shard, "start": start, "stop": min(start + self.size, len(rows))}
            for shard, start in enumerate(range(0, len(rows), self.size))
        ]
        job = Job(
            self.folder, rows, main_directions(vectors, rows, DIMENSIONS, seed),
            self.pictures or _Here(thumbnails, vectors), self.threads,
        )  # fmt: skip
        built = self._pass(index_shard, job, parts, 0)
        told = sorted(built, key=lambda receipt: int(receipt["shard"]))
        job = replace(job, indexes=tuple(told))
        self._pass(look_up_shard, job, parts, len(parts))
        files = [_pairs_file(self.folder, int(part["shard"])) for part in parts]
        return _joined([_read_pairs(file, job.made_of) for file in files])

    def _pass(
        self, task: Callable[..., Any], job: "Job", parts: list[dict[str, Any]], before: int
    ) -> list[Mapping[str, Any]]:
        receipts = []
        for receipt in self.run(task, job, parts):
            receipts.append(receipt)
            self.report("neighbours", before + len(receipts), 2 * len(parts))
        return receipts


@dataclass(frozen=True)
class _Here:
    """Pictures that are at hand already."""

    thumbnails: NDArray[np.uint8]
    vectors: Rows

    def __call__(self) -> Pictures:
        return self.thumbnails, self.vectors


@dataclass(frozen=True)
class Job:
    """What all shards share: the numbers of all pictures that are compared, and how they are seen.

    `indexes` are the receipts of the first pass, in the order of the shards.
    """

    folder: Path
    rows: Indices
    directions: Directions
    pictures: Callable[[], Pictures]
    threads: int
    indexes: tuple[Mapping[str, Any], ...] = ()

    @property
    def made_of(self) -> str:
        """What tells the pairs of these indexes from those of others."""
        indexes = (str(told[name]["sha256"]) for told in self.indexes for name in _NAMES)
        return _digest(str(_VERSION), *indexes)

    def seen(self, part: Mapping[str, Any]) -> tuple[Indices, Array, Array]:
        """Those pictures of a shard that show anything: their numbers, directions and looks."""
        thumbnails, vectors = self.pictures()
        rows = self.rows[part["start"] : part["stop"]]
        look, shown = looks(rows, thumbnails)
        rows, look = rows[shown], look[shown]
        main = np.empty((len(rows), self.directions.basis.shape[1]), np.float32)
        for start in range(0, len(rows), 8192):
            block = slice(start, start + 8192)
            main[block] = self.directions.of(taken(vectors, rows[block]))
        return rows, main, look


def index_shard(job: Job, part: Mapping[str, Any]) -> dict[str, Any]:
    """The first pass over a shard; the receipts of its two indexes."""
    numbers, main, look = job.seen(part)
    made = {
        name: _kept_index(_index_file(job.folder, name, part["shard"]), values, numbers)
        for name, values in zip(_NAMES, (main, look), strict=True)
    }
    return {"shard": part["shard"], **made}


def look_up_shard(job: Job, part: Mapping[str, Any]) -> dict[str, Any]:
    """The second pass over a shard: its pictures' nearest among all, as a file of pairs."""
    file = _pairs_file(job.folder, part["shard"])
    try:
        pairs = len(_read_pairs(file, job.made_of)["near"])
    except DatasetError:
        numbers, main, look = job.seen(part)
        near = _pairs(numbers, *_found(job, "main", main, CROWD), 0.0)
        alike = _pairs(numbers, *_found(job, "look", look, LOOKALIKES), LOOK)
        _write_pairs(file, {"rows": numbers, "near": near, "alike": alike}, job.made_of)
        pairs = len(near)
    return {"shard": part["shard"], "pairs": pairs}


def _found(job: Job, name: str, values: Array, count: int) -> tuple[Indices, Array]:
    indexes = [
        ShardIndex.load(_index_file(job.folder, name, told["shard"]), told[name])
        for told in job.indexes
    ]
    return merged_neighbours(indexes, values, count + 1, threads=job.threads)  # itself is one


def _pairs(numbers: Indices, found: Indices, cosines: Array, least: float) -> Indices:
    """Pairs (P, 2), the smaller number first, of pictures and the last but one of the found."""
    itself = found == numbers[:, None]
    itself[:, -1] |= ~itself.any(axis=1)  # where others are as near, it may not be among them
    others = ~itself & (found >= 0) & (cosines >= least)
    a, b = np.broadcast_to(numbers[:, None], found.shape)[others], found[others]
    return np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1)


def _joined(parts: list[dict[str, Indices]]) -> Nearest:
    rows = np.concatenate([part["rows"] for part in parts])

    def places(name: str) -> tuple[Indices, Indices]:
        ends = np.searchsorted(rows, np.concatenate([part[name] for part in parts]))
        keys = np.unique(ends[:, 0] * len(rows) + ends[:, 1])
        return keys // len(rows), keys % len(rows)

    return Nearest(rows, places("near"), places("alike"))


def _kept_index(path: Path, values: Array, numbers: Indices) -> dict[str, Any]:
    """The receipt of the index of some rows: of the one that is there, else of one that is built."""
    made_of = _digest(str(_VERSION), str(values.shape), values.tobytes(), numbers.tobytes())
    try:
        told = read_receipt(path)
        if told["made_of"] == made_of:
            ShardIndex.load(path, told)
            return told
    except DatasetError:
        pass
    return ShardIndex.build(values, numbers).save(path, made_of=made_of)


def _index_file(folder: Path, name: str, shard: int) -> Path:
    return folder / f"{name}-{shard:05d}.usearch"


def _pairs_file(folder: Path, shard: int) -> Path:
    return folder / f"pairs-{shard:05d}.safetensors"


def _write_pairs(path: Path, arrays: dict[str, Indices], made_of: str) -> None:
    from safetensors.numpy import save

    content = {name: np.asarray(values, np.int64) for name, values in arrays.items()}
    write_atomically(path, save(content, {"made_of": made_of}))


def _read_pairs(path: Path, made_of: str) -> dict[str, Indices]:
    """Numbers (n,) and pairs (P, 2). Raises DatasetError where there are none, or of something else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            told = (file.metadata() or {}).get("made_of")
            found = {name: file.get_tensor(name) for name in ("rows", "near", "alike")}
    except (OSError, SafetensorError) as error:
        raise DatasetError(
            f"{path}: no pairs can be read ({error}). Delete it, and run the same command again."
        ) from None
    if told != made_of:
        raise DatasetError(f"{path}: these pairs come from other indexes.")
    return found


def _digest(*parts: str | bytes) -> str:
    told = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        told.update(len(content).to_bytes(8, "little") + content)
    return told.hexdigest()
