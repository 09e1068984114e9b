"""Half of the data hidden: does the learning curve's band hold what the other half shows?

    python benchmarks/learning_curve.py [--seeds 10]

Four data sets: art_style, anime_cartoon, imagenet_sample as animals and things, and drawn galleries. Of
the first three half is hidden, and the truth is the cross-validated error rate with all pictures, of
the model that a check uses. Galleries have hardly an error in 600 pictures: there half of 600 is
hidden, and the truth is the error rate of a model trained on the 600 on 2,400 others.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from label_errors import SHARED, embedded
from machine import describe, finish
from tellapart.audit.learning_curve import LearningCurve, fit_curve
from tellapart.audit.out_of_fold import deal_folds, held_out, principal_components
from tellapart.data.dataset import Dataset
from tellapart.data.gallery import draw_gallery
from tellapart.model.backbones import open_backbone
from tellapart.training.embed import Embedder
from tellapart.training.logistic import solve

ANIMALS = 398  # the first of ImageNet's classes
GALLERIES = (1, 2, 3, 11, 12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    print(describe())
    print(
        f"{'data set':<16}{'n':>6}{'held':>8}{'truth':>9}{'said':>9}{'band':>16}{'as if no more':>15}"
    )
    held = trials = 0
    for name, features, targets in data_sets():
        rows = []
        for seed in range(given.first, given.first + given.seeds):
            one = gallery_trial if name == "galleries" else trial
            curve, size, truth = one(features, targets, seed)
            estimate = curve.at(size)
            inside = estimate.low <= truth <= estimate.high
            now = curve.points[-1].error
            rows.append((inside, truth, estimate.error, estimate.low, estimate.high, now))
        inside, *means = np.mean(rows, axis=0)
        held, trials = held + round(inside * given.seeds), trials + given.seeds
        truth, said, low, high, now = (100 * mean for mean in means)
        print(f"{name:<16}{size:>6.0f}{inside * given.seeds:>5.0f}/{given.seeds}", end="")
        print(
            f"{truth:>7.2f} %{said:>7.2f} %{f'{low:.2f}–{high:.2f} %':>16}{now:>13.2f} %",
            flush=True,
        )
    finish("value", held / trials, at_least=0.8)


def data_sets() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, features float32 (N, D), and labels (N,)."""
    embedder = Embedder(open_backbone("tf_efficientnet_lite0"))
    for name in ("art_style", "anime_cartoon"):
        if (SHARED / name).is_dir():
            yield name, *embedded(Dataset.from_folder(SHARED / name), embedder)
    files = sorted((SHARED / "imagenet_sample").glob("*.jpg"))
    if files:
        rows = [(f.name, "animal" if i < ANIMALS else "thing") for i, f in enumerate(files)]
        yield "imagenet_sample", *embedded(Dataset.from_rows(files[0].parent, rows), embedder)
    found = []
    for seed in GALLERIES:
        with tempfile.TemporaryDirectory() as scratch:
            root = draw_gallery(Path(scratch) / "gallery", per_class=120, seed=seed).root
            found.append(embedded(Dataset.from_folder(root), embedder))
    yield "galleries", *(np.concatenate(part) for part in zip(*found, strict=True))


def curve_of(features: np.ndarray, targets: np.ndarray, seed: int) -> LearningCurve:
    groups, names = np.arange(len(targets)), [str(k) for k in range(int(targets.max()) + 1)]
    folds = deal_folds(targets, groups, seed=seed)
    return fit_curve(principal_components(features), targets, names, groups, folds, seed=seed)


def trial(
    features: np.ndarray, targets: np.ndarray, seed: int
) -> tuple[LearningCurve, float, float]:
    """The curve of one half, how many pictures the truth was trained on, and the truth."""
    groups = np.arange(len(targets))
    half = deal_folds(targets, groups, folds=2, seed=seed + 500) == 0
    folds = deal_folds(targets, groups, seed=seed)
    classes = int(targets.max()) + 1
    guesses = held_out(principal_components(features), targets, classes, folds).argmax(axis=1)
    truth = float((guesses != targets).mean())
    return curve_of(features[half], targets[half], seed), 0.8 * len(targets), truth


def gallery_trial(
    features: np.ndarray, targets: np.ndarray, seed: int
) -> tuple[LearningCurve, float, float]:
    groups = np.arange(len(targets))
    inside = deal_folds(targets, groups, folds=5, seed=seed + 900) == 0
    all_of_it = np.flatnonzero(inside)
    half = all_of_it[deal_folds(targets[inside], groups[inside], folds=2, seed=seed) == 0]
    x = principal_components(features)
    fit = solve(
        x, targets, int(targets.max()) + 1, inside[None].astype(np.float32),
        np.ones((1, x.shape[1]), np.float32), np.asarray([20 / inside.sum()]),
    )  # fmt: skip
    wrong = fit.scores[0].argmax(axis=0) != targets
    return curve_of(features[half], targets[half], seed), inside.sum(), float(wrong[~inside].mean())


if __name__ == "__main__":
    main()
