"""The engine `ray`: the same verbs, their pictures looked at by the CPUs of a cluster."""

import hashlib
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from tellapart.data.copies.neighbours import EXACT
from tellapart.data.copies.search import Search, search_rows
from tellapart.data.copies.sharded_search import Shards
from tellapart.data.failure import Failure
from tellapart.data.picture_facts import FACT
from tellapart.data.places import is_url, refuse_secret
from tellapart.data.retrying import count_retries
from tellapart.data.scratch_array import scratch_array
from tellapart.errors import MissingExtra, UsageError
from tellapart.model.backbones import cache_folder
from tellapart.scale.ray_embed import EmbedJob, embed_part
from tellapart.scale.ray_map import Part, Task, connected, map_parts
from tellapart.scale.stored_pictures import StoredPictures, read_stored
from tellapart.training.embed import Embedder, Features, Progress
from tellapart.training.feature_shards import cut

__all__ = ["RayEngine"]

_LARGEST_INDEX: Final = 250_000  # pictures


@dataclass(frozen=True)
class RayEngine:
    """A Ray cluster (https://docs.ray.io): `address` is `auto`, the cluster that this machine belongs to, or
    HOST:PORT.

    `workers` is how many tasks run at a time, each on one CPU; by default one for each CPU of the
    cluster. `store` is where shards of features go, a folder that all nodes see or a URL such as
    `s3://bucket/shards`; by default `shards` in tellapart's cache folder. Raises MissingExtra, UsageError.
    """

    address: str | None = None
    workers: int | None = None
    store: str | None = None

    def __post_init__(self) -> None:
        if find_spec("ray") is None:
            raise MissingExtra("the engine ray", "ray")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers is {self.workers}; expected 1 or more")
        if self.store is not None:
            refuse_secret(self.store)

    def embed(
        self,
        root: Path,
        paths: Sequence[str],
        embedder: Embedder,
        *,
        progress: Progress | None = None,
    ) -> Features:
        """See `tellapart.training.engine.Engine`. Interrupted or killed, finished shards stay.

        Raises MissingExtra, EngineError, DatasetError where a shard cannot be written.
        """
        report = progress or (lambda stage, done, total: None)
        job = self._job(root, embedder)
        done = computed = 0
        with closing(self._run(embed_part, job, _parts(paths))) as receipts:
            for told in receipts:
                if not done:  # a store that is not shared is to be known now, and not at the end
                    read_stored(job.store, told["name"], told["count"])
                done, computed = done + told["count"], computed + told["computed"]
                count_retries(told["retries"])
                report("embed", done, len(paths))
        return _gathered(job, paths, computed)

    def copy_search(
        self, root: Path, paths: Sequence[str], embedder: Embedder, features: Features
    ) -> Search:
        """See `tellapart.training.engine.Engine`: many pictures are looked up in an index for each shard."""
        if len(paths) <= EXACT or not self._shares_a_folder:
            return search_rows
        job = self._job(root, embedder)
        parts = list(cut(paths))
        pictures = StoredPictures(
            job.store, tuple(job.name(list(paths[part])) for part in parts),
            np.asarray([0, *(part.stop for part in parts)], np.intp),
            np.setdiff1d(np.arange(len(paths)), list(features.failures)),
            embedder.backbone.dimensions["final"],
            hashlib.sha256("\n".join([job.space, *features.sha256]).encode()).hexdigest(),
        )  # fmt: skip
        folder = Path(job.store) / "copies" / pictures.content[:40]
        size = min(_LARGEST_INDEX, max(EXACT, len(paths) // 8))
        return Shards(folder, size, EXACT, run=self._run, pictures=pictures)

    @property
    def _shares_a_folder(self) -> bool:
        """Indexes are mapped into memory, which what lies behind a URL cannot be."""
        return self.store is None or not is_url(self.store.removeprefix("file://"))

    def _job(self, root: Path, embedder: Embedder) -> EmbedJob:
        store = (self.store or os.fspath(cache_folder() / "shards")).removeprefix("file://")
        if not is_url(store):
            store = os.fspath(Path(store).absolute())
        return EmbedJob.of(root, store, embedder)

    def _run(self, task: Task, shared: Any, parts: Iterable[Part]) -> Generator[Part, None, None]:
        with connected(self.address):
            yield from map_parts(task, shared, parts, workers=self.workers)

    def finetune(self, run: Any, options: Any = None, **dials: Any) -> Any:
        """See `tellapart.finetune`."""
        from tellapart.scale.ray_finetune import finetune_on_ray

        return finetune_on_ray(run, options, address=self.address, workers=self.workers, **dials)


def _parts(paths: Sequence[str]) -> Iterator[Part]:
    for part in cut(paths):
        yield {"paths": list(paths[part])}


def _gathered(job: EmbedJob, paths: Sequence[str], computed: int) -> Features:
    """All shards as one table; many vectors rest in a scratch file. Raises EngineError for a lost one."""
    embedder, folder = job.embedder, cache_folder()
    values = scratch_array((len(paths), embedder.backbone.dimensions["all"]), folder)
    facts = scratch_array((len(paths) if embedder.is_plain else 0,), folder, FACT)
    sha256: list[str] = []
    failures: dict[int, Failure] = {}
    for part in cut(paths):
        name = job.name(list(paths[part]))
        shard = read_stored(job.store, name, part.stop - part.start)
        values[part] = shard.values
        if len(facts):
            facts[part] = shard.facts
        sha256 += shard.sha256
        failures |= {part.start + row: failure for row, failure in shard.failures.items()}
    return Features(values, facts, tuple(sha256), failures, computed)
