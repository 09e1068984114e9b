"""What is lost where copies are looked for by way of indexes of shards, and what that costs.

    python benchmarks/neighbour_index.py [--pictures 5000] [--shards 1 4 16] [--at-least 0.98]
    python benchmarks/neighbour_index.py --cost 10000 50000 100000 [--size 100000]

Simulated pictures: thumbnails of random shapes, and vectors of 1,280 numbers around 300 centres, both
in mapped files; a tenth are copies (encoded again, mirrored, cropped, framed), in random places. In the
first form the pairs that the exact search leads to are the truth, and the figure is the least share of
them that is found by way of 1, 4 and 16 shards; beside it is the share of the candidates, copies or not.
In the second each number of pictures is a process of its own: CPU seconds of the passes over the shards
and of everything, bytes on disk, and the peak of the process's own memory (RssAnon of Linux, looked at 50
times a second) above what it was before. With `--cells` there is no index, as where none is asked for: then
"look up" is the whole search.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from copies import changed, shapes
from machine import describe, finish
from tellapart.data.copies import Shards, find_copies, neighbours
from tellapart.data.copies.search import search_rows
from tellapart.data.picture_facts import FACT
from tellapart.evaluation.metrics import wilson_interval

DIMENSIONS, LATENT = 1280, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--cost", type=int, nargs="+")
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--cells", action="store_true", help="without an index, for comparison")
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--at-least", type=float)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(costs(given, int(given.child))))
        return
    print(describe())
    if given.cost:
        for count in given.cost:
            arguments = [
                "--size",
                str(given.size),
                "--seed",
                str(given.seed),
                *["--cells"] * given.cells,
            ]
            command = [sys.executable, __file__, "--child", str(count), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            show(count, json.loads(done.stdout.splitlines()[-1]))
        return
    finish("value", least_recall(given), at_least=given.at_least)


def simulate(count: int, seed: int, folder: Path):
    """Facts (N,), vectors (N, 1280), both mapped, and which picture each comes from, (N,)."""
    rng = np.random.default_rng(seed)
    originals = count - count // 10
    order = rng.permutation(count)  # the place of each
    whose = np.arange(count)
    whose[originals:] = rng.permutation(originals)[: count - originals]
    facts = np.memmap(folder / "facts", FACT, "w+", shape=(count,))
    vectors = np.memmap(folder / "vectors", np.float32, "w+", shape=(count, DIMENSIONS))
    facts["width"] = facts["height"] = 480
    spectrum = (1 / np.sqrt(np.arange(1, LATENT + 1))).astype(np.float32)
    centres = rng.standard_normal((300, LATENT), np.float32)
    basis = rng.standard_normal((LATENT, DIMENSIONS), np.float32) * spectrum[:, None]
    latent = centres[rng.integers(300, size=count)] + rng.standard_normal(
        (count, LATENT), np.float32
    )
    latent[originals:] = latent[whose[originals:]] + 0.35 * latent[originals:]
    for start in range(0, count, 4096):
        part = slice(start, min(start + 4096, count))
        vectors[order[part]] = latent[part] @ basis + 1
    for start in range(0, originals, 4096):
        part = slice(start, min(start + 4096, originals))
        facts["thumbnail"][order[part]] = shapes(part.stop - part.start, rng)
    for row in range(originals, count):
        facts["thumbnail"][order[row]] = changed(
            facts["thumbnail"][order[whose[row]]], row % 4, rng
        )
    source = np.empty(count, int)
    source[order] = order[whose]
    return facts, vectors, source


def pairs_of(copies) -> set[tuple[int, int]]:
    ends = np.sort(np.stack([copies.copy, copies.original], axis=1), axis=1)
    return set(map(tuple, ends.tolist()))


def least_recall(given: argparse.Namespace) -> float:
    count, found = given.pictures, []
    neighbours.EXACT = max(neighbours.EXACT, count)  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as scratch:
        facts, vectors, source = simulate(count, given.seed, Path(scratch))
        hashes = [str(row) for row in range(count)]
        exact, proposed = found_by(search_rows, hashes, facts, vectors)
        planted = {tuple(sorted((row, int(of)))) for row, of in enumerate(source) if of != row}
        print(f"{count:,} pictures; exactly: {share(exact & planted, planted)} of those planted")
        for shards in given.shards:
            size = -(-count // shards)
            search = Shards(Path(scratch) / str(shards), size, above=100, threads=2)
            pairs, candidates = found_by(search, hashes, facts, vectors)
            within = {pair for pair in exact if pair[0] // size == pair[1] // size}
            across, truth = exact - within, "of the exact search's"
            print(
                f"{shards:>3} shards: {share(pairs & exact, exact)} {truth} pairs, within a shard "
                f"{share(pairs & within, within)}, across {share(pairs & across, across)}; "
                f"{len(pairs - exact)} others; {share(candidates & proposed, proposed)} {truth} candidates"
            )
            found.append(len(pairs & exact) / len(exact))
    return min(found)


def found_by(search, hashes, facts, vectors) -> tuple[set, set]:
    """The pairs that are copies, and all that the search proposed."""
    proposed: set[tuple[int, int]] = set()

    def watched(*arguments):
        found = search(*arguments)
        for a, b in (found.near, found.alike):
            proposed.update(zip(found.rows[a].tolist(), found.rows[b].tolist(), strict=True))
        return found

    return pairs_of(find_copies(hashes, facts, vectors, search=watched)), proposed


def share(some: set, every: set) -> str:
    if not every:
        return "none"
    low, high = wilson_interval(len(some), len(every))
    return f"{len(some) / len(every):.4f} ({low:.4f}–{high:.4f}, n = {len(every):,})"


def costs(given: argparse.Namespace, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        facts, vectors, source = simulate(count, given.seed, folder)
        watch, passes, seconds, searching = time.process_time, [0.0], {}, Peak()

        def report(stage: str, done: int, total: int) -> None:
            if done == total // 2:
                passes[0] = watch()

        search = Shards(folder / "index", given.size, above=100, threads=2, report=report)

        def timed(*arguments):
            start, wall = watch(), time.perf_counter()
            with searching:
                found = (search_rows if given.cells else search)(*arguments)
            seconds["wall of search"] = time.perf_counter() - wall
            seconds["search"] = watch() - start
            seconds["build"] = max(0.0, passes[0] - start)
            return found

        start, whole = watch(), Peak()
        with whole:
            copies = find_copies([str(row) for row in range(count)], facts, vectors, search=timed)
        seconds["everything"] = watch() - start
        planted = np.flatnonzero(source != np.arange(count))
        recall = float((copies.groups[planted] == copies.groups[source[planted]]).mean())
        return {
            **seconds, "bytes": sum(file.stat().st_size for file in (folder / "index").glob("*")),
            "own memory": whole.bytes, "own memory of search": searching.bytes, "recall": recall,
        }  # fmt: skip


class Peak:
    """The most own memory while the block runs, above that at its beginning, in bytes."""

    def __enter__(self):
        self.ended, self.bytes, self.before = threading.Event(), 0, own_memory()
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def _look(self) -> None:
        while not self.ended.wait(0.02):
            self.bytes = max(self.bytes, own_memory() - self.before)

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def own_memory() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) << 10


def show(count: int, told: dict[str, float]) -> None:
    each = count / 10_000
    look_up, memory = (
        told["search"] - told["build"],
        (told["own memory of search"], told["own memory"]),
    )
    print(
        f"{count:>9,}: CPU seconds per 10,000: build {told['build'] / each:.2f}, look up "
        f"{look_up / each:.2f}, everything {told['everything'] / each:.2f}; search took "
        f"{told['wall of search']:.0f} s of wall time; on disk {told['bytes'] / count:.0f} B a picture; "
        f"own memory {memory[0] / 1e6:,.0f} MB to search, {memory[1] / 1e6:,.0f} MB at most; planted "
        f"found {told['recall']:.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
