"""The verb `finetune`: from a run to a stage of it with a network of its own, reading top to bottom.

A stage is a run folder below `RUN/stages`. It begins with the probe's solution and not with a random
head, and ends as an ONNX graph and a probe, so that all that is done with a run is done with a stage.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save

from tellapart.data.atomic_file import write_atomically
from tellapart.data.dataset import Dataset
from tellapart.errors import RunError
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.classifier import Classifier
from tellapart.finetuning.convert import as_backbone
from tellapart.finetuning.explanation import Epoch
from tellapart.finetuning.finetune_options import FinetuneOptions
from tellapart.finetuning.kept_activations import kept_below
from tellapart.finetuning.loop import LoopOptions, Step, Trained, train_epochs
from tellapart.finetuning.network import FeatureNetwork, load_network, tensors_hash
from tellapart.finetuning.one_cycle import class_weights
from tellapart.finetuning.pictures import Pictures, seed_of
from tellapart.finetuning.precision import keep_slow_layers_long
from tellapart.finetuning.scalars import Scalars
from tellapart.finetuning.schedule import Cycle, format_lr, layer_rates, one_cycle, parse_lr
from tellapart.finetuning.set_aside import set_aside
from tellapart.finetuning.stages import (
    claim_stage,
    cycle_facts,
    held_out,
    planned_stage,
    run_dataset,
    write_stage,
)
from tellapart.model.backbone import Backbone
from tellapart.training.embed import Embedder, Progress, embed_again
from tellapart.training.probe import Probe
from tellapart.training.run import Run, writing

__all__ = [
    "finetune",
    "new_classifier",
    "split_pictures",
    "weights_of_classes",
]

_UNCUT = "the frozen layers run in each epoch anew: {reason}"


def finetune(
    run: Run | str | Path,
    options: FinetuneOptions | None = None,
    *,
    start: str | Run | None = None,
    name: str | None = None,
    overwrite: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
    on_epoch: Callable[[Epoch], None] = lambda row: None,
    on_note: Callable[[str], None] = lambda note: None,
    tensorboard: str | Path | None = None,
) -> Run:
    """Unfreeze the network of a run and train it on; gives the new stage, a run of its own.

    `start` names the stage to begin with: `stage-1` is the run itself; by default the last one. `name`
    is the new one's, by default the next number; `overwrite` replaces a stage of that name. Killed or
    interrupted, the same call goes on and ends with the same weights; a finished stage is given as
    it is. `on_epoch` gets each row of the table when it is there, `on_note` what happens meanwhile that
    the user should know; it is among the stage's notes too. With a folder `tensorboard`, losses and
    rates are written for TensorBoard below it, in a folder of the stage's name.

    Raises RunError, UsageError or DatasetError, each with the next step.

    >>> stage = finetune("runs/mine", FinetuneOptions(epochs=2, lr="1e-5..1e-4"))  # doctest: +SKIP
    """
    run = run if isinstance(run, Run) else Run.load(run)
    options = options or FinetuneOptions()
    base, folder, config = planned_stage(run, start, name, asdict(options))
    dataset = run_dataset(run)
    classifier = new_classifier(base, options)
    parts = _parts(dataset, base, options)
    scalars = None if tensorboard is None else Scalars(Path(tensorboard) / folder.name)
    if finished := claim_stage(folder, config, overwrite=overwrite):
        return finished
    checkpoint = folder / "checkpoint.safetensors"
    began = time.monotonic()
    loop = _loop_options(options, weights_of_classes(base, dataset), workers)
    listeners = _Listeners(progress, on_epoch, on_note, scalars)
    trained = _train(classifier, parts, options, loop, checkpoint, listeners)
    backbone = _converted(classifier, run)
    with writing(folder):
        write_atomically(folder / "network.safetensors", save(_weights(classifier)))
        write_atomically(folder / "network.onnx", backbone.graph)
    facts: dict[str, Any] = {
        "replaceable": overwrite,
        "probe": base.info["probe"],
        "backbone": _facts(run, backbone),
        "cycle": cycle_facts(_cycle(options, classifier, parts.train)),
        "finetune": {**asdict(options), "lr": format_lr(parse_lr(options.lr))},
    }
    probabilities, facts["computed"] = _answers(classifier.probe(), backbone, run, dataset)
    facts["seconds"] = {"finetune": round(time.monotonic() - began, 3)}
    stage = write_stage(
        folder, run, base, dataset, classifier.probe(), probabilities, trained.history, facts,
        notes=trained.notes,
    )  # fmt: skip
    checkpoint.unlink(missing_ok=True)
    return stage


@dataclass(frozen=True)
class _Listeners:
    """Who is told of a training as it goes on."""

    progress: Progress | None
    on_epoch: Callable[[Epoch], None]
    on_note: Callable[[str], None]
    scalars: Scalars | None

    def step(self, step: Step) -> None:
        if self.progress is not None:
            self.progress("finetune", step.done, step.total)
        if self.scalars is not None:
            self.scalars.step(step)

    def picture(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress("embed", done, total)

    def epoch(self, row: Epoch) -> None:
        if self.scalars is not None:
            self.scalars.epoch(row)
        self.on_epoch(row)

    def close(self) -> None:
        if self.scalars is not None:
            self.scalars.close()


@dataclass(frozen=True)
class _Parts:
    """The pictures to train on, to measure by, and those that decide when training ends."""

    train: Pictures
    valid: Pictures
    aside: Pictures | None


def _train(
    classifier: Classifier,
    parts: _Parts,
    options: FinetuneOptions,
    loop: LoopOptions,
    checkpoint: Path,
    listeners: _Listeners,
) -> Trained:
    cycle = _cycle(options, classifier, parts.train)
    with (
        closing(listeners),
        _kept(classifier, parts, options, loop, checkpoint.parent, listeners) as (parts, notes),
    ):
        trained = train_epochs(
            classifier, parts.train, parts.valid, cycle, loop, checkpoint, aside=parts.aside,
            on_step=listeners.step, on_epoch=listeners.epoch, on_note=listeners.on_note,
        )  # fmt: skip
        return replace(trained, notes=[*notes, *trained.notes])


@contextmanager
def _kept(
    classifier: Classifier,
    parts: _Parts,
    options: FinetuneOptions,
    loop: LoopOptions,
    folder: Path,
    listeners: _Listeners,
) -> Iterator[tuple[_Parts, list[str]]]:
    """The pictures as the frozen layers see them, where some are frozen and some learn; and notes."""
    learn = {parameter.requires_grad for parameter in classifier.network.parameters()}
    if learn != {True, False} or not options.views:
        yield parts, []
        return
    if options.mixup or options.cutmix:
        yield parts, [_UNCUT.format(reason="they see pictures that are mixed in each step")]
        return
    names = [name for name in ("train", "valid", "aside") if getattr(parts, name) is not None]
    with kept_below(
        classifier, [getattr(parts, name) for name in names], loop.batch,
        min(options.views, options.epochs), folder,
        workers=loop.workers, on_picture=listeners.picture,
    ) as kept:  # fmt: skip
        notes = [_UNCUT.format(reason=kept.refusal)] if kept.refusal else []
        for note in notes:
            listeners.on_note(note)
        yield replace(parts, **dict(zip(names, kept.pictures, strict=True))), notes


def _loop_options(
    options: FinetuneOptions, weights: tuple[float, ...] | None, workers: int
) -> LoopOptions:
    return LoopOptions(
        options.epochs, options.batch, options.weight_decay, options.label_smoothing,
        class_weights=weights, workers=workers, seed=options.seed, accumulate=options.accumulate,
        mixup=options.mixup, cutmix=options.cutmix, ema=options.ema, patience=options.patience,
    )  # fmt: skip


def new_classifier(base: Run, options: FinetuneOptions) -> Classifier:
    """What a stage has learned so far, ready to learn on."""
    network = _network(base)
    keep_slow_layers_long(network.model)
    classifier = Classifier(network, base.probe)
    classifier.unfreeze(options.groups)
    return classifier


def _network(base: Run) -> FeatureNetwork:
    """With the stage's own weights, where it has some, and only with those that the probe knows."""
    facts = base.info["backbone"]
    own = "graph" in facts
    weights = base.folder / "network.safetensors" if own else base.info["options"].get("weights")
    if own and not (base.folder / "network.safetensors").exists():
        raise RunError(
            f"{base.folder} holds no weights to train on, only a graph to predict with. Fine-tune the "
            "run that it was exported from."
        )
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
    transforms = options.transforms if split == "train" else None
    return _pictures(dataset, base, dataset.rows_of(split), options, transforms)


def _parts(dataset: Dataset, base: Run, options: FinetuneOptions) -> _Parts:
    train = split_pictures(dataset, base, "train", options)
    valid = split_pictures(dataset, base, "valid", options)
    if not options.patience:
        return _Parts(train, valid, None)
    rows, aside = set_aside(dataset, options.seed)
    train = _pictures(dataset, base, rows, options, options.transforms)
    return _Parts(train, valid, _pictures(dataset, base, aside, options, None))


def _pictures(
    dataset: Dataset,
    base: Run,
    rows: NDArray[np.intp],
    options: FinetuneOptions,
    transforms: Transforms | None,
) -> Pictures:
    paths = [dataset.paths[row] for row in rows]
    targets = [int(target) for target in dataset.targets[rows]]
    seed = seed_of(options.seed, base.info.get("depth", 0))  # no stage repeats the one before
    return Pictures(dataset.root, paths, targets, base.preprocess, transforms, seed)


def weights_of_classes(base: Run, dataset: Dataset) -> tuple[float, ...] | None:
    """By class, with mean 1 over the training pictures; None where the probe weighed none."""
    if not base.info["probe"]["balanced"]:
        return None
    return class_weights(dataset.targets[dataset.rows_of("train")], len(dataset.classes))


def _cycle(options: FinetuneOptions, classifier: Classifier, train: Pictures) -> Cycle:
    rates = layer_rates(parse_lr(options.lr), len(classifier.learning_groups()))
    steps = options.epochs * train.steps(options.batch * options.accumulate)
    return one_cycle(steps, rates, div=options.div, pct_start=options.pct_start)


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
    part = held_out(dataset)
    features = embed_again(part, range(len(part)), embedder)
    return probe.probabilities(features.values), features.computed


def _facts(run: Run, backbone: Backbone) -> dict[str, Any]:
    return {
        **run.info["backbone"], "graph": "network.onnx", "graph_sha256": backbone.graph_hash,
        "weights_sha256": backbone.info.weights_sha256, "source": backbone.info.source,
        "origin": "training", "layout": backbone.layout, "info": backbone.info.to_json(),
    }  # fmt: skip
