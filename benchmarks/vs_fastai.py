"""The same pictures to a measured classifier: tellapart against fastai and against an expert.

    python benchmarks/vs_fastai.py [DATA] [--pictures 950] [--stage all] [--rounds 1]
        [--at-least-frozen 50] [--at-least-unfrozen 2] [--at-least-expert 4]

All sides get one table of pictures with one split (that of the data; else a fifth for validation, seed
0), the same network (tf_efficientnet_lite0, 224 px) and the same ImageNet weights, and both peers'
features of one picture must be ours before anything is measured. `--pictures` takes a share that is
stratified by class and split. Each side is a process of its own; sides alternate, and with more rounds
figures are medians of those within rounds. The peers live in `.venv-peers` (`make peers`).

- frozen: fastai as a beginner writes it (`fastai_side.py`), from building the loaders to the end of
  `fit_one_cycle(4)`; ours is all that `train` does with an empty cache. fastai validates on the
  validation pictures alone, we measure the test pictures too.
- unfrozen: both train the whole network on, 1e-5..1e-4, two epochs; pictures through the network a
  second, in training and validation. It needs the frozen stage, which is run before.
- expert: timm's features and scikit-learn's logistic regression (`expert.py`), against our `train`.

The first and the last ratio come twice: of the seconds between the side's first and last step, and of
the whole process from its start, imports included. Predictions of all held-out pictures (validation
and test) are compared by McNemar's exact test. The exit is 1 where a ratio falls short, or where we are right
less often with p < 0.05. What others used of the CPU meanwhile is said: above a few per cent, measure again.

950 pictures take about 20 minutes on two CPUs, nearly all of them fastai's; `--pictures 100
--frozen-epochs 1 --unfrozen-epochs 1` shows in three that everything works. Fewer than 80 leave fastai no
whole batch to train on.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gather import busy_seconds
from machine import describe
from tellapart.data.dataset import COLUMNS, Dataset
from tellapart.data.gallery import draw_gallery
from tellapart.data.images import decode, read_bytes
from tellapart.data.split import deal
from tellapart.errors import ImageError
from tellapart.evaluation.metrics import wilson_interval
from tellapart.evaluation.paired import mcnemar
from tellapart.model.backbones import open_backbone
from tellapart.training.embed import Embedder

BENCHMARKS = Path(__file__).resolve().parent
PEERS = BENCHMARKS.parent / ".venv-peers" / "bin" / "python"
SHARED = BENCHMARKS.parents[1] / "shared" / "data" / "art_style"
BACKBONE = "tf_efficientnet_lite0"
LOWEST, HIGHEST = "1e-5", "1e-4"
SCRIPTS = {
    "tellapart": (Path(sys.executable), "our_side.py"),
    "fastai": (PEERS, "fastai_side.py"),
    "expert": (PEERS, "expert.py"),
}
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Turn:
    """One process: seconds by its own clock and from its start, pictures through the network, and by
    path of each held-out picture whether it was right."""

    seconds: float
    whole: float
    images: int
    right: dict[str, bool]


@dataclass
class Comparison:
    """One of the three; `ours` and `theirs` in turn, a pair for each round."""

    name: str
    peer: str
    at_least: float | None
    by_images: bool = False  # else by seconds
    ours: list[Turn] = field(default_factory=list)
    theirs: list[Turn] = field(default_factory=list)

    def ratio(self, what: str = "seconds") -> float:
        pairs = zip(self.ours, self.theirs, strict=True)
        return statistics.median(
            (getattr(b, what) / getattr(a, what)) * (a.images / b.images if self.by_images else 1.0)
            for a, b in pairs
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--pictures", type=int, help="how many to use; all by default")
    parser.add_argument("--frozen-epochs", type=int, default=4)
    parser.add_argument("--unfrozen-epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--stage", choices=("frozen", "unfrozen", "expert", "all"), default="all")
    for name in ("frozen", "unfrozen", "expert"):
        parser.add_argument(f"--at-least-{name}", type=float)
    options = parser.parse_args()
    if not PEERS.exists():
        sys.exit("fastai needs its own environment: make peers")
    print(describe())
    with tempfile.TemporaryDirectory() as scratch:
        job = prepare(options, Path(scratch))
        comparisons = measure(options, job, Path(scratch))
    finish(comparisons)


def prepare(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """The table of pictures and the weights' file, and what all sides are told: the job, to which
    `stage`, `epochs` and the `folder` for their answers are added."""
    data = options.data or SHARED
    if options.data is None and not data.is_dir():
        data = draw_gallery(scratch / "gallery", per_class=(options.pictures or 600) // 5).root
    dataset = chosen(Dataset.from_folder(data), options.pictures)
    counts = dataset.counts()
    print(f"{data}: {len(dataset)} pictures in {len(dataset.classes)} classes")
    print(", ".join(f"{split} {counts[split].sum()}" for split in counts), flush=True)
    table = scratch / "pictures.csv"
    dataset.table[["path", "label", "split"]].to_csv(table, index=False)
    return {
        "root": str(data.resolve()), "pictures": str(table), "backbone": BACKBONE,
        "weights": str(save_weights(scratch)), "lowest": LOWEST, "highest": HIGHEST,
    }  # fmt: skip


def chosen(dataset: Dataset, count: int | None) -> Dataset:
    """With a split, without what cannot be decoded, and of each class and split its share of `count`."""
    print("reading the pictures", flush=True)
    dataset = dataset.hashed()
    usable = [row for row, path in enumerate(dataset.paths) if decodes(dataset.root / path)]
    if left_out := len(dataset) - len(usable):
        print(f"{left_out} pictures cannot be decoded and are left out")
    dataset = replace(dataset, table=dataset.table.iloc[usable].reset_index(drop=True))
    if not dataset.is_split:
        dataset = dataset.with_split(0.2, seed=0)
    if not count or count >= len(dataset):
        return dataset
    cells = [f"{row.split}/{row.label}" for row in dataset.table.itertuples()]
    share = count / len(dataset)
    keys = list(dataset.table["sha256"])
    parts = deal(cells, dataset.groups, (share, 1 - share), keys=keys, seed=0)
    rows = dataset.table.iloc[np.flatnonzero(parts == 0)][list(COLUMNS)]
    return Dataset.from_rows(dataset.root, [tuple(row) for row in rows.itertuples(index=False)])


def decodes(path: Path) -> bool:
    try:
        decode(read_bytes(path))
    except ImageError:
        return False
    return True


def save_weights(scratch: Path) -> Path:
    """The backbone's weights under timm's names, without its classifier."""
    from safetensors.torch import save_file

    from tellapart.finetuning.network import load_network

    path = scratch / "weights.safetensors"
    save_file(load_network(BACKBONE).model.state_dict(), path)
    return path


def measure(
    options: argparse.Namespace, job: dict[str, Any], scratch: Path
) -> dict[str, Comparison]:
    """All rounds of the stages that are asked for."""
    wanted = {
        "frozen": options.stage != "expert",
        "unfrozen": options.stage in ("unfrozen", "all"),
        "expert": options.stage in ("expert", "all"),
    }
    comparisons = {
        "frozen": Comparison("frozen", "fastai", options.at_least_frozen),
        "unfrozen": Comparison("unfrozen", "fastai", options.at_least_unfrozen, by_images=True),
        "expert": Comparison("expert", "expert", options.at_least_expert),
    }
    epochs = {"frozen": options.frozen_epochs, "unfrozen": options.unfrozen_epochs}
    if wanted["frozen"]:
        take_turn("fastai", "check", job, scratch / "check")
        same_features("fastai", job, scratch / "check")
    for number in range(1, options.rounds + 1):
        for stage in (stage for stage in wanted if wanted[stage]):
            comparison = comparisons[stage]
            folders = {
                # The unfrozen stage goes on where the frozen one has left its run or its weights.
                side: scratch / f"{number}-{side}{'-for-expert' * (stage == 'expert')}"
                for side in ("tellapart", comparison.peer)
            }
            asked = {**job, "epochs": epochs.get(stage)}
            own = "frozen" if stage == "expert" else stage
            print(f"round {number}, {stage}:", flush=True)
            comparison.ours.append(take_turn("tellapart", own, asked, folders["tellapart"]))
            comparison.theirs.append(
                take_turn(comparison.peer, stage, asked, folders[comparison.peer])
            )
            if stage == "expert":
                same_features("expert", job, folders["expert"])
    return {stage: comparisons[stage] for stage in wanted if wanted[stage]}


def take_turn(side: str, stage: str, job: dict[str, Any], folder: Path) -> Turn:
    """One process of one side, which writes STAGE.json and STAGE.csv into `folder`."""
    folder.mkdir(exist_ok=True)
    python, script = SCRIPTS[side]
    told = json.dumps({**job, "stage": stage, "folder": str(folder)})
    print(f"  {side}, {stage} …", flush=True)
    before, busy = children_seconds(), busy_seconds()
    start = time.monotonic()
    subprocess.run(
        [str(python), str(BENCHMARKS / script), told], check=True,
        env={
            **os.environ, "TELLAPART_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1",
            "PYTHONWARNINGS": "ignore::FutureWarning",
        },
    )  # fmt: skip
    wall = time.monotonic() - start
    foreign = max(0.0, busy_seconds() - busy - (children_seconds() - before))
    answer = json.loads((folder / f"{stage}.json").read_text())
    if not answer:
        return Turn(0.0, wall, 0, {})
    turn = Turn(
        answer["seconds"], answer["ended"] - start, answer["images"], right(folder / f"{stage}.csv")
    )
    parts = "".join(f", {name} {value:.4g}" for name, value in answer["parts"].items())
    print(
        f"  {side}, {stage}: {turn.seconds:.2f} s, from the start of the process {turn.whole:.2f} s; "
        f"{turn.images / turn.seconds:.1f} images/s{parts}; others used {foreign:.1f} s of CPU",
        flush=True,
    )
    return turn


def right(file: Path) -> dict[str, bool]:
    with file.open(newline="") as opened:
        return {row["path"]: row["label"] == row["predicted"] for row in csv.DictReader(opened)}


def children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def same_features(peer: str, job: dict[str, Any], folder: Path) -> None:
    """Exit unless the peer's network sees in the first picture what ours does."""
    with Path(job["pictures"]).open(newline="") as file:
        path = Path(job["root"]) / next(csv.DictReader(file))["path"]
    theirs = np.load(folder / "features.npy")[0]
    ours = Embedder(open_backbone(BACKBONE)).network_output(path.read_bytes(), str(path))
    ours = ours[: len(theirs)]
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(ours)
    print(f"  {peer}'s network on one picture: relative error {error:.1e} from ours", flush=True)
    if not error < 1e-3:
        sys.exit(f"{peer} computes with other weights; nothing can be compared")


def finish(comparisons: dict[str, Comparison]) -> None:
    """Accuracies, then a ratio a line, and exit 1 where one falls short or we are worse."""
    worse = [accuracy(comparison) for comparison in comparisons.values()]
    for comparison in comparisons.values():
        if not comparison.by_images:
            own, whole = comparison.ratio(), comparison.ratio("whole")
            print(
                f"{comparison.name}: {own:.3g} by the sides' own clocks, {whole:.3g} by processes"
            )
    short = []
    for comparison in comparisons.values():
        unit = " (images/s)" if comparison.by_images else ""
        print(f"ratio {comparison.name}{unit}: {comparison.ratio():.3g}")
        short.append(comparison.at_least is not None and comparison.ratio() < comparison.at_least)
    sys.exit(1 if any(worse) or any(short) else 0)


def accuracy(comparison: Comparison) -> bool:
    """Say what the last round's held-out pictures tell; whether we are worse."""
    ours, theirs = comparison.ours[-1].right, comparison.theirs[-1].right
    if ours.keys() != theirs.keys():
        sys.exit(f"{comparison.name}: the two sides were not measured on the same pictures")
    for name, answers in (("tellapart", ours), (comparison.peer, theirs)):
        n, correct = len(answers), sum(answers.values())
        low, high = wilson_interval(correct, n)
        print(
            f"{comparison.name}, {name}: {correct} of {n} held-out pictures right, "
            f"{correct / n:.1%}; 95 % interval {low:.1%} to {high:.1%}"
        )
    paths = sorted(ours)
    test = mcnemar(
        np.asarray([ours[path] for path in paths], bool),
        np.asarray([theirs[path] for path in paths], bool),
    )
    print(
        f"{comparison.name}: {test.b} right in tellapart alone, {test.c} in {comparison.peer} alone "
        f"(McNemar p = {test.p:.2g})"
    )
    return test.p < SIGNIFICANT and test.c > test.b


if __name__ == "__main__":
    main()
