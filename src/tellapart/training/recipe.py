"""Recipes: how a head is fitted on frozen features. The convex probe is the default one.

A recipe sees the training pictures' features and folds, and gives a head with out-of-fold
probabilities, so that all recipes are measured alike and may be compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tellapart.data.dataset import Dataset
from tellapart.data.split import deal
from tellapart.errors import DatasetError
from tellapart.model.backbones import cache_folder
from tellapart.training.embed import View
from tellapart.training.logistic import Array, Indices
from tellapart.training.probe import Probe, ProbeFit, fit_probe
from tellapart.training.row_blocks import take_rows

__all__ = ["ConvexProbe", "HeadFit", "Recipe", "Task", "new_task", "probe_facts"]

_MOST_FOLDS = 5
_IMBALANCED = 3.0  # from this ratio of the largest to the smallest class on, all weigh the same


@dataclass(frozen=True)
class Task:
    """What a head is fitted on: N training pictures of K classes.

    `features` are float32 (N, D), and so is each of `views`, what the network saw in the same
    pictures when they were changed. `folds` (N,) keeps copies of a picture together; they share a number
    in `groups` (N,), without which no picture is a copy. `widths` gives each feature set's name and its
    length, counted from the first of the D. `valid` are features and targets of the validation pictures,
    for showing how training goes: nothing is to be chosen by them. `on_epoch` is called with each row of
    the table, where there are epochs.
    """

    classes: tuple[str, ...]
    features: Array
    views: tuple[Array, ...]
    targets: Indices
    folds: Indices
    widths: Mapping[str, int]
    valid: tuple[Array, Indices]
    balanced: bool
    seed: int
    workers: int
    progress: Callable[[int, int], None]
    on_epoch: Callable[[Any], None] = lambda row: None
    groups: Indices | None = None

    @property
    def different(self) -> Indices:
        """Rows of pictures of which none is a copy of another one."""
        if self.groups is None:
            return np.arange(len(self.targets))
        return np.unique(self.groups, return_index=True)[1]


@dataclass(frozen=True)
class HeadFit:
    """A trained head, and what cross-validation said: `out_of_fold` probabilities, float32 (N, K).

    `facts` go into run.json as `probe`, `notes` to the user, `tables` (header and rows, by file name)
    into the run folder.
    """

    probe: Probe
    out_of_fold: Array
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] = field(
        default_factory=dict
    )


class Recipe(Protocol):
    """How to fit a head, and in which other views the network is to see the training pictures."""

    @property
    def other_views(self) -> Sequence[View]: ...

    def config(self) -> dict[str, Any]:
        """What tells it from other recipes, as JSON can hold it."""
        ...

    def fit(self, task: Task) -> HeadFit: ...


@dataclass(frozen=True)
class ConvexProbe:
    """A multinomial logistic regression, solved to its optimum; the penalty is cross-validated."""

    other_views: tuple[View, ...] = ()

    def config(self) -> dict[str, Any]:
        return {"recipe": "probe", "views": [view.key for view in self.other_views]}

    def fit(self, task: Task) -> HeadFit:
        fit = fit_probe(
            task.features, task.targets, len(task.classes), task.folds, dict(task.widths),
            views=task.views, balanced=task.balanced, seed=task.seed, workers=task.workers,
            progress=task.progress,
        )  # fmt: skip
        return HeadFit(fit.probe, fit.out_of_fold, probe_facts(fit, task))


def probe_facts(fit: ProbeFit, task: Task) -> dict[str, Any]:
    """What run.json says of a convex probe."""
    return {
        "recipe": "probe",
        "features": fit.chosen.features,
        "strength": fit.chosen.strength,
        "balanced": task.balanced,
        "views": len(task.views),
        "candidates": [vars(candidate) for candidate in fit.candidates],
        **({"passes": fit.passes, "chosen_on": fit.chosen_on} if fit.passes else {}),
    }


def new_task(
    dataset: Dataset,
    values: Array,
    views: Sequence[Array],
    widths: Mapping[str, int],
    *,
    class_weight: str,
    seed: int,
    workers: int,
    progress: Callable[[int, int], None],
    on_epoch: Callable[[Any], None],
) -> Task:
    """The task of a divided dataset: `values` float32 (len(dataset), D), `views` of its training part.

    Raises DatasetError where there are no two folds.
    """
    rows, valid = dataset.rows_of("train"), dataset.rows_of("valid")
    targets = dataset.targets
    counts = np.bincount(targets[rows], minlength=len(dataset.classes))
    uneven = bool(counts.max() >= _IMBALANCED * counts.min())
    return Task(
        classes=dataset.classes,
        features=values if len(rows) == len(values) else take_rows(values, rows, cache_folder()),
        views=tuple(views),
        targets=targets[rows],
        folds=_folds(dataset, rows, seed),
        widths=widths,
        valid=(take_rows(values, valid, cache_folder()), targets[valid]),
        balanced=class_weight == "balanced" or (class_weight == "auto" and uneven),
        seed=seed,
        workers=workers,
        progress=progress,
        on_epoch=on_epoch,
        groups=dataset.groups[rows],
    )


def _folds(dataset: Dataset, rows: Indices, seed: int) -> Indices:
    groups = np.unique(dataset.groups[rows], return_inverse=True)[1]
    count = min(_MOST_FOLDS, int(groups.max()) + 1)
    if count < 2:
        raise DatasetError(
            f"{dataset.root}: all training pictures are copies of one; give some that differ"
        )
    labels, keys = dataset.table["label"].iloc[rows], dataset.table["sha256"].iloc[rows]
    shares = [1 / count] * count
    return deal(list(labels), groups, shares, keys=list(keys), seed=seed)
