"""Swapped labels: our ranking against fastai's top losses, on the same pictures with the same network.

    python benchmarks/top_losses.py [DATA] [--pictures 950] [--at-least 1.3]      # needs: make peers

5 % of the labels are exchanged. fastai trains four frozen epochs on all pictures but a fifth, which it needs
for validation, and gives the loss of each picture; ours is the order of `tellapart check`. Without DATA it is
art_style. The figure is the ratio of precision among the first k, where k labels were exchanged.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from label_errors import SHARED, swapped
from machine import describe, finish
from tellapart.audit.label_errors import label_quality
from tellapart.audit.neighbours import nearest_neighbours
from tellapart.audit.out_of_fold import deal_folds, held_out, principal_components
from tellapart.data.dataset import Dataset
from tellapart.evaluation.metrics import wilson_interval
from tellapart.model.backbones import open_backbone
from tellapart.training.embed import Embedder, embed
from vs_fastai import BACKBONE, PEERS, chosen, save_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="?", default=SHARED / "art_style")
    parser.add_argument("--pictures", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-least", type=float)
    given = parser.parse_args()
    print(describe())
    dataset = chosen(Dataset.from_folder(given.data), given.pictures)
    labels, planted = swapped(dataset.targets, 0.05, given.seed)
    print(f"{len(dataset)} pictures, {planted.sum()} labels exchanged", flush=True)
    found = [
        share(name, score, planted)
        for name, score in (
            ("tellapart", ours(dataset, labels)),
            ("fastai", theirs(dataset, labels)),
        )
    ]
    finish("ratio", found[0] / found[1], at_least=given.at_least)


def share(name: str, score: np.ndarray, planted: np.ndarray) -> float:
    """Precision among the first k; the lowest scores come first."""
    k = int(planted.sum())
    right = int(planted[np.argsort(score, kind="stable")[:k]].sum())
    low, high = wilson_interval(right, k)
    print(f"{name}: {right} of the first {k}, {right / k:.3f} ({low:.3f}–{high:.3f})", flush=True)
    return right / k


def ours(dataset: Dataset, labels: np.ndarray) -> np.ndarray:
    features = embed(dataset.root, dataset.paths, Embedder(open_backbone(BACKBONE)))
    components, groups = principal_components(features.values), np.arange(len(labels))
    folds = deal_folds(labels, groups, keys=list(features.sha256))
    probabilities = held_out(components, labels, len(dataset.classes), folds)
    near = nearest_neighbours(components, groups)
    return label_quality(components, probabilities, labels, folds, near).score


def theirs(dataset: Dataset, labels: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        held = np.random.default_rng(0).permutation(len(labels)) < len(labels) // 5
        table = dataset.table[["path"]].assign(
            label=[dataset.classes[label] for label in labels],
            split=np.where(held, "valid", "train"),
        )
        table.to_csv(folder / "pictures.csv", index=False)
        job = {
            "root": str(dataset.root.resolve()), "pictures": str(folder / "pictures.csv"),
            "backbone": BACKBONE, "weights": str(save_weights(folder)), "epochs": 4,
            "stage": "top_losses", "folder": str(folder),
        }  # fmt: skip
        subprocess.run(
            [str(PEERS), str(Path(__file__).with_name("fastai_side.py")), json.dumps(job)],
            check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        return -np.load(folder / "losses.npy")


if __name__ == "__main__":
    main()
