"""The learning-rate finder: is its suggestion near the best rate, and is it surer than fastai's?

    python benchmarks/lr_find.py [--data FOLDER ...] [--seeds 10] [--at-most-factor 3]

The problem: an untrained linear head on the cached features of the frozen default backbone, one cycle
of 4 epochs, batches of 64, no augmented views. For each data set:

- grid: 14 rates from 1e-5 to 1e-1, about a factor of 2 apart. The score of a rate is the log loss of
  five-fold cross-validation on the training part, the mean over 3 seeds. Its plateau are the rates
  whose loss is higher than the lowest by less than the standard error of the difference.
- ours: the suggestion of `lr_find_frozen(fresh=True)` with its defaults, for each seed; the other
  methods on the same sweeps for comparison.
- fastai's: the valley of its `lr_find` with its defaults on the same standardised features
  (`fastai_valley.py` in `.venv-peers`, `make peers`), for each seed.

`spread` is the highest suggestion over the lowest, `log sd` the standard deviation of their decimal
logarithms. Without `--data`: anime_cartoon and art_style from ../shared/data where they are, and the
gallery of 5 × 60. The exit is 1 where the spread is not smaller than fastai's (geometric mean over the
data sets), or the median suggestion is further from the best rate than `--at-most-factor`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from machine import describe
from tellapart.data.gallery import draw_gallery
from tellapart.finetuning.heads import Head
from tellapart.finetuning.lr_find import lr_find_frozen
from tellapart.finetuning.lr_finder import METHODS, Suggestions, Sweep
from tellapart.finetuning.lr_finder_plot import plot
from tellapart.finetuning.one_cycle import OneCycle, class_weights
from tellapart.training.recipe import ConvexProbe, HeadFit, Task
from tellapart.training.train import train

BENCHMARKS = Path(__file__).resolve().parent
PEERS = BENCHMARKS.parent / ".venv-peers" / "bin" / "python"
SHARED = BENCHMARKS.parents[1] / "shared" / "data"
RATES = np.geomspace(1e-5, 1e-1, 14)
GRID_SEEDS = 3


@dataclass(frozen=True)
class Seen(ConvexProbe):
    """The convex probe, which remembers the task: the features and folds that all else works on."""

    tasks: list[Task] = field(default_factory=list)

    def fit(self, task: Task) -> HeadFit:
        self.tasks.append(task)
        return super().fit(task)


@dataclass(frozen=True)
class Grid:
    """The score of each of RATES, and which are as good as the best."""

    losses: np.ndarray
    plateau: np.ndarray

    @property
    def best(self) -> float:
        return float(RATES[self.losses.argmin()])

    def factor(self, rate: float) -> float:
        return max(rate / self.best, self.best / rate)

    def cost(self, rate: float) -> float:
        """How much the loss is above the lowest at `rate`, between the grid's rates by interpolation."""
        return float(np.interp(np.log(rate), np.log(RATES), self.losses) / self.losses.min() - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--plots", type=Path, help="a folder for the curves")
    parser.add_argument("--at-most-factor", type=float)
    options = parser.parse_args()
    if not PEERS.exists():
        sys.exit("fastai needs its own environment: make peers")
    print(describe())
    torch.set_num_threads(
        1
    )  # on a busy machine, threads that wait for each other take ten times as long
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for folder in options.data or data_sets(Path(scratch)):
            rows.append(measure(folder, Path(scratch), options.seeds, options.plots))
    finish(rows, options.at_most_factor)


def data_sets(scratch: Path) -> list[Path]:
    found = [SHARED / name for name in ("anime_cartoon", "art_style") if (SHARED / name).is_dir()]
    draw_gallery(scratch / "gallery", per_class=60)
    return [*found, scratch / "gallery"]


def measure(
    folder: Path, scratch: Path, seeds: int, plots: Path | None
) -> tuple[float, float, float]:
    """Print what was found on a data set; our factor to the best rate, our spread and fastai's."""
    seen = Seen()
    run = train(folder, scratch / f"run-{folder.name}", recipe=seen)
    task = seen.tasks[0]
    grid = search(task)
    print(f"\n{folder.name}: {len(task.targets)} pictures, {len(task.classes)} classes")
    print("  " + " ".join(f"{rate:.0e}" for rate in RATES))
    print("  " + " ".join(f"{loss:.3f}" for loss in grid.losses))
    plateau = RATES[grid.plateau]
    print(f"  best of the grid {grid.best:.1e}, plateau {plateau.min():.1e} to {plateau.max():.1e}")
    found = [lr_find_frozen(run, OneCycle(views=0, seed=seed), fresh=True) for seed in range(seeds)]
    draw(folder.name, found[0], plots)
    for name in METHODS:
        describe_rates(f"ours, {name}", [getattr(answer, name) for _, answer in found], grid)
    ours = describe_rates("ours, the default", [answer.rate for _, answer in found], grid)
    theirs = describe_rates("fastai, valley", fastai_valleys(task, scratch, seeds), grid)
    return ours[0], ours[1], theirs[1]


def search(task: Task) -> Grid:
    own = np.arange(len(task.targets)), task.targets
    losses = np.zeros((len(RATES), len(task.targets)))
    for i, rate in enumerate(RATES):
        for seed in range(GRID_SEEDS):
            recipe = OneCycle(lr=str(float(rate)), views=0, seed=seed)
            answer = recipe._cross_validate(task)[own].astype(np.float64)
            losses[i] -= np.log(np.maximum(answer, 1e-15)) / GRID_SEEDS
    above = losses - losses[losses.mean(axis=1).argmin()]
    error = above.std(axis=1) / np.sqrt(above.shape[1])
    return Grid(losses.mean(axis=1), above.mean(axis=1) <= error)


def draw(name: str, found: tuple[Sweep, Suggestions], plots: Path | None) -> None:
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        plot(*found, plots / f"{name}.png")


def describe_rates(name: str, rates: Sequence[float | None], grid: Grid) -> tuple[float, float]:
    """Print a line for these suggestions; the factor of their median to the best, and their spread."""
    given = np.array([rate for rate in rates if rate is not None])
    if not len(given):
        print(f"  {name:17} suggests nothing for any of {len(rates)} seeds")
        return np.inf, np.inf
    factor, spread = grid.factor(float(np.median(given))), float(given.max() / given.min())
    print(
        f"  {name:17} median {np.median(given):.1e}, {given.min():.1e} to {given.max():.1e}, "
        f"factor to the best {factor:.2f} (worst seed {max(map(grid.factor, given)):.2f}), "
        f"loss {100 * grid.cost(float(np.median(given))):+.0f} %, "
        f"spread {spread:.2f}, log sd {np.log10(given).std():.3f}, "
        f"{len(rates) - len(given)} of {len(rates)} refused"
    )
    return factor, spread


def fastai_valleys(task: Task, scratch: Path, seeds: int) -> list[float]:
    head = Head.new("linear", task.features, len(task.classes), 0)
    standardised = (task.features - head.feature_mean.numpy()) / head.feature_std.numpy()
    weights = class_weights(task.targets, len(task.classes)) if task.balanced else ()
    file = scratch / "features.npz"
    np.savez(file, features=standardised, targets=task.targets, weights=np.float32(weights))
    answer = subprocess.run(
        [str(PEERS), str(BENCHMARKS / "fastai_valley.py"), str(file), str(seeds)],
        capture_output=True, text=True, check=True, cwd=scratch,
    )  # fmt: skip
    return json.loads(answer.stdout.splitlines()[-1])


def finish(rows: Sequence[tuple[float, float, float]], at_most: float | None) -> None:
    factors, ours, theirs = np.array(rows).T
    spreads = [float(np.exp(np.log(values).mean())) for values in (ours, theirs)]
    print(f"\nfactor: {factors.max():.2f}, the worst of {len(rows)} data sets")
    print(f"spread: ours {spreads[0]:.2f}, fastai {spreads[1]:.2f}, geometric mean")
    if spreads[0] >= spreads[1] or (at_most is not None and factors.max() > at_most):
        sys.exit(1)


if __name__ == "__main__":
    main()
