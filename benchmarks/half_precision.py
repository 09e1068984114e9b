"""What float16 at rest loses: the same training on features as computed and as the cache keeps them.

    python benchmarks/half_precision.py DATA [--at-most 0.01]

The last line is the largest difference of any probability of any picture.
"""

import argparse
from pathlib import Path

import numpy as np

from machine import describe, finish
from tellapart.data.dataset import Dataset
from tellapart.data.ordered_map import ordered_map
from tellapart.data.split import deal
from tellapart.model.backbones import open_backbone
from tellapart.training.embed import Embedder
from tellapart.training.feature_cache import as_stored
from tellapart.training.probe import fit_probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--at-most", type=float)
    given = parser.parse_args()
    print(describe())
    dataset = Dataset.from_folder(given.data).hashed()
    embedder = Embedder(open_backbone("tf_efficientnet_lite0"))
    exact = np.stack(
        list(
            ordered_map(
                lambda path: embedder.network_output((dataset.root / path).read_bytes(), path),
                dataset.paths,
                workers=embedder.workers,
            )
        )
    )
    kept = np.stack([as_stored(vector) for vector in exact])
    folds = deal(
        dataset.labels, dataset.groups, [0.2] * 5, keys=list(dataset.table["sha256"]), seed=0
    )
    k, widths = len(dataset.classes), embedder.backbone.dimensions
    a, b = (fit_probe(x, dataset.targets, k, folds, widths) for x in (exact, kept))
    changed = (a.out_of_fold.argmax(1) != b.out_of_fold.argmax(1)).sum()
    apart = np.abs(a.probe.probabilities(exact) - b.probe.probabilities(kept)).max()
    print(f"{len(dataset)} pictures of {given.data.name}: features of {exact.shape[1]} numbers")
    print(f"largest relative rounding of a vector: {_rounding(exact, kept):.1e}")
    print(f"log loss {a.chosen.log_loss:.5f} as computed, {b.chosen.log_loss:.5f} as kept")
    print(f"out-of-fold answers that change: {changed}")
    finish("value", float(apart), at_most=given.at_most)


def _rounding(exact: np.ndarray, kept: np.ndarray) -> float:
    return float((np.linalg.norm(exact - kept, axis=1) / np.linalg.norm(exact, axis=1)).max())


if __name__ == "__main__":
    main()
