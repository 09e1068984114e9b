"""What backbones cost: pictures that a graph takes in two CPU seconds, and the ratio to the first.

    python benchmarks/backbones.py [NAME …] [--rounds 4] [--seconds 6]

The graphs run as in embedding: sessions with one thread per call, two calls at a time. All but the
embedded ones have random weights, which cost the same. Rounds take turns, and CPU time is counted,
so that other work on the machine matters little; on two CPUs that do nothing else, the figure is
pictures a second.
"""

import argparse
import statistics
import threading
import time

import numpy as np

from machine import describe, finish
from tellapart.finetuning.convert import as_backbone
from tellapart.finetuning.network import load_network
from tellapart.model.backbones import open_backbone
from tellapart.model.embedded import BACKBONES
from tellapart.model.presets import PRESETS
from tellapart.model.runtime import Session, open_session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=[p.backbone for p in PRESETS.values()])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--at-most", type=float, help="the last one's ratio")
    given = parser.parse_args()
    print(describe())
    opened = {name: session_and_size(name) for name in given.names}
    rates: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(given.rounds):
        for name, (session, size) in opened.items():
            rates[name].append(pictures_in_two_seconds(session, size, given.seconds))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    ratios = {name: medians[given.names[0]] / rate for name, rate in medians.items()}
    for name, (_, size) in opened.items():
        print(f"{name:<46}{size:>5} px{medians[name]:>8.1f} pictures{ratios[name]:>7.1f} ×")
    finish("value", ratios[given.names[-1]], at_most=given.at_most)


def session_and_size(name: str) -> tuple[Session, int]:
    embedded = name in BACKBONES
    backbone = (
        open_backbone(name) if embedded else as_backbone(load_network(name, pretrained=False))
    )
    return open_session(backbone.graph, workers=2), backbone.info.preprocess.size


def pictures_in_two_seconds(session: Session, size: int, seconds: float) -> float:
    """Of CPU time, by two threads."""
    pixels = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    session.run(pixels)
    counts = [0, 0]
    start, end = time.process_time(), time.perf_counter() + seconds

    def work(place: int) -> None:
        while time.perf_counter() < end:
            session.run(pixels)
            counts[place] += 1

    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 2 * sum(counts) / (time.process_time() - start)


if __name__ == "__main__":
    main()
