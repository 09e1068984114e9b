"""The verb `train`: from a Dataset to a Run, reading top to bottom."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from tellapart.data.dataset import COLUMNS, Dataset
from tellapart.errors import DatasetError, UsageError
from tellapart.evaluation.metrics import Metrics, evaluate
from tellapart.model.backbone import BackboneInfo
from tellapart.model.backbones import open_backbone, weights_file_hash
from tellapart.model.preprocess import Fit, PreprocessSpec
from tellapart.model.presets import find_preset
from tellapart.training.embed import Embedder, Features, Progress, embed, embed_again
from tellapart.training.logistic import Array
from tellapart.training.recipe import ConvexProbe, HeadFit, Recipe, new_task
from tellapart.training.run import Run, Tables, claim_folder, read_config, write_run

__all__ = ["ClassWeight", "TrainOptions", "held_out_metrics", "open_dataset", "run_tables", "train"]

ClassWeight = Literal["auto", "balanced", "none"]


@dataclass(frozen=True)
class TrainOptions:
    """How to train. `valid` is the share set aside where the data is not divided already.

    `backbone` is an embedded one or a name of timm's; `weights` a file of weights to use in the place
    of its own. `size` (px) and `fit` replace the backbone's own; `class_weight` says whether every
    class counts the same (`balanced`), every picture does (`none`), or that is decided by the counts
    (`auto`).
    `train_dir`, `valid_dir` and `test_dir` name the split folders of DATA where they are unusual.
    """

    backbone: str = "tf_efficientnet_lite0"
    weights: str | None = None
    size: int | None = None
    fit: Fit | None = None
    valid: float = 0.2
    seed: int = 0
    class_weight: ClassWeight = "auto"
    runtime: str = "onnxruntime"
    train_dir: str | None = None
    valid_dir: str | None = None
    test_dir: str | None = None

    @classmethod
    def preset(cls, name: str, **options: Any) -> Self:
        """The options of a preset (`fast`, `balanced` or `best`); those that are given go before.

        >>> TrainOptions.preset("balanced", seed=7).backbone
        'tf_efficientnet_lite2'
        """
        chosen = find_preset(name)
        return cls(**{"backbone": chosen.backbone, "size": chosen.size, **options})


def open_dataset(data: str | Path, options: TrainOptions | None = None) -> Dataset:
    """A dataset from a folder, or from a file that ends in .csv."""
    path, named = Path(data), options or TrainOptions()
    if path.suffix.lower() == ".csv" and not path.is_dir():
        return Dataset.from_csv(path)
    return Dataset.from_folder(
        path, train=named.train_dir, valid=named.valid_dir, test=named.test_dir
    )


def train(
    data: Dataset | str | Path,
    out: str | Path | None = None,
    options: TrainOptions | None = None,
    *,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Any], None] = lambda row: None,
) -> Run:
    """Train a classifier on frozen features, measure it, and write a run folder.

    `out` is by default a folder below `runs/` that is named after the data. `recipe` says how the
    head is fitted, by default as a convex probe; `tellapart.OneCycle` trains it in epochs, and
    `on_epoch` gets each row of its table. Killed or interrupted, the same call completes the run with
    the same numbers, and repeats no forward pass.

    Raises DatasetError, RunError, ModelError or UsageError, each with the next step. Single pictures
    that cannot be used are in the run's `failures`.
    """
    options = _with_whole_path(options or TrainOptions())
    recipe = recipe or ConvexProbe()
    clock = _Clock()
    with clock.stage("scan"):
        dataset = data if isinstance(data, Dataset) else open_dataset(data, options)
        dataset.check_trainable()
        _check(options)
    config = _config(data, options, recipe)
    folder = _default_folder(config) if out is None else Path(out)
    with clock.stage("open"):
        embedder = _embedder(options, workers)
    claim_folder(folder, config, overwrite=overwrite)
    with clock.stage("embed"):
        features = embed(dataset.root, dataset.paths, embedder, progress=progress)
    dataset, values = _usable(dataset, features, options)
    with clock.stage("views"):
        seen = _seen_otherwise(dataset, embedder, recipe, progress)
    with clock.stage("probe"):
        task = new_task(
            dataset, values, [view.values for view in seen], embedder.backbone.dimensions,
            class_weight=options.class_weight, seed=options.seed, workers=embedder.workers,
            progress=partial(progress, "probe") if progress else lambda done, total: None,
            on_epoch=on_epoch,
        )  # fmt: skip
        fit = recipe.fit(task)
    with clock.stage("evaluate"):
        probabilities = _probabilities(dataset, values, fit)
        metrics = _metrics(dataset, probabilities)
    computed = sum(part.computed for part in (features, *seen))
    info = _info(dataset, embedder, fit, metrics, options, task.balanced, computed, clock)
    return write_run(folder, info, fit.probe, {**run_tables(dataset, probabilities), **fit.tables})


def _with_whole_path(options: TrainOptions) -> TrainOptions:
    """The weights' file as it can be found from any working directory."""
    if options.weights is None:
        return options
    return replace(options, weights=os.fspath(Path(options.weights).resolve()))


def _check(options: TrainOptions) -> None:
    if options.class_weight not in ("auto", "balanced", "none"):
        raise UsageError(f"class weight {options.class_weight!r}: use auto, balanced or none")
    if options.seed < 0:
        raise UsageError(f"the seed is {options.seed}; expected 0 or more")
    if not 0 <= options.valid < 1:
        raise UsageError(f"the share for validation is {options.valid}; expected 0 ≤ share < 1")


def _config(data: Dataset | str | Path, options: TrainOptions, recipe: Recipe) -> dict[str, Any]:
    """What tells one run from another: where the pictures are, or which they are, and the options."""
    asked = {**vars(options), "recipe": recipe.config()}
    if options.weights is not None:
        asked["weights_sha256"] = weights_file_hash(Path(options.weights))
    if isinstance(data, Dataset):
        root = os.fspath(data.root.resolve())
        return {"data": root, "fingerprint": data.fingerprint, **asked}
    return {"data": os.fspath(Path(data).resolve()), **asked}


def _default_folder(config: dict[str, Any]) -> Path:
    """The first of runs/NAME, runs/NAME-2, … that is free or holds this very run."""
    name = Path(config["data"]).stem or "run"
    number = 1
    while True:
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not folder.exists() or read_config(folder) == config:
            return folder
        number += 1


def _embedder(options: TrainOptions, workers: int | None) -> Embedder:
    backbone = open_backbone(options.backbone, options.weights)
    own = backbone.info.preprocess
    if options.size not in (None, own.size) and not backbone.info.any_size:
        raise UsageError(
            f"{options.backbone} sees {own.size} px and no other size; leave out --size {options.size}"
        )
    spec: PreprocessSpec = replace(own, size=options.size or own.size, fit=options.fit or own.fit)
    return Embedder(backbone, spec, runtime=options.runtime, workers=workers)


def _usable(dataset: Dataset, features: Features, options: TrainOptions) -> tuple[Dataset, Array]:
    """The pictures that could be embedded, divided into splits, with their features."""
    dataset = dataset.with_hashes(features.sha256).without(features.failures).without_lost_classes()
    if not len(dataset):
        first = dataset.failures[0]
        raise DatasetError(f"{dataset.root}: none of the pictures can be used. The first: {first}")
    if not dataset.is_split:
        dataset = dataset.with_split(options.valid, seed=options.seed)
    dataset.check_trainable()
    keep = np.setdiff1d(np.arange(len(features.values)), list(features.failures))
    return dataset, features.values if len(keep) == len(features.values) else features.values[keep]


def _seen_otherwise(
    dataset: Dataset, embedder: Embedder, recipe: Recipe, progress: Progress | None
) -> list[Features]:
    """The training pictures as the recipe's views show them."""
    rows = dataset.rows_of("train")
    return [
        embed_again(dataset, rows, embedder, view, progress=progress) for view in recipe.other_views
    ]


def _probabilities(dataset: Dataset, values: Array, fit: HeadFit) -> Array:
    """For the training part out-of-fold, for the others by the trained probe; float32 (N, K)."""
    answer = fit.probe.probabilities(values)
    answer[dataset.rows_of("train")] = fit.out_of_fold
    return answer


def _metrics(dataset: Dataset, probabilities: Array) -> dict[str, Metrics]:
    rows = dataset.rows_of("train")
    own = evaluate(probabilities[rows], dataset.targets[rows], dataset.classes)
    return {"out_of_fold": own, **held_out_metrics(dataset, probabilities)}


def held_out_metrics(dataset: Dataset, probabilities: Array) -> dict[str, Metrics]:
    """Of `valid`, `test` and both together, where they exist, for float32 (N, K) probabilities."""
    parts = {name: dataset.rows_of(name) for name in ("valid", "test")}
    if all(len(part) for part in parts.values()):
        parts["held_out"] = np.concatenate(list(parts.values()))
    return {
        name: evaluate(probabilities[part], dataset.targets[part], dataset.classes)
        for name, part in parts.items()
        if len(part)
    }


def _info(
    dataset: Dataset,
    embedder: Embedder,
    fit: HeadFit,
    metrics: dict[str, Metrics],
    options: TrainOptions,
    weighed: bool,
    computed: int,
    clock: "_Clock",
) -> dict[str, Any]:
    facts = embedder.backbone.info
    counts = dataset.counts()
    return {
        "format": 1,
        "classes": list(dataset.classes),
        "backbone": {
            "name": facts.name,
            "graph_sha256": embedder.backbone.graph_hash,
            "weights_sha256": facts.weights_sha256,
            "licence": facts.licence,
            "source": facts.source,
            "origin": facts.origin,
            "parameters": facts.parameters,
            "dimensions": embedder.backbone.dimensions,
        },
        "preprocess": embedder.preprocess.to_json(),
        "precision": embedder.precision,
        "dataset": {
            "root": os.fspath(dataset.root.absolute()),
            "fingerprint": dataset.fingerprint,
            "counts": {split: counts[split].to_dict() for split in counts},
            "failures": len(dataset.failures),
        },
        "options": vars(options),
        "probe": fit.facts,
        "metrics": {name: m.to_json() for name, m in metrics.items()},
        "notes": [*_weights_notes(facts), *_notes(dataset, weighed)],
        "fit_notes": list(fit.notes),
        "computed": computed,
        "seconds": clock.seconds,
        "versions": {
            "tellapart": version("tellapart"),
            "python": platform.python_version(),
            "onnxruntime": version("onnxruntime"),
        },
    }


def _weights_notes(facts: BackboneInfo) -> list[str]:
    if facts.origin == "package":
        return []
    return [f"the weights of {facts.name}: {facts.source}; their licence: {facts.licence}"]


def _notes(dataset: Dataset, weighed: bool) -> list[str]:
    notes = list(dataset.notes)
    counts = dataset.counts()["train"].sort_values(kind="stable")
    few, many = counts.index[0], counts.index[-1]
    if weighed:
        notes.append(
            f"every class weighs the same in training: {many!r} has {counts.iloc[-1]} pictures, "
            f"{few!r} has {counts.iloc[0]}"
        )
    if lone := [name for name, n in counts.items() if n == 1]:
        notes.append(
            f"only one training picture of {_listed(lone)}: how well it is recognised is not known"
        )
    if leaks := dataset.leaks():
        outside, inside = leaks[0]
        notes.append(
            f"{len(leaks)} held-out pictures are copies of training pictures, or of one group with them, "
            f"which flatters the figures: {outside} and {inside}, for example"
        )
    return notes


def _listed(names: Sequence[Any]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def run_tables(dataset: Dataset, probabilities: Array) -> Tables:
    """The CSV files of a run, for its pictures and float32 (N, K) probabilities."""
    best = probabilities.argmax(axis=1)
    rows = zip(dataset.paths, dataset.table["split"], dataset.labels, strict=True)
    header = ["path", "split", "label", "predicted", *(f"p_{name}" for name in dataset.classes)]
    predictions = (
        [*row, dataset.classes[best[i]], *(f"{p:.8f}" for p in probabilities[i])]
        for i, row in enumerate(rows)
    )
    return {
        "dataset.csv": (COLUMNS, dataset.table[list(COLUMNS)].itertuples(index=False)),
        "predictions.csv": (header, predictions),
        "failures.csv": (
            ("path", "reason", "detail"),
            ((f.path, f.reason, f.detail) for f in dataset.failures),
        ),
    }


class _Clock:
    """Seconds by stage, in the order in which they ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
