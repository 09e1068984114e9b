"""Calibration, promised errors and "none of these": the figures of art_style, anime_cartoon and the gallery.

    python benchmarks/trust_abstention.py [--part calibration] [--gallery-seed 7] [--splits 40]

Parts are calibration, promise and novelty; all by default. Features come from tellapart's cache where they
are in it. The last line is the mean AUROC over the left-out classes of art_style, or of the gallery where
../shared/data is missing.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from machine import describe, finish
from tellapart.data.dataset import Dataset
from tellapart.data.gallery import draw_gallery
from tellapart.evaluation.abstention import binomial_tail
from tellapart.evaluation.calibration import apply_temperature, calibration
from tellapart.evaluation.conformal import prediction_sets
from tellapart.evaluation.novelty import auroc
from tellapart.model.backbones import open_backbone
from tellapart.training.embed import Embedder, embed
from tellapart.training.novel_classes import fit_novelty
from tellapart.training.recipe import ConvexProbe, Task
from tellapart.training.trust import fit_trust

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Pile:
    """A data set, embedded: features (N, D), targets (N,), and which pictures come set apart."""

    name: str
    classes: tuple[str, ...]
    features: np.ndarray
    targets: np.ndarray
    apart: np.ndarray
    widths: dict[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", choices=("calibration", "promise", "novelty"))
    parser.add_argument("--gallery-seed", type=int, default=7)
    parser.add_argument("--per-class", type=int, default=300)
    parser.add_argument("--splits", type=int, default=40)
    parser.add_argument("--at-least", type=float)
    given = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as scratch:
        drawn = Path(scratch) / "gallery"
        draw_gallery(drawn, per_class=given.per_class, seed=given.gallery_seed)
        folders = [SHARED / name for name in ("art_style", "anime_cartoon")]
        piles = [opened(folder) for folder in [*folders, drawn] if folder.is_dir()]
    value = float("nan")
    if given.part in (None, "calibration"):
        for pile in piles:
            show_calibration(pile)
    if given.part in (None, "promise"):
        for pile in piles:
            show_promise(pile, given.splits)
    if given.part in (None, "novelty"):
        areas = [show_novelty(pile) for pile in piles if len(pile.classes) > 2]
        value = areas[0]
    finish("value", value, at_least=given.at_least)


def opened(folder: Path) -> Pile:
    dataset = Dataset.from_folder(folder)
    backbone = open_backbone("tf_efficientnet_lite0")
    found = embed(dataset.root, dataset.paths, Embedder(backbone))
    keep = np.setdiff1d(np.arange(len(dataset)), list(found.failures))
    apart = np.isin(np.asarray(dataset.table["split"], object), ["valid", "test"])
    return Pile(
        folder.name, dataset.classes, found.values[keep], dataset.targets[keep], apart[keep],
        dict(backbone.dimensions),
    )  # fmt: skip


def task_of(pile: Pile, rows: np.ndarray, seed: int) -> Task:
    """The chosen rows in five stratified folds."""
    targets = pile.targets[rows]
    order = np.random.default_rng(seed).permutation(len(rows))
    order = order[np.argsort(targets[order], kind="stable")]
    folds = np.empty(len(rows), np.intp)
    folds[order] = np.arange(len(rows)) % 5
    return Task(
        pile.classes, pile.features[rows], (), targets, folds, pile.widths,
        (pile.features[:0], targets[:0]), False, seed, 2, lambda done, total: None,
    )  # fmt: skip


def drawn_rows(pile: Pile, count: int, seed: int) -> np.ndarray:
    """`count` rows, bool (N,), of each class its share."""
    order = np.random.default_rng(seed).permutation(len(pile.targets))
    order = order[np.argsort(pile.targets[order], kind="stable")]
    chosen = np.zeros(len(order), bool)
    chosen[order[np.linspace(0, len(order) - 1, count).astype(int)]] = True
    return chosen


def show_calibration(pile: Pile) -> None:
    """Before and after the temperature, on pictures set apart: the given ones, else a half, five times."""
    given = pile.apart.any()
    print(f"\n{pile.name}: calibration error on held-out pictures (debiased, plain)")
    print(
        f"{'n':>6}{'T':>7}{'before':>9}{'':>8}{'after':>9}{'':>8}{'log loss':>18}{'sets 95 %':>20}"
    )
    for seed in range(1 if given else 5):
        train = ~pile.apart if given else drawn_rows(pile, len(pile.targets) // 2, seed)
        rows, out = np.flatnonzero(train), np.flatnonzero(~train)
        task = task_of(pile, rows, seed)
        head, trust = fit_trust(task, ConvexProbe().fit(task))
        after, targets = head.probe.probabilities(pile.features[out]), pile.targets[out]
        before = apply_temperature(after, 1 / trust.temperature)
        a, b = calibration(before, targets), calibration(after, targets)
        losses = [
            -np.log(np.maximum(p[np.arange(len(out)), targets], 1e-15)).mean()
            for p in (before, after)
        ]
        sets = prediction_sets(after, trust.sets[0.05])
        held = sets[np.arange(len(out)), targets].mean()
        print(
            f"{len(out):>6}{trust.temperature:>7.3f}{a.debiased_error:>9.4f}{a.error:>8.4f}"
            f"{b.debiased_error:>9.4f}{b.error:>8.4f}{losses[0]:>9.4f}{losses[1]:>9.4f}"
            f"{100 * held:>9.1f} % of {sets.sum(axis=1).mean():.2f}"
        )


def show_promise(pile: Pile, splits: int, count: int = 600) -> None:
    """Small training parts, large held-out ones: how often is the promised error kept?"""
    count = min(count, len(pile.targets) // 2)
    for target in (0.01, 0.02, 0.05):
        found = []
        for seed in range(splits):
            train = drawn_rows(pile, count, seed)
            found.append(promise(pile, train, seed, target))
        answered = [one for one in found if one is not None]
        kept = sum(errors <= target * n for n, errors, _ in answered)
        within = sum(
            1 - binomial_tail(e - 1, n, target) >= 0.05 if e else True for n, e, _ in answered
        )
        share = np.mean([share for *_, share in answered]) if answered else 0
        print(
            f"{pile.name}: errors below {100 * target:g} % promised in {len(answered)} of {splits} splits "
            f"({count} pictures each); held-out errors below it in {kept}, within binomial error in "
            f"{within}; answered {100 * share:.0f} % on average"
        )


_heads: dict[tuple[str, int], tuple] = {}


def promise(
    pile: Pile, train: np.ndarray, seed: int, target: float
) -> tuple[int, int, float] | None:
    """How many held-out pictures are answered, how many of them wrongly, and their share."""
    if (pile.name, seed) not in _heads:
        task = task_of(pile, np.flatnonzero(train), seed)
        head, trust = fit_trust(task, ConvexProbe().fit(task))
        _heads[pile.name, seed] = head.probe.probabilities(pile.features[~train]), trust
    probabilities, trust = _heads[pile.name, seed]
    bound = trust.threshold_for(target).value
    if bound is None:
        return None
    sure = probabilities.max(axis=1) >= bound
    wrong = probabilities.argmax(axis=1) != pile.targets[~train]
    return int(sure.sum()), int((wrong & sure).sum()), float(sure.mean())


def show_novelty(pile: Pile) -> float:
    """Each class left out of training in turn; its held-out pictures against those of the others."""
    train = ~pile.apart if pile.apart.any() else drawn_rows(pile, len(pile.targets) * 2 // 3, 0)
    print(f"\n{pile.name}: a class left out of training, told apart by")
    print(f"{'left out':<16}{'AUROC':>7}  {'known flagged':>15}{'it flagged':>13}{'s':>6}  score")
    areas = []
    for left, name in enumerate(pile.classes):
        rows, known = np.flatnonzero(train & (pile.targets != left)), pile.targets[~train] != left
        task = task_of(pile, rows, 0)
        classes = np.unique(task.targets, return_inverse=True)[1]
        begun = time.perf_counter()
        fit = partial(fit_novelty, seed=0, workers=2)
        found = fit(task.features, classes, task.folds, pile.widths)
        seconds = time.perf_counter() - begun
        assert found is not None
        scores = found.scores(pile.features[~train])
        areas.append(auroc(scores[known], scores[~known]))
        high = scores > found.threshold
        print(
            f"{name:<16}{areas[-1]:>7.3f}  {high[known].sum():>5} of {known.sum():>6}"
            f"{high[~known].sum():>6} of {(~known).sum():>3}{seconds:>6.2f}  {found.facts['score']}"
        )
    print(f"mean {np.mean(areas):.3f}, worst {min(areas):.3f}")
    return float(np.mean(areas))


if __name__ == "__main__":
    main()
