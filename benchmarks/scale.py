"""One, and two workers of a cluster against this machine alone, on the same pictures in one run.

    python benchmarks/scale.py --pictures 3000 --rounds 2 --at-least 1.7 --at-most-overhead 0.25

The cluster has two nodes with one CPU each, in namespaces of its own for network and processes, as in the
tests (tests/scale/two_nodes.py), and is up before anything is timed. Each measurement has caches and a
store of its own that are empty, so that every picture is decoded and computed; the rounds alternate.
Times are of `embed` from the call to the last vector at hand, connection and gathering included.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALONE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


def job(nodes, folder, pictures, rounds):
    """Seconds of each way in each round, and the share of rows that are the same."""
    from tellapart.scale.engine import RayEngine
    from tellapart.training.embed import embed
    from tellapart.training.train import TrainOptions, open_embedder

    root = Path(folder)
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    paths = paths[:: max(1, len(paths) // int(pictures))][: int(pictures)]
    embedder = open_embedder(TrainOptions(), workers=2)
    seconds = {"local": [], "one": [], "two": []}
    same = []
    for number in range(int(rounds)):
        found = {}
        for way in seconds:
            shutil.rmtree(os.environ["TELLAPART_CACHE"], ignore_errors=True)
            store = str(Path(f"store-{number}-{way}").absolute())
            workers = {"one": 1, "two": 2}.get(way)
            began = time.monotonic()
            if way == "local":
                found[way] = embed(root, paths, embedder, cache=Path(f"cache-{number}").absolute())
            else:
                engine = RayEngine(nodes.address, workers, store)
                found[way] = engine.embed(root, paths, embedder)
            seconds[way].append(time.monotonic() - began)
        same += [bool((found["local"].values == found[w].values).all()) for w in ("one", "two")]
    return {"pictures": len(paths), "seconds": seconds, "same": all(same)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default=ROOT.parent / "shared/data/art_style", type=Path)
    parser.add_argument("--pictures", default=3000, type=int)
    parser.add_argument("--rounds", default=2, type=int)
    parser.add_argument("--at-least", type=float, help="of two workers over one")
    parser.add_argument("--at-most-overhead", type=float, help="of two workers over this machine")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        environment = {
            **os.environ, "TELLAPART_CACHE": f"{folder}/cache", "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        nodes = str(ROOT / "tests" / "scale" / "two_nodes.py")
        command = [*ALONE, sys.executable, nodes, str(Path(__file__).absolute())]
        more = [str(asked.data.absolute()), str(asked.pictures), str(asked.rounds)]
        done = subprocess.run(
            [*command, *more], stdout=subprocess.PIPE, text=True, cwd=folder, env=environment, check=True
        )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    seconds = told["seconds"]
    for way, taken in seconds.items():
        rates = ", ".join(f"{told['pictures'] / s:.0f}" for s in taken)
        print(f"{way:>6}: {rates} pictures/s")
    faster = [one / two for one, two in zip(seconds["one"], seconds["two"], strict=True)]
    more = [two / local - 1 for two, local in zip(seconds["two"], seconds["local"], strict=True)]
    print(f"two workers over one, by round: {', '.join(f'{f:.2f}' for f in faster)}")
    print(f"overhead of two workers over this machine: {', '.join(f'{m:+.1%}' for m in more)}")
    print(f"the same numbers: {told['same']}")
    ratio, overhead = statistics.median(faster), statistics.median(more)
    print(f"ratio: {ratio:.2f} overhead: {overhead:+.3f}")
    short = asked.at_least is not None and ratio < asked.at_least
    much = asked.at_most_overhead is not None and overhead > asked.at_most_overhead
    sys.exit(1 if short or much or not told["same"] else 0)


if __name__ == "__main__":
    main()
