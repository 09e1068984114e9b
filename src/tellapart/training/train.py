"""The verb `train`: from a Dataset to a Run, reading top to bottom."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from tellapart.data.dataset import COLUMNS, Dataset
from tellapart.data.open_data import open_data
from tellapart.data.places import as_url, place_name
from tellapart.data.retrying import counting_retries, retries_sentence
from tellapart.errors import UsageError
from tellapart.evaluation.leaks import LeakEffect, leak_effect
from tellapart.evaluation.metrics import Metrics, evaluate
from tellapart.model.backbone import BackboneInfo
from tellapart.model.backbones import open_backbone, weights_file_hash
from tellapart.model.preprocess import Fit, PreprocessSpec
from tellapart.model.presets import find_preset
from tellapart.training.clock import Clock
from tellapart.training.embed import Embedder, Features, Progress, embed_again
from tellapart.training.engine import Engine, open_engine
from tellapart.training.logistic import Array
from tellapart.training.recipe import ConvexProbe, HeadFit, Recipe, new_task
from tellapart.training.row_blocks import memory_budget
from tellapart.training.run import Run, Tables, claim_folder, read_config, write_run
from tellapart.training.trust import TARGET_ERROR, Trust, fit_trust
from tellapart.training.usable import usable_pictures

__all__ = [
    "ClassWeight",
    "TrainOptions",
    "held_out_metrics",
    "open_dataset",
    "open_embedder",
    "run_tables",
    "train",
]

ClassWeight = Literal["auto", "balanced", "none"]


@dataclass(frozen=True)
class TrainOptions:
    """How to train. `valid` is the share set aside where the data is not divided already.

    `backbone` is an embedded one or a name of timm's; `weights` a file of weights to use in the place
    of its own. `size` (px) and `fit` replace the backbone's own; `class_weight` says whether every
    class counts the same (`balanced`), every picture does (`none`), or that is decided by the counts
    (`auto`).
    `target_error` is the share of answers called sure that may be wrong.
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
    target_error: float = TARGET_ERROR
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
    """A dataset from a folder, a table (.csv, .parquet), tar shards, or the URL of one of them."""
    named = options or TrainOptions()
    return open_data(data, train=named.train_dir, valid=named.valid_dir, test=named.test_dir)


def train(
    data: Dataset | str | Path,
    out: str | Path | None = None,
    options: TrainOptions | None = None,
    *,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    engine: str | Engine = "local",
    address: str | None = None,
    store: str | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Any], None] = lambda row: None,
) -> Run:
    """Train a classifier on frozen features, measure it, and write a run folder.

    `out` is by default a folder below `runs/` that is named after the data. `recipe` says how the
    head is fitted, by default as a convex probe; `tellapart.OneCycle` trains it in epochs, and
    `on_epoch` gets each row of its table. Killed or interrupted, the same call completes the run with
    the same numbers, and repeats no forward pass. With the `engine` ray the pictures are looked at by
    `workers` tasks at a time on the cluster at `address`; the run is the same (`open_engine`).

    Raises DatasetError, RunError, ModelError or UsageError, each with the next step. Single pictures
    that cannot be used are in the run's `failures`.
    """
    options = _with_whole_path(options or TrainOptions())
    recipe = recipe or ConvexProbe()
    looking = open_engine(engine, address=address, workers=workers, store=store)
    clock = Clock()
    with clock.stage("scan"), counting_retries() as listing:
        dataset = data if isinstance(data, Dataset) else open_dataset(data, options)
        dataset.check_trainable()
        _check(options)
    config = _config(data, options, recipe)
    folder = _default_folder(config) if out is None else Path(out)
    with clock.stage("open"):
        embedder = open_embedder(options, None if engine == "ray" else workers)
    claim_folder(folder, config, overwrite=overwrite)
    with clock.stage("embed"), counting_retries() as retries:
        features = looking.embed(dataset.root, dataset.paths, embedder, progress=progress)
    with clock.stage("copies"):
        search = looking.copy_search(dataset.root, dataset.paths, embedder, features)
        usable = usable_pictures(dataset, features, embedder, search=search, progress=progress)
    dataset, values = _divided(usable.dataset, options), usable.values
    with clock.stage("views"), counting_retries() as later:
        seen = _seen_otherwise(dataset, embedder, recipe, looking, progress)
    with clock.stage("probe"):
        task = new_task(
            dataset, values, [view.values for view in seen], embedder.backbone.dimensions,
            class_weight=options.class_weight, seed=options.seed, workers=embedder.workers,
            progress=partial(progress, "probe") if progress else lambda done, total: None,
            on_epoch=on_epoch,
        )  # fmt: skip
        fit = recipe.fit(task)
    with clock.stage("trust"):
        fit, trust = fit_trust(task, fit, options.target_error)
    with clock.stage("evaluate"):
        probabilities = _probabilities(dataset, values, fit)
        metrics, effect = _metrics(dataset, probabilities), _leaks(dataset, probabilities)
    again = filter(None, [retries_sentence(listing + retries + later)])
    computed = sum(part.computed for part in (features, *seen))
    info = _info(dataset, embedder, fit, metrics, options, task.balanced, computed, clock)
    info |= {
        "notes": [*info["notes"], *_copy_notes(dataset, effect), *trust.notes, *again],
        "leaks": effect and effect.to_json(),
        "trust": _trusted(trust, dataset, probabilities),
    }
    tables = {**run_tables(dataset, probabilities), **fit.tables}
    return write_run(folder, info, fit.probe, tables, trust)


def _with_whole_path(options: TrainOptions) -> TrainOptions:
    """The weights' file as it can be found from any working directory."""
    if options.weights is None:
        return options
    return replace(options, weights=os.fspath(Path(options.weights).resolve()))


def _check(options: TrainOptions) -> None:
    memory_budget()  # what is wrong with it is said before the work
    if options.class_weight not in ("auto", "balanced", "none"):
        raise UsageError(f"class weight {options.class_weight!r}: use auto, balanced or none")
    if options.seed < 0:
        raise UsageError(f"the seed is {options.seed}; expected 0 or more")
    if not 0 < options.target_error < 1:
        raise UsageError(f"the target error is {options.target_error}; expected 0 < share < 1")
    if not 0 <= options.valid < 1:
        raise UsageError(f"the share for validation is {options.valid}; expected 0 ≤ share < 1")


def _config(data: Dataset | str | Path, options: TrainOptions, recipe: Recipe) -> dict[str, Any]:
    """What tells one run from another: where the pictures are, or which they are, and the options."""
    asked = {**vars(options), "recipe": recipe.config()}
    if options.weights is not None:
        asked["weights_sha256"] = weights_file_hash(Path(options.weights))
    if isinstance(data, Dataset):
        root = data.source or os.fspath(data.root.resolve())
        return {"data": root, "fingerprint": data.fingerprint, **asked}
    return {"data": as_url(data) or os.fspath(Path(data).resolve()), **asked}


def _default_folder(config: dict[str, Any]) -> Path:
    """The first of runs/NAME, runs/NAME-2, … that is free or holds this very run."""
    name = place_name(config["data"]) or "run"
    number = 1
    while True:
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not folder.exists() or read_config(folder) == config:
            return folder
        number += 1


def open_embedder(options: TrainOptions, workers: int | None = None) -> Embedder:
    """The network, preprocessing and runtime of these options. Raises UsageError, ModelError."""
    backbone = open_backbone(options.backbone, options.weights)
    own = backbone.info.preprocess
    if options.size not in (None, own.size) and not backbone.info.any_size:
        raise UsageError(
            f"{options.backbone} sees {own.size} px and no other size; leave out --size {options.size}"
        )
    spec: PreprocessSpec = replace(own, size=options.size or own.size, fit=options.fit or own.fit)
    return Embedder(backbone, spec, runtime=options.runtime, workers=workers)


def _divided(dataset: Dataset, options: TrainOptions) -> Dataset:
    """With splits, where it has none."""
    if not dataset.is_split:
        dataset = dataset.with_split(options.valid, seed=options.seed)
    dataset.check_trainable()
    return dataset


def _seen_otherwise(
    dataset: Dataset,
    embedder: Embedder,
    recipe: Recipe,
    looking: Engine,
    progress: Progress | None,
) -> list[Features]:
    """The training pictures as the recipe's views show them."""
    rows = dataset.rows_of("train")
    look = partial(embed_again, dataset, rows, embedder, progress=progress, look=looking.embed)
    return [look(view) for view in recipe.other_views]


def _probabilities(dataset: Dataset, values: Array, fit: HeadFit) -> Array:
    """For the training part out-of-fold, for the others by the trained probe; float32 (N, K)."""
    answer = fit.probe.probabilities(values)
    answer[dataset.rows_of("train")] = fit.out_of_fold
    return answer


def _trusted(trust: Trust, dataset: Dataset, probabilities: Array) -> dict[str, Any]:
    """What run.json says of it, with the calibration of the held-out parts."""
    values, targets = trust.to_json(), dataset.targets
    for name in ("valid", "test"):
        if len(part := dataset.rows_of(name)):
            measured = trust.calibration_of(probabilities[part], targets[part])
            values["calibration"][name] = measured
    return values


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
    clock: Clock,
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
            "root": dataset.source or os.fspath(dataset.root.absolute()),
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
    return notes


def _copy_notes(dataset: Dataset, effect: LeakEffect | None) -> list[str]:
    """How many copies there are, and what those on both sides of a split do to the figures."""
    notes = []
    copies = len(dataset) - len(np.unique(dataset.groups))
    if copies:
        notes.append(
            f"{copies} pictures are copies of others, exact or near, or of one group with them; they are "
            "kept together in each fold and in a split that is made here. tellapart check shows them"
        )
    if effect is not None:
        outside, inside = dataset.leaks()[0]
        notes.append(f"{effect.sentence()}. For example {outside} and {inside}")
    return notes


def _leaks(dataset: Dataset, probabilities: Array) -> LeakEffect | None:
    """What held-out copies of training pictures do to the figures."""
    outside = np.flatnonzero((dataset.table["split"] != "train").to_numpy())
    leaked = np.isin(dataset.groups[outside], dataset.groups[dataset.rows_of("train")])
    return leak_effect(probabilities[outside], dataset.targets[outside], leaked, dataset.classes)


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
