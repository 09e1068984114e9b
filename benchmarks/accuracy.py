"""Accuracy and seconds of the main job on every data set at hand, and on the gallery.

    python benchmarks/accuracy.py [--backbone tf_efficientnet_lite2] [--fit squish] [--at-least 0.9]

Data sets are the folders of ../shared/data that hold class folders. Each is trained with a fresh cache,
so that the seconds are those of a first run. The last line is the mean accuracy over the data sets:
on held-out pictures where they come with a split, out-of-fold else.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from machine import describe, finish
from tellapart.data.dataset import Dataset
from tellapart.data.gallery import draw_gallery
from tellapart.errors import DatasetError
from tellapart.training.train import TrainOptions, train

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--fit")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-least", type=float)
    given = parser.parse_args()
    print(describe())
    header = f"{'data set':<16}{'scored on':<13}{'n':>6}{'errors':>8}{'accuracy':>10}"
    print(f"{header}{'95 % interval':>17}{'log loss':>10}{'embed s':>9}{'probe s':>9}")
    accuracies = []
    with tempfile.TemporaryDirectory() as scratch:
        folders = sorted(SHARED.iterdir()) if SHARED.is_dir() else []
        gallery = draw_gallery(Path(scratch) / "gallery", per_class=120, seed=given.seed).root
        for folder in [*folders, gallery]:
            dataset = opened(folder)
            if dataset is not None:
                accuracies.append(score(dataset, folder.name, given, Path(scratch)))
    finish("value", statistics.mean(accuracies), at_least=given.at_least)


def opened(folder: Path) -> Dataset | None:
    try:
        return Dataset.from_folder(folder)
    except DatasetError:  # a flat folder, or a file
        return None


def score(dataset: Dataset, name: str, given: argparse.Namespace, scratch: Path) -> float:
    import os

    os.environ["TELLAPART_CACHE"] = str(scratch / f"cache-{name}")
    options = TrainOptions(
        given.backbone, fit=given.fit, seed=given.seed, runtime=given.runtime, valid=0.0
    )
    run = train(dataset, scratch / f"run-{name}", options)
    part = "held_out" if "held_out" in run.metrics else "out_of_fold"
    m, seconds = run.metrics[part], run.info["seconds"]
    low, high = m.interval
    interval = f"{100 * low:.1f}–{100 * high:.1f} %"
    print(
        f"{name:<16}{part:<13}{m.n:>6}{m.errors:>8}{100 * m.accuracy:>8.2f} %{interval:>17}"
        f"{m.log_loss:>10.4f}{seconds['embed']:>9.1f}{seconds['probe']:>9.1f}"
    )
    return m.accuracy


if __name__ == "__main__":
    main()
