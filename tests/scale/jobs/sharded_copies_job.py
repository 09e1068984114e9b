"""Copies by way of indexes that the workers of a cluster build, one of which is killed."""

import threading
from functools import partial
from pathlib import Path

import numpy as np

from tellapart.data.copies import Shards, find_copies
from tellapart.data.picture_facts import FACT
from tellapart.scale.ray_map import connected, map_parts

COUNT = 2000


def opened(folder):
    """Thumbnails and vectors, mapped, in whatever process."""
    facts = np.memmap(folder / "facts", FACT, "r")
    return facts["thumbnail"], np.memmap(folder / "vectors", np.float32, "r").reshape(
        len(facts), -1
    )


def write(folder):
    """A quarter are mirrored copies of the first quarter, the two far apart."""
    rng = np.random.default_rng(0)
    facts = np.zeros(COUNT, FACT)
    facts["width"] = facts["height"] = 480
    coarse = rng.integers(0, 160, (COUNT, 12, 12, 3)).repeat(4, axis=1).repeat(4, axis=2)
    fine = rng.integers(0, 90, (COUNT, 24, 24, 3)).repeat(2, axis=1).repeat(2, axis=2)
    facts["thumbnail"] = coarse + fine
    vectors = rng.standard_normal((COUNT, 128), np.float32)
    own = COUNT // 4
    facts["thumbnail"][-own:] = facts["thumbnail"][:own, :, ::-1]
    vectors[-own:] = vectors[:own] + 0.5 * vectors[-own:]
    (folder / "facts").write_bytes(facts.tobytes())
    (folder / "vectors").write_bytes(vectors.tobytes())
    return facts, vectors


def job(nodes, folder):
    folder = Path(folder)
    facts, vectors = write(folder)
    hashes = [str(row) for row in range(COUNT)]
    shards = partial(Shards, size=200, above=100)
    here = find_copies(hashes, facts, vectors, search=shards(folder / "here"))
    killed = []
    thread = threading.Thread(target=lambda: killed.append(nodes.kill_worker(1)))
    with connected(nodes.address):
        search = shards(folder / "there", run=map_parts, pictures=partial(opened, folder))
        thread.start()
        there = find_copies(hashes, facts, vectors, search=search)
        thread.join()
    planted = set(zip(range(COUNT - COUNT // 4, COUNT), range(COUNT // 4), strict=True))
    return {
        "killed": killed == [True],
        "same": all(np.array_equal(getattr(here, n), v) for n, v in vars(there).items()),
        "found": len(planted & set(zip(there.copy.tolist(), there.original.tolist(), strict=True))),
        "indexes": sorted(file.name for file in (folder / "there").glob("main-*.usearch")),
    }
