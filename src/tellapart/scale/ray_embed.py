"""Embedding on a cluster: each task looks at the pictures of one shard and leaves it behind.

A task calls the very function that this machine would (`training/embed.py`), with one thread, and so
the node's own feature cache, where there is one, is used and filled as well. What is known of a shard
already is not looked at again; what comes back to the driver is counts.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tellapart.data.failure import Failure
from tellapart.data.file_stamp import file_stamps
from tellapart.data.picture_facts import FACT
from tellapart.data.places import is_url
from tellapart.data.retrying import counting_retries
from tellapart.errors import EngineError
from tellapart.scale.ray_map import Part
from tellapart.training.embed import Embedder, embed
from tellapart.training.feature_shards import ShardRows, read_shard, shard_name, write_shard

__all__ = ["EmbedJob", "embed_part"]


@dataclass(frozen=True)
class EmbedJob:
    """What all parts share: where the pictures lie, what looks at them, and where the shards go."""

    root: str
    store: str
    embedder: Embedder
    space: str

    @classmethod
    def of(cls, root: Path, store: str, embedder: Embedder) -> "EmbedJob":
        return cls(os.fspath(root.absolute()), store, embedder.on_one_cpu(), embedder.space)

    def name(self, paths: list[str]) -> str:
        """Of the shard of these pictures. URLs are the same wherever the command is given."""
        return shard_name(self.space, "" if all(map(is_url, paths)) else self.root, paths)


def embed_part(job: EmbedJob, part: Part) -> dict[str, Any]:
    """Make the shard of `part["paths"]` what it should be, and tell what that took.

    Raises EngineError where this node would compute other numbers than the one that asked.
    """
    paths = list(part["paths"])
    if job.embedder.space != job.space:
        raise EngineError(
            "a node of the cluster computes in another precision, or with another version of tellapart, "
            "than the machine that asks. Use the same installation and the same kind of CPU, or "
            "--runtime onnxruntime."
        )
    with counting_retries() as retries:
        computed = _make_shard(job, paths)
    told = {"name": job.name(paths), "count": len(paths), "computed": computed}
    return {**told, "retries": dict(retries)}


def _make_shard(job: EmbedJob, paths: list[str]) -> int:
    """Write what is missing of it, if anything is; how many forward passes that took."""
    name, root = job.name(paths), Path(job.root)
    stamps = file_stamps(root, paths)
    before = read_shard(job.store, name, len(paths))
    keep = np.zeros(len(paths), bool) if before is None else before.known(stamps)
    missing = np.flatnonzero(~keep)
    if not len(missing):
        return 0
    seen = embed(root, [paths[row] for row in missing], job.embedder)
    fresh = ShardRows(
        seen.values, seen.facts, seen.sha256, tuple(stamps[row] for row in missing), seen.failures
    )
    write_shard(job.store, name, _joined(before, fresh, keep))
    return seen.computed


def _joined(before: ShardRows | None, fresh: ShardRows, keep: Any) -> ShardRows:
    """The rows to keep of what was there, and the fresh ones in the places of the others."""
    if before is None:
        return fresh
    old, new = np.flatnonzero(keep), np.flatnonzero(~keep)
    values = np.zeros((len(keep), fresh.values.shape[1]), np.float32)
    facts = np.zeros(len(keep) if len(fresh.facts) else 0, FACT)
    values[old], values[new] = before.values[old], fresh.values
    if len(facts):
        facts[old], facts[new] = before.facts[old], fresh.facts
    sha256, stamps = np.array(before.sha256, object), np.array(before.stamps, object)
    sha256[new], stamps[new] = fresh.sha256, fresh.stamps
    failures: dict[int, Failure] = {row: f for row, f in before.failures.items() if keep[row]}
    failures |= {int(new[row]): failure for row, failure in fresh.failures.items()}
    return ShardRows(values, facts, tuple(sha256), tuple(stamps), dict(sorted(failures.items())))
