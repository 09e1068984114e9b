"""The verb `finetune`: from a run to a stage of it with a network of its own, reading top to bottom.

A stage is a run folder below `RUN/stages`. It begins with the probe's solution and not with a random
head, and ends as an ONNX graph and a probe, so that all that is done with a run is done with a stage.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save

from tellapart.data.atomic_file import write_atomically
from tellapart.data.dataset import Dataset
from tellapart.errors import DatasetError, RunError, UsageError
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.classifier import Classifier, Unfreeze
from tellapart.finetuning.convert import as_backbone
from tellapart.finetuning.explanation import Epoch
from tellapart.finetuning.loop import LoopOptions, train_epochs
from tellapart.finetuning.network import FeatureNetwork, load_network, tensors_hash
from tellapart.finetuning.pictures import Pictures, seed_of
from tellapart.finetuning.schedule import Cycle, format_lr, layer_rates, one_cycle, parse_lr
from tellapart.finetuning.stages import (
    FIRST,
    base_stage,
    held_out,
    identity,
    run_dataset,
    stage_folder,
    write_stage,
)
from tellapart.model.backbone import Backbone
from tellapart.training.embed import Embedder, Progress, embed
from tellapart.training.probe import Probe, balanced_weights
from tellapart.training.run import Run, claim_folder, read_config

__all__ = [
    "FinetuneOptions",
    "class_weights",
    "finetune",
    "new_classifier",
    "split_pictures",
]


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
    finished = (folder / "run.json").exists()
    if read_config(folder) == config:
        if finished:
            return Run.load(folder)
    elif finished:
        raise RunError(f"{folder} is a stage with other options or data; choose another --name")
    else:
        checkpoint.unlink(missing_ok=True)  # of other options
    claim_folder(folder, config)
    began = time.monotonic()
    history = _train(classifier, base, dataset, options, checkpoint, workers, progress, on_epoch)
    backbone = _converted(classifier, run)
    write_atomically(folder / "network.safetensors", save(_weights(classifier)))
    write_atomically(folder / "network.onnx", backbone.graph)
    facts: dict[str, Any] = {
        "backbone": _facts(run, backbone),
        "finetune": {**asdict(options), "lr": format_lr(parse_lr(options.lr))},
    }
    probabilities, facts["computed"] = _answers(classifier.probe(), backbone, run, dataset)
    facts["seconds"] = {"finetune": round(time.monotonic() - began, 3)}
    stage = write_stage(
        folder, run, base, dataset, classifier.probe(), probabilities, history, facts
    )
    checkpoint.unlink(missing_ok=True)
    return stage


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


def _answers(
    probe: Probe, backbone: Backbone, run: Run, dataset: Dataset
) -> tuple[NDArray[np.float32], int]:
    """Probabilities of the held-out pictures by the graph, as everybody will use it."""
    embedder = Embedder(backbone, run.preprocess, runtime=run.info["options"]["runtime"])
    features = embed(dataset.root, held_out(dataset).paths, embedder)
    if features.failures:
        first = next(iter(features.failures.values()))
        raise DatasetError(f"a picture has changed while the network was trained: {first}")
    return probe.probabilities(features.values), features.computed


def _facts(run: Run, backbone: Backbone) -> dict[str, Any]:
    return {
        **run.info["backbone"], "graph": "network.onnx", "graph_sha256": backbone.graph_hash,
        "weights_sha256": backbone.info.weights_sha256, "source": backbone.info.source,
        "origin": "training", "layout": backbone.layout, "info": backbone.info.to_json(),
    }  # fmt: skip
