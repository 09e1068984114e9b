"""How long `check` takes beside embedding, and how its time grows with the number of pictures.

    python benchmarks/check.py [--pictures 10000] [--at-most 0.1]
    python benchmarks/check.py --simulated 10000 100000 [--at-most 12]

The first form draws a gallery, embeds it, trains on it, checks it, and checks it again: the first check
looks at a sample of pictures anew, mirrored and fitted in other ways, which the second one knows. Its
figure is the time of the first check as a share of embedding. The second form checks folders of
little files whose features and facts are simulated, from real ones of art_style with noise, and were
put into the cache; its figure is how much longer the last one takes than the first.
"""

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np

import tellapart
from machine import describe, finish
from tellapart.audit.audit import Audit
from tellapart.audit.check import check
from tellapart.data.dataset import Dataset
from tellapart.data.gallery import draw_gallery
from tellapart.data.images import read_bytes
from tellapart.model.backbones import open_backbone
from tellapart.training.embed import Embedder, embed
from tellapart.training.feature_cache import FeatureCache

ART = Path(__file__).resolve().parents[2] / "shared" / "data" / "art_style"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="instead of a gallery")
    parser.add_argument("--simulated", type=int, nargs="+")
    parser.add_argument("--at-most", type=float)
    given = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TELLAPART_CACHE"] = str(Path(scratch) / "cache")
        if given.simulated:
            roots = [simulate(count, Path(scratch)) for count in given.simulated]
            times = [checked(root, f"{root.name} pictures") for root in roots]
            finish("ratio", times[-1] / times[0], at_most=given.at_most)
        else:
            finish("share", real(given, Path(scratch)), at_most=given.at_most)


def real(given: argparse.Namespace, scratch: Path) -> float:
    if given.folder is None:
        root = draw_gallery(scratch / "art", given.pictures // 5, seed=5).root
    else:
        root = given.folder
    dataset = Dataset.from_folder(root)
    start = time.perf_counter()
    embed(root, dataset.paths, Embedder(open_backbone("tf_efficientnet_lite0")))
    embedding = time.perf_counter() - start
    print(f"{len(dataset):,} pictures embedded in {embedding:.1f} s")
    tellapart.train(root, scratch / "run")  # as a user does, who then checks what it says
    first = checked(root, "first check")
    checked(root, "again")
    return first / embedding


def checked(root: Path, name: str) -> float:
    start = time.perf_counter()
    audit = check(root)
    seconds = time.perf_counter() - start
    print(f"{name}: {seconds:.1f} s; {stages(audit)}", flush=True)
    return seconds


def stages(audit: Audit) -> str:
    return ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in audit.seconds.items())


def simulate(count: int, scratch: Path) -> Path:
    """A folder of little files in the classes of art_style, whose features and facts the cache has."""
    root = scratch / f"{count}"
    dataset = Dataset.from_folder(ART)
    embedder = Embedder(open_backbone("tf_efficientnet_lite0"))
    known = embed(ART, dataset.paths, embedder)
    rng = np.random.default_rng(count)
    spread = 0.7 * known.values.std(axis=0)
    content = [read_bytes(ART / path) for path in dataset.paths]
    for label in dataset.classes:
        (root / label).mkdir(parents=True)
    with FeatureCache(Path(os.environ["TELLAPART_CACHE"]), embedder.space, spread.size) as cache:
        for start in range(0, count, 500):
            vectors, facts = {}, {}
            for number in range(start, min(start + 500, count)):
                row = int(rng.integers(len(dataset)))
                file = content[row] + number.to_bytes(4)
                path = root / dataset.classes[dataset.targets[row]] / f"{number:07d}.jpg"
                path.write_bytes(file)
                name = hashlib.sha256(file).hexdigest()
                noise = rng.standard_normal(spread.size, np.float32) * spread
                vectors[name] = known.values[row] + noise
                facts[name] = known.facts[row].copy()
                cells = rng.integers(0, 256, (12, 12, 3)).repeat(4, axis=0).repeat(4, axis=1)
                facts[name]["thumbnail"] = cells
            cache.put(vectors, facts)
    return root


if __name__ == "__main__":
    main()
