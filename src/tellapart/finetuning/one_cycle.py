"""The recipe `one-cycle`: a head trained in epochs on cached features, as fastai's users know it.

It is cross-validated on the folds of the convex probe, so that the two can be compared on equal terms. The
probe is kept unless one-cycle training does better by more than the standard error of the difference.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tellapart.errors import DatasetError, UsageError
from tellapart.evaluation.paired import mcnemar
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.explanation import FIELDS, Epoch, explain
from tellapart.finetuning.frozen import FrozenOptions, Vectors, train_head
from tellapart.finetuning.heads import Head, HeadKind
from tellapart.finetuning.schedule import check_dials, format_lr, parse_lr
from tellapart.finetuning.views import AugmentedView, augmented_views
from tellapart.training.logistic import Array, Indices
from tellapart.training.probe import balanced_weights
from tellapart.training.recipe import ConvexProbe, HeadFit, Recipe, Task

__all__ = ["OneCycle", "class_weights", "new_recipe"]


@dataclass(frozen=True)
class OneCycle:
    """How to train a head in epochs; for `tellapart.train(data, recipe=OneCycle(4))`.

    `lr` as text: the highest rate. `views` says in how many augmented views, beside the plain one,
    the network sees each training picture, once. `head` is `linear` or `hidden`, which has 512
    units. With `compare`, the convex probe is fitted too, and kept where it is better or equal.
    Raises UsageError for values out of range.

    >>> OneCycle(epochs=4, head="hidden").views
    1
    """

    epochs: int = 4
    lr: str = "2e-3"
    views: int = 1
    head: HeadKind = "linear"
    batch: int = 64
    transforms: Transforms = field(default_factory=Transforms)
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    div: float = 25.0
    pct_start: float = 0.25
    compare: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2:
            raise UsageError(f"epochs {self.epochs}, batch {self.batch}; expected 1 and 2 at least")
        if not 0 <= self.seed < 1 << 62:
            raise UsageError(
                f"the seed is {self.seed}; expected 0 or more, and below 2 to the 62nd"
            )
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"label_smoothing is {self.label_smoothing}; expected 0 ≤ value < 1")
        if self.head not in get_args(HeadKind):
            raise UsageError(f"head {self.head!r} is unknown; choose from linear, hidden")
        check_dials(self.div, self.pct_start, self.weight_decay)
        parse_lr(self.lr)
        _ = self.other_views

    @property
    def other_views(self) -> tuple[AugmentedView, ...]:
        """The augmented views."""
        return augmented_views(self.views, self.transforms, self.seed)

    def config(self) -> dict[str, Any]:
        """All dials, as JSON can hold them."""
        return {"recipe": "auto" if self.compare else "one-cycle", **asdict(self)}

    def frozen_options(self, weights: tuple[float, ...] | None = None) -> FrozenOptions:
        """What `train_head` needs to know."""
        return FrozenOptions(
            self.epochs, parse_lr(self.lr), self.batch, self.weight_decay, self.label_smoothing,
            weights, self.seed, self.div, self.pct_start,
        )  # fmt: skip

    def fit(self, task: Task) -> HeadFit:
        """Cross-validate, train on all training pictures, and compare with the probe where asked to."""
        if not len(task.valid[1]):
            raise DatasetError(
                "training in epochs shows how it goes on validation pictures, and there are none; "
                "set some aside with --valid 0.2, or put some into a valid folder where the data is divided"
            )
        held_out = self._cross_validate(task)
        head, history = self._train(task, np.ones(len(task.targets), bool), task.on_epoch)
        findings = explain(history, classes=task.classes)
        notes = tuple(f"{finding}".rstrip(".") for finding in findings)
        facts = {
            "recipe": "one-cycle", "features": "all", "balanced": task.balanced,
            **asdict(self), "lr": format_lr(parse_lr(self.lr)), "compared": None,
        }  # fmt: skip
        rows = [[getattr(row, name) for name in FIELDS] for row in history]
        tables = {"history.csv": (FIELDS, rows)}
        own = HeadFit(head.probe(), held_out, facts, notes, tables)
        return _better(ConvexProbe().fit(task), own, task) if self.compare else own

    def _cross_validate(self, task: Task) -> Array:
        answer = np.zeros((len(task.targets), len(task.classes)), np.float32)
        for fold in np.unique(task.folds):
            out = task.folds == fold
            head, _ = self._train(task, ~out)
            answer[out] = head.probe().probabilities(task.features[out])
        return answer

    def _train(
        self,
        task: Task,
        inside: NDArray[np.bool_],
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> tuple[Head, list[Epoch]]:
        """A head trained on the pictures `inside`; the history is that of the whole training part."""
        parts = (task.features, *task.views)
        views = parts if inside.all() else [part[inside] for part in parts]
        targets = task.targets[inside]
        head = Head.new(self.head, views[0], len(task.classes), self.seed)
        weights = class_weights(targets, len(task.classes)) if task.balanced else None
        valid = None if on_epoch is None else Vectors.of(task.valid[:1], task.valid[1])
        history = train_head(
            head, Vectors.of(views, targets), self.frozen_options(weights), valid,
            on_epoch=on_epoch or (lambda row: None),
        )  # fmt: skip
        return head.eval(), history


def new_recipe(
    name: str | None,
    *,
    epochs: int | None = None,
    lr: str | None = None,
    head: str | None = None,
    views: int | None = None,
    no_flip: bool = False,
    seed: int = 0,
) -> Recipe:
    """The recipe of that name, `probe`, `one-cycle` or `auto`; without one `auto` where there are epochs.

    What is None has its default. Raises UsageError for what does not go together.

    >>> new_recipe("auto", epochs=4).compare
    True
    """
    said = {"epochs": epochs, "lr": lr, "head": head}
    dials: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    transforms = Transforms(do_flip=not no_flip)
    if name is None:
        name = "auto" if dials else "probe"
    if name == "probe":
        if no_flip and not views:
            raise UsageError(
                "--no-flip is for augmented views; ask for some with --views or --epochs"
            )
        if dials:
            raise UsageError(f"--{next(iter(dials))} belongs to --recipe one-cycle or auto")
        return ConvexProbe(augmented_views(views or 0, transforms, seed))
    if name not in ("one-cycle", "auto"):
        raise UsageError(f"recipe {name!r} is unknown; choose from probe, one-cycle, auto")
    if views is not None:
        dials["views"] = views
    return OneCycle(**dials, transforms=transforms, compare=name == "auto", seed=seed)


def class_weights(targets: Indices, classes: int) -> tuple[float, ...]:
    """One for each class, with mean 1 over the pictures; 0 for a class without any."""
    weights = balanced_weights(targets, classes)
    places = [np.flatnonzero(targets == k)[:1] for k in range(classes)]
    return tuple(float(weights[place[0]]) if len(place) else 0.0 for place in places)


def _better(probe: HeadFit, other: HeadFit, task: Task) -> HeadFit:
    """The one to keep, with a note on by how much; each fold is scored by what the other folds chose."""
    fits = (probe, other)
    losses = np.stack([_losses(fit.out_of_fold, task.targets) for fit in fits])
    weight = balanced_weights(task.targets, len(task.classes)) if task.balanced else None
    kept = fits[_choice(losses, weight)]
    answer = np.zeros_like(probe.out_of_fold)
    for fold in np.unique(task.folds):
        out = task.folds == fold
        chosen = fits[_choice(losses[:, ~out], None if weight is None else weight[~out])]
        answer[out] = chosen.out_of_fold[out]
    right = [fit.out_of_fold.argmax(axis=1) == task.targets for fit in fits]
    lost, won, p = mcnemar(*right)
    n = len(task.targets)
    says = [
        f"log loss {np.average(loss, weights=weight):.4f}, {n - int(correct.sum())} of {n} wrong"
        for loss, correct in zip(losses, right, strict=True)
    ]
    verdict = (
        "the probe is as good or better by cross-validation, and is kept"
        if kept is probe
        else "one-cycle training is better by cross-validation, and is kept"
    )
    note = (
        f"{verdict}: probe {says[0]}; one-cycle {says[1]}; {lost} right with the probe alone, {won} with "
        f"one-cycle alone (McNemar p = {p:.2g})"
    )
    compared = {"probe": says[0], "one-cycle": says[1], "kept": kept.facts["recipe"]}
    facts = {**kept.facts, "compared": compared}
    notes = [f"one-cycle training: {other_note}" for other_note in other.notes]
    return HeadFit(kept.probe, answer, facts, (note, *notes), kept.tables)


def _choice(losses: NDArray[np.float64], weight: NDArray[np.float64] | None) -> int:
    """1 where the second's mean loss is lower by more than the standard error of the difference."""
    difference = losses[0] - losses[1]
    weight = np.ones_like(difference) if weight is None else weight
    mean = np.average(difference, weights=weight)
    n = len(difference)
    spread = np.sqrt(np.sum(np.square(weight * (difference - mean))) * n / (n - 1))
    return int(mean * weight.sum() > spread * (1 + 1e-9))  # one picture alone decides nothing


def _losses(probabilities: Array, targets: Indices) -> NDArray[np.float64]:
    own = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return np.asarray(-np.log(np.maximum(own, 1e-15)))
