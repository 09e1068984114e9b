"""The review: what a truthful person mends in 60 pictures, and how soon a new ranking is there.

    python benchmarks/review.py [--part mended|speed|all] [--seeds 3] [--pictures 10000]

`mended` exchanges 5 % of the labels of anime_cartoon. A scripted person looks at 60 pictures and answers
with the label that they had before: in the order of the queue of `tellapart clean`, ranked anew after
every ten answers, and in the order of fastai's training loss (four frozen epochs, same network; needs
make peers). Printed is how many exchanged labels each finds, and the honest error before and after.

`speed` simulates pictures whose features are known, trains on them twice, opens the review, changes 50
labels over HTTP, and asks for the queue until it comes from the new ranking. Its figure is that time as
a share of the second training, which computes no feature.
"""

import argparse
import json
import os
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd

import tellapart
from check import simulate
from label_errors import SHARED, swapped
from machine import describe, finish
from tellapart.data.dataset import Dataset
from tellapart.review.review import Review
from tellapart.review.server import ReviewServer
from top_losses import theirs
from vs_fastai import PEERS

LOOKED_AT, RANKED_AFTER, RELABELS = 60, 10, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", choices=("mended", "speed", "all"), default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=10_000)
    given = parser.parse_args()
    print(describe())
    if given.part != "speed":
        mended(given.seeds)
    if given.part != "mended":
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["TELLAPART_CACHE"] = str(Path(scratch) / "cache")
            finish("share", speed(given.pictures, Path(scratch)), at_most=1 / 20)


def mended(seeds: int) -> None:
    dataset = Dataset.from_folder(SHARED / "anime_cartoon")
    shares = []
    for seed in range(seeds):
        labels, planted = swapped(dataset.targets, 0.05, seed)
        names = pd.Series([dataset.classes[label] for label in labels], dtype=object)
        wrong = Dataset(dataset.root, dataset.table.assign(label=names), dataset.classes)
        found, looked, before, after = reviewed(
            wrong, dict(zip(dataset.paths, dataset.labels, strict=True))
        )
        line = (
            f"seed {seed}: {found} of {planted.sum()} mended by {looked} looks; {before} → {after}"
        )
        if PEERS.exists():
            order = np.argsort(theirs(wrong, labels), kind="stable")
            counts = [int(planted[order[:count]].sum()) for count in (looked, LOOKED_AT)]
            line += (
                f"; by fastai's losses {counts[0]} by {looked} looks, {counts[1]} by {LOOKED_AT}"
            )
        print(line, flush=True)
        shares.append(found / planted.sum())
    finish("least share mended", min(shares), at_least=0.75)


def reviewed(dataset: Dataset, truth: dict[str, str]) -> tuple[int, int, str, str]:
    """Labels mended, pictures looked at, and the honest error before and after."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        Review.open(dataset, journal=Path(scratch) / "review.sqlite") as review,
    ):
        subject, found, looked = review.subject, 0, 0
        while looked < LOOKED_AT and (row := next_row(review)) is not None:
            label = subject.classes.index(truth[subject.paths[row]])
            same = label == int(subject.targets[row])
            answer = {"action": "keep"} if same else {"action": "relabel", "label": label}
            review.decide([{"id": row, **answer}], "script", f"look-{looked:06d}", "label_errors")
            found, looked = found + (not same), looked + 1
            if looked % RANKED_AFTER == 0:
                review.rerank()
        review.rerank()
        error = review.state()["error"]
        return found, looked, error["before"]["sentence"], error["now"]["sentence"]


def next_row(review: Review) -> int | None:
    items = review.queue("label_errors")["items"]
    if not items:
        review.rerank()
        items = review.queue("label_errors")["items"]
    return items[0][0] if items else None


def speed(count: int, scratch: Path) -> float:
    root = simulate(count, scratch)
    for name in ("first", "again"):
        start = time.perf_counter()
        tellapart.train(root, scratch / name)
        training = time.perf_counter() - start
        print(f"training, {name}: {training:.1f} s", flush=True)
    start = time.perf_counter()
    with Review.open(scratch / "again") as review, ReviewServer(review) as server:
        print(f"review opened in {time.perf_counter() - start:.1f} s", flush=True)
        times = [new_ranking(Client(server), number) for number in range(5)]
    print("new ranking served after", ", ".join(f"{seconds:.2f} s" for seconds in times))
    return float(np.median(times)) / training


class Client:
    """Asks a review's server as its page does."""

    def __init__(self, server: ReviewServer) -> None:
        self.address, self.token = server.address, server.access.token

    def ask(self, path: str, body: dict | None = None) -> dict:
        request = urllib.request.Request(
            self.address + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def new_ranking(client: Client, number: int) -> float:
    """Seconds from sending 50 relabels to having the queue of the ranking that knows them."""
    classes = len(client.ask("api/state")["classes"])
    items = client.ask("api/queue/label_errors")["items"]
    items += client.ask("api/queue/top_losses")["items"]
    rows = list(dict.fromkeys(item[0] for item in items))[:RELABELS]
    asked = ",".join(map(str, rows))
    pictures = client.ask(f"api/pictures?queue=top_losses&ids={asked}")["pictures"]
    decisions = [
        {"id": picture["id"], "action": "relabel", "label": (picture["label"] + 1) % classes}
        for picture in pictures
    ]
    before = client.ask("api/state")["version"]
    start = time.perf_counter()
    body = {"key": f"fifty-{number:04d}", "who": "script", "queue": "top_losses"}
    client.ask("api/decisions", body | {"decisions": decisions})
    while client.ask("api/queue/label_errors")["version"] == before:
        time.sleep(0.01)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
