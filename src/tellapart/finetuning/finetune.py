"""The verb `finetune`: from a run to a stage of it with a network of its own, reading top to bottom.

A stage is a run folder below `RUN/stages`. It begins with the probe's solution and not with a random
head, and ends as an ONNX graph and a probe, so that all that is done with a run is done with a stage.
"""

import csv
import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save

from tellapart.data.atomic_file import write_atomically
from tellapart.data.dataset import COLUMNS, Dataset
from tellapart.data.hashing import sha256_of_files
from tellapart.errors import DatasetError, RunError, UsageError
from tellapart.evaluation.metrics import Metrics
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.classifier import Classifier, Unfreeze
from tellapart.finetuning.convert import as_backbone
from tellapart.finetuning.explanation import Epoch, StageOutcome, explain
from tellapart.finetuning.loop import LoopOptions, train_epochs
from tellapart.finetuning.network import FeatureNetwork, load_network, tensors_hash
from tellapart.finetuning.pictures import Pictures, seed_of
from tellapart.finetuning.schedule import Cycle, format_lr, layer_rates, one_cycle, parse_lr
from tellapart.model.backbone import Backbone
from tellapart.training.embed import Embedder, Progress, embed
from tellapart.training.probe import Probe, balanced_weights
from tellapart.training.run import Run, claim_folder, read_config, write_run
from tellapart.training.train import held_out_metrics, run_tables

__all__ = [
    "FinetuneOptions",
    "base_stage",
    "class_weights",
    "finetune",
    "identity",
    "new_classifier",
    "run_dataset",
    "split_pictures",
    "stage_folder",
]

FIRST = "stage-1"
_FIELDS = ("epoch", "train_loss", "valid_loss", "errors", "n", "seconds", "lr")


@dataclass(frozen=True)
class FinetuneOptions:
    """How to fine-tune. `lr` as text: one rate, or `1e-5..1e-4`, geometric from stem to head.

    `unfreeze` says how many of the network's last layer groups learn: `all`, `last` or a number.
    """

    epochs: int = 2
    lr: str = "1e-5..1e-4"
    unfreeze: str = "all"
    batch: int = 32
    transforms: Transforms = field(default_factory=Transforms)
    label_smoothing: float = 0.0
    weight_decay: float = 0.01
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
        parse_lr(self.lr)
        _ = self.groups

    @property
    def groups(self) -> Unfreeze:
        """`unfreeze` as `Classifier.unfreeze` takes it."""
        if self.unfreeze in ("all", "last"):
            return self.unfreeze  # type: ignore[return-value]
        if not self.unfreeze.isdecimal():
            raise UsageError(f"unfreeze is {self.unfreeze!r}; expected all, last or a number")
        return int(self.unfreeze)


def finetune(
    run: Run | str | Path,
    options: FinetuneOptions | None = None,
    *,
    start: str | None = None,
    name: str | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    on_epoch: Callable[[Epoch], None] = lambda row: None,
) -> Run:
    """Unfreeze the network of a run and train it on; gives the new stage, a run of its own.

    `start` names the stage to begin with: `stage-1` is the run itself; by default the last one. `name`
    is the new one's, by default the next number. Killed or interrupted, the same call goes on and ends
    with the same weights. `on_epoch` gets each row of the table when it is there.

    Raises RunError, UsageError or DatasetError, each with the next step.

    >>> stage = finetune("runs/mine", FinetuneOptions(epochs=2, lr="1e-5..1e-4"))  # doctest: +SKIP
    """
    run = run if isinstance(run, Run) else Run.load(run)
    options = options or FinetuneOptions()
    base = base_stage(run, start)
    dataset = run_dataset(run)
    classifier = new_classifier(base, options)
    config = {"of_run": identity(run), "from": base.info.get("stage", FIRST), **asdict(options)}
    folder = stage_folder(run, name, config)
    checkpoint = folder / "checkpoint.safetensors"
    if read_config(folder) != config:
        _refuse_finished(folder)
        checkpoint.unlink(missing_ok=True)  # of other options
    claim_folder(folder, config)
    began = time.monotonic()
    history = _train(classifier, base, dataset, options, checkpoint, workers, progress, on_epoch)
    backbone = _converted(classifier, run)
    write_atomically(folder / "network.safetensors", save(_weights(classifier)))
    write_atomically(folder / "network.onnx", backbone.graph)
    stage = _written(
        folder, run, base, dataset, classifier.probe(), backbone, history, options, began
    )
    checkpoint.unlink(missing_ok=True)
    return stage


def identity(run: Run) -> str:
    """What its stages belong to: SHA-256 over the pictures with their splits, the classes and the probe.

    A run that is trained anew in the same folder is another one.
    """
    digest = hashlib.sha256("\0".join(run.classes).encode("utf-8", "surrogateescape"))
    for name in ("dataset.csv", "probe.safetensors"):
        digest.update((run.folder / name).read_bytes())
    return digest.hexdigest()


def _refuse_finished(folder: Path) -> None:
    if (folder / "run.json").exists():
        raise RunError(f"{folder} is a stage with other options or data; choose another --name")


def stage_folder(run: Run, name: str | None, config: dict[str, Any] | None = None) -> Path:
    """Where a stage lies or is to lie: a named one, one of this configuration that was not finished,
    or the next free number."""
    stages = run.folder / "stages"
    if name is not None:
        if name == FIRST or not name or name.startswith(".") or "/" in name or "\\" in name:
            raise UsageError(f"a stage cannot be called {name!r}; use a name such as stage-2")
        return stages / name
    number = 2
    while (folder := stages / f"stage-{number}").exists():
        if not (folder / "run.json").exists() and read_config(folder) == config:
            return folder
        number += 1
    return folder


def base_stage(run: Run, start: str | None) -> Run:
    """The stage to begin with: `start`, or the last one that was finished, or the run itself.

    Raises UsageError where there is no such stage of this run, RunError for a stage given as a run.
    """
    if "of_run" in run.info:
        raise RunError(f"{run.folder} is a stage; give its run, and the stage by --from")
    own = identity(run)
    found = [Run.load(file.parent) for file in (run.folder / "stages").glob("*/run.json")]
    stages = {stage.folder.name: stage for stage in found if stage.info.get("of_run") == own}
    if start is None and stages:
        return max(stages.values(), key=lambda stage: stage.info["finished"])
    if start in (None, FIRST):
        return run
    if start not in stages:
        names = ", ".join([FIRST, *sorted(stages)])
        raise UsageError(f"{run.folder} has no stage {start!r} of its own; it has {names}")
    return stages[start]


def run_dataset(run: Run) -> Dataset:
    """The pictures of a run, with their splits. Raises RunError, or DatasetError where none validate."""
    root = Path(run.info["dataset"]["root"])
    if not root.is_dir():
        raise DatasetError(
            f"{root}, where the pictures of {run.folder} were, is not there any more"
        )
    dataset = Dataset.from_csv(run.folder / "dataset.csv", root=root)
    if list(dataset.classes) != list(run.classes):
        raise RunError(f"{run.folder}/dataset.csv does not fit its run. Train again.")
    if not len(dataset.rows_of("valid")):
        raise DatasetError(
            f"{run.folder} has no validation pictures to measure by; train with --valid 0.2 first"
        )
    _check_pictures(run, dataset)
    return dataset


def _check_pictures(run: Run, dataset: Dataset) -> None:
    """Raises DatasetError where a picture is not what the run was trained on."""
    with (run.folder / "dataset.csv").open(newline="", errors="surrogateescape") as file:
        wanted = {row["path"]: row["sha256"] for row in csv.DictReader(file)}
    found = sha256_of_files(dataset.root, dataset.paths)
    changed = [
        path for path, sha256 in zip(dataset.paths, found, strict=True) if wanted[path] != sha256
    ]
    if changed:
        raise DatasetError(
            f"{len(changed)} pictures in {dataset.root} have changed or are gone since "
            f"{run.folder} was trained, {changed[0]} among them. Train again, then fine-tune."
        )


def _train(
    classifier: Classifier,
    base: Run,
    dataset: Dataset,
    options: FinetuneOptions,
    checkpoint: Path,
    workers: int,
    progress: Progress | None,
    on_epoch: Callable[[Epoch], None],
) -> list[Epoch]:
    train = split_pictures(dataset, base, "train", options)
    valid = split_pictures(dataset, base, "valid", options)
    loop = LoopOptions(
        options.epochs, options.batch, options.weight_decay, options.label_smoothing,
        class_weights=class_weights(base, dataset), workers=workers, seed=options.seed,
    )  # fmt: skip
    cycle = _cycle(options, train.steps(options.batch), len(classifier.learning_groups()))

    def on_step(done: int, total: int) -> None:
        if progress is not None:
            progress("finetune", done, total)

    return train_epochs(
        classifier, train, valid, cycle, loop, checkpoint, on_step=on_step, on_epoch=on_epoch
    )


def new_classifier(base: Run, options: FinetuneOptions) -> Classifier:
    """What a stage has learned so far, ready to learn on."""
    classifier = Classifier(_network(base), base.probe)
    classifier.unfreeze(options.groups)
    return classifier


def _network(base: Run) -> FeatureNetwork:
    """With the stage's own weights, where it has some, and only with those that the probe knows."""
    facts = base.info["backbone"]
    own = "graph" in facts
    weights = base.folder / "network.safetensors" if own else base.info["options"].get("weights")
    network = load_network(facts["name"], None if weights is None else Path(weights))
    found = tensors_hash(network.model) if own else network.info.weights_sha256
    if found != facts["weights_sha256"]:
        raise RunError(
            f"{weights or facts['name']} holds other weights than {base.folder} was trained with. "
            "Put them back, or train again."
        )
    return network


def split_pictures(dataset: Dataset, base: Run, split: str, options: FinetuneOptions) -> Pictures:
    """The pictures of one split; those to train on are changed at random."""
    rows = dataset.rows_of(split)
    paths = [dataset.paths[row] for row in rows]
    targets = [int(target) for target in dataset.targets[rows]]
    transforms = options.transforms if split == "train" else None
    seed = seed_of(options.seed, base.info.get("depth", 0))  # no stage repeats the one before
    return Pictures(dataset.root, paths, targets, base.preprocess, transforms, seed)


def class_weights(base: Run, dataset: Dataset) -> tuple[float, ...] | None:
    """By class, with mean 1 over the pictures; None where the probe weighed none."""
    if not base.info["probe"]["balanced"]:
        return None
    targets = dataset.targets[dataset.rows_of("train")]
    weights = balanced_weights(targets, len(dataset.classes))
    places = [int(np.flatnonzero(targets == k)[0]) for k in range(len(dataset.classes))]
    return tuple(float(weights[place]) for place in places)


def _cycle(options: FinetuneOptions, steps: int, groups: int) -> Cycle:
    """As fastai's fine_tune has it for the unfrozen part: div 5, pct_start 0.3."""
    rates = layer_rates(parse_lr(options.lr), groups)
    return one_cycle(steps * options.epochs, rates, div=5.0, pct_start=0.3)


def _converted(classifier: Classifier, run: Run) -> Backbone:
    network = classifier.network
    info = replace(
        network.info, origin="training", weights_sha256=tensors_hash(network.model),
        source=f"fine-tuned from: {run.info['backbone']['source']}", preprocess=run.preprocess,
    )  # fmt: skip
    return as_backbone(network, info)


def _weights(classifier: Classifier) -> dict[str, Any]:
    state = classifier.network.model.state_dict()
    return {name: tensor.detach().contiguous() for name, tensor in state.items()}


def _written(
    folder: Path,
    run: Run,
    base: Run,
    dataset: Dataset,
    probe: Probe,
    backbone: Backbone,
    history: list[Epoch],
    options: FinetuneOptions,
    began: float,
) -> Run:
    """Measure by the graph, as everybody will use it, and write the stage."""
    held_out = _held_out(dataset)
    embedder = Embedder(backbone, run.preprocess, runtime=run.info["options"]["runtime"])
    features = embed(dataset.root, held_out.paths, embedder)
    if features.failures:
        first = next(iter(features.failures.values()))
        raise DatasetError(f"a picture has changed while the network was trained: {first}")
    probabilities = probe.probabilities(features.values)
    metrics = held_out_metrics(held_out, probabilities)
    outcome = _outcome(folder.name, held_out, probabilities, metrics)
    before = _before(base, held_out)
    findings = (
        explain(history, before, outcome, classes=run.classes) if before else explain(history)
    )
    facts = {
        **run.info["backbone"], "graph": "network.onnx", "graph_sha256": backbone.graph_hash,
        "weights_sha256": backbone.info.weights_sha256, "source": backbone.info.source,
        "origin": "training", "layout": backbone.layout, "info": backbone.info.to_json(),
    }  # fmt: skip
    info = {
        **run.info, "backbone": facts, "stage": folder.name, "of_run": identity(run),
        "from": base.info.get("stage", FIRST), "depth": base.info.get("depth", 0) + 1,
        "finished": time.time(),
        "finetune": {**asdict(options), "lr": format_lr(parse_lr(options.lr))},
        "metrics": {name: m.to_json() for name, m in metrics.items()},
        "notes": [*run.notes, *(f"{finding}".rstrip(".") for finding in findings)],
        "computed": features.computed, "seconds": {"finetune": round(time.monotonic() - began, 3)},
    }  # fmt: skip
    tables = run_tables(held_out, probabilities)
    whole = dataset.table[list(COLUMNS)].itertuples(index=False)
    rows = [[getattr(row, name) for name in _FIELDS] for row in history]
    tables |= {"dataset.csv": (COLUMNS, whole), "history.csv": (_FIELDS, rows)}
    return write_run(folder, info, probe, tables)


def _held_out(dataset: Dataset) -> Dataset:
    rows = dataset.table[dataset.table["split"] != "train"][list(COLUMNS)]
    chosen = Dataset.from_rows(dataset.root, [tuple(row) for row in rows.itertuples(index=False)])
    return replace(chosen, classes=dataset.classes)


def _outcome(
    name: str, dataset: Dataset, probabilities: NDArray[np.float32], metrics: dict[str, Metrics]
) -> StageOutcome:
    rows = dataset.rows_of("valid")
    correct = probabilities[rows].argmax(axis=1) == dataset.targets[rows]
    return StageOutcome(name, correct, metrics["valid"].log_loss)


def _before(base: Run, dataset: Dataset) -> StageOutcome | None:
    """What the stage before said of the same validation pictures, by its own predictions."""
    predicted = {row[0]: row[3] == row[2] for row in base.predictions() if row[1] == "valid"}
    paths = [dataset.paths[row] for row in dataset.rows_of("valid")]
    if any(path not in predicted for path in paths):
        return None
    correct = np.asarray([predicted[path] for path in paths], bool)
    name = base.info.get("stage", FIRST)
    return StageOutcome(name, correct, base.metrics["valid"].log_loss)
