"""Leaks: none across a split made here, and what those of a given split do to a score.

    python benchmarks/leaks.py [--seed 7]

Into the pictures of art_style, in folders by class, copies of the eight kinds of `copies.py` are planted,
16 % of them, and 20 files that are no picture; then it is trained. Counted are planted copies that
came to stand on the other side than their picture, and broken files that were named. Then 30 % of
the held-out pictures of art_style's own split are copies of training pictures: the score without
them, as the run gives it, against that of a run where they were taken out by hand.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import tellapart
from copies import ART, KINDS, jpeg
from machine import describe, finish
from tellapart.data.images import decode, read_bytes
from tellapart.evaluation.metrics import wilson_interval

BROKEN = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as scratch:
        across = made_here(Path(scratch), np.random.default_rng(given.seed))
        apart = given_split(Path(scratch), np.random.default_rng(given.seed))
    finish("planted copies across a split made here", across)
    finish("points between the honest score and that by hand", apart, at_most=1.0)


def changed(path: Path, kind: str, rng: np.random.Generator) -> bytes:
    change = KINDS[kind]
    content = read_bytes(path)
    return content if change is None else jpeg(change(decode(content), rng), 75)


def made_here(scratch: Path, rng: np.random.Generator) -> int:
    """Planted copies on the other side than their picture."""
    root = scratch / "flat"
    own = []
    for path in sorted(ART.glob("*/*/*")):
        target = root / path.parent.name / f"{path.parent.parent.name}-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        own.append(target)
    planted = []
    for number, row in enumerate(rng.permutation(len(own))[: round(0.16 * len(own))]):
        copy = own[row].with_name(f"copy{number:04d}.jpg")
        copy.write_bytes(changed(own[row], list(KINDS)[number % len(KINDS)], rng))
        planted.append((copy, own[row]))
    for number, row in enumerate(rng.permutation(len(own))[:BROKEN]):
        content = read_bytes(own[row])
        broken = own[row].with_name(f"broken{number:02d}.jpg")
        broken.write_bytes(content[: len(content) // 2] if number % 2 else b"<html>404</html>")
    run = tellapart.train(root, scratch / "flat-run")
    named = sum("broken" in failure.path for failure in run.failures)
    print(f"broken files named: {named} of {BROKEN}, other files: {len(run.failures) - named}")
    split = {row[0]: row[1] for row in run.predictions()}
    sides = [[split[path.relative_to(root).as_posix()] for path in pair] for pair in planted]
    across = sum(a != b for a, b in sides)
    for number, (a, b) in enumerate(sides):
        if a != b:
            print(f"  {list(KINDS)[number % len(KINDS)]}: {planted[number][1].name}")
    print(f"planted copies on the other side: {across} of {len(planted)}")
    return across


def given_split(scratch: Path, rng: np.random.Generator) -> float:
    """How far the honest accuracy is from that without leaks, in points."""
    clean, leaky = scratch / "clean", scratch / "leaky"
    shutil.copytree(ART, clean)
    shutil.copytree(ART, leaky)
    held_out = sum(1 for path in ART.glob("*/*/*") if path.parent.parent.name != "training_set")
    sources = sorted((ART / "training_set").glob("*/*"))
    count = round(held_out * 0.3 / 0.7)
    for number, row in enumerate(rng.permutation(len(sources))[:count]):
        split = ("validation_set", "test_set")[number % 2]
        copy = leaky / split / sources[row].parent.name / f"copy{number:04d}.jpg"
        copy.write_bytes(changed(sources[row], list(KINDS)[number % len(KINDS)], rng))
    print(f"{count} copies of training pictures among {held_out + count} held-out pictures")
    leaky_run, clean_run = (
        tellapart.train(root, scratch / f"{root.name}-run") for root in (leaky, clean)
    )
    every = score(leaky_run.info["leaks"], "all", "with all leaks")
    honest = score(leaky_run.info["leaks"], "honest", "without those that the run names")
    by_hand = score(clean_run.info["leaks"], "honest", "taken out by hand, and art_style's own")
    print(
        f"named: {leaky_run.info['leaks']['n']}, of them art_style's own {clean_run.info['leaks']['n']}"
    )
    print(f"leaks raise the score by {every - honest:.2f} points; by hand {every - by_hand:.2f}")
    return abs(honest - by_hand)


def score(leaks: dict[str, Any], name: str, words: str) -> float:
    """Held-out pictures that are right, in per cent."""
    n, errors = leaks[name]["n"], leaks[name]["errors"]
    low, high = wilson_interval(n - errors, n)
    right = 100 * (1 - errors / n)
    print(f"{words}: {n - errors} of {n} right, {right:.2f} % ({100 * low:.2f}–{100 * high:.2f})")
    return right


if __name__ == "__main__":
    main()
