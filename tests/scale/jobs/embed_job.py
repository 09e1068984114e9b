"""Pictures embedded while a worker and then a node is killed; and again, when one picture is new."""

import threading
import time
from pathlib import Path

import numpy as np

from tellapart.data.copies import find_copies
from tellapart.data.copies.search import search_rows
from tellapart.scale import engine as ray_engine
from tellapart.scale.engine import RayEngine
from tellapart.training.embed import embed
from tellapart.training.train import TrainOptions, open_embedder


def job(nodes, folder):
    root = Path(folder)
    paths = sorted(path.name for path in root.iterdir())
    embedder = open_embedder(TrainOptions())
    store = Path("store").absolute()
    engine = RayEngine(nodes.address, store=str(store))
    told = {}

    def harm():
        told["worker"] = nodes.kill_worker(1)
        while len(list(store.rglob("*.arrow"))) < 2:
            time.sleep(0.05)
        nodes.kill_node(1)
        told["left"] = len(list(store.rglob("*.arrow")))

    thread = threading.Thread(target=harm)
    thread.start()
    seen = engine.embed(root, paths, embedder)
    thread.join()
    told["shards"] = len(list(store.rglob("*.arrow")))
    local = embed(root, paths, embedder, cache=Path("local").absolute())
    told["equal"] = [bool(np.array_equal(a, b)) for a, b in (
        (seen.values, local.values), (seen.facts, local.facts)
    )]  # fmt: skip
    told["sha256"] = seen.sha256 == local.sha256
    told["failures"] = [sorted(str(f) for f in s.failures.values()) for s in (seen, local)]
    names = {path.name for path in store.rglob("*") if path.is_file()}
    told["unfinished"] = [name for name in names if not name.endswith(".arrow")]
    (root / "0000-new.png").write_bytes((root / paths[7]).read_bytes())
    more = sorted([*paths, "0000-new.png"])
    longer = engine.embed(root, more, embedder)
    told["fresh shards"] = len({path.name for path in store.rglob("*.arrow")} - names)
    (root / paths[3]).write_bytes((root / paths[5]).read_bytes())
    changed = engine.embed(root, more, embedder)
    row = more.index(paths[3])
    told["changed"] = [changed.sha256[row] == seen.sha256[5], changed.sha256[row] == seen.sha256[3]]
    told["copies"] = copies(engine, root, more, embedder, longer)
    told["one more"] = [len(longer.sha256), bool(np.array_equal(longer.values[1:], local.values))]
    return told


def copies(engine, root, paths, embedder, features):
    """Pairs that the exact search finds, and those by indexes that the cluster builds of its shards."""
    whole = np.setdiff1d(np.arange(len(paths)), list(features.failures))
    vectors = features.values[whole, : embedder.backbone.dimensions["final"]]
    hashes = [features.sha256[row] for row in whole]
    ray_engine.EXACT = 100
    found = []
    for search in (search_rows, engine.copy_search(root, paths, embedder, features)):
        pairs = find_copies(hashes, features.facts[whole], vectors, search=search)
        ends = zip(pairs.copy.tolist(), pairs.original.tolist(), strict=True)
        found.append(sorted([paths[whole[a]], paths[whole[b]]] for a, b in ends))
    indexes = len(list(Path(engine.store).rglob("main-*.usearch")))
    return [*found, indexes]
