"""The verb `finetune`: from a run to a stage of it with a network of its own, reading top to bottom.

A stage is a run folder below `RUN/stages`. It begins with the probe's solution and not with a random
head, and ends as an ONNX graph and a probe, so that all that is done with a run is done with a stage.
Several processes may call it together, on this machine or on others: the first one writes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from tellapart.data.dataset import Dataset
from tellapart.errors import RunError
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.classifier import Classifier
from tellapart.finetuning.explanation import Epoch
from tellapart.finetuning.finetune_options import FinetuneOptions
from tellapart.finetuning.group import Group, joined
from tellapart.finetuning.kept_activations import kept_below
from tellapart.finetuning.loop import LoopOptions, Step, Trained, train_epochs
from tellapart.finetuning.network import FeatureNetwork, load_network, tensors_hash
from tellapart.finetuning.one_cycle import class_weights
from tellapart.finetuning.pictures import Pictures, seed_of
from tellapart.finetuning.precision import keep_slow_layers_long
from tellapart.finetuning.scalars import Scalars
from tellapart.finetuning.schedule import Cycle, format_lr, layer_rates, one_cycle, parse_lr
from tellapart.finetuning.set_aside import set_aside
from tellapart.finetuning.stage_network import (
    held_out_answers,
    network_facts,
    shared_network,
    write_network,
)
from tellapart.finetuning.stages import (
    claim_stage,
    cycle_facts,
    planned_stage,
    run_dataset,
    write_stage,
)
from tellapart.training.embed import Progress
from tellapart.training.engine import Engine, LocalEngine, open_engine
from tellapart.training.run import Run

__all__ = [
    "finetune",
    "new_classifier",
    "split_pictures",
    "weights_of_classes",
]

_UNCUT = "the frozen layers run in each epoch anew: {reason}"
_IDLE = (
    "{size} processes train, and {idle} of them compute nothing: this stage was begun with {pieces} pieces "
    "of a step, and keeps them"
)


def finetune(
    run: Run | str | Path,
    options: FinetuneOptions | None = None,
    *,
    start: str | Run | None = None,
    name: str | None = None,
    overwrite: bool = False,
    workers: int | None = 2,
    progress: Progress | None = None,
    on_epoch: Callable[[Epoch], None] = lambda row: None,
    on_note: Callable[[str], None] = lambda note: None,
    tensorboard: str | Path | None = None,
    engine: str | Engine = "local",
    address: str | None = None,
) -> Run:
    """Unfreeze the network of a run and train it on; gives the new stage, a run of its own.

    `start` names the stage to begin with: `stage-1` is the run itself; by default the last one. `name`
    is the new one's, by default the next number; `overwrite` replaces a stage of that name. Killed or
    interrupted, the same call goes on and ends with the same weights; a finished stage is given as
    it is. `on_epoch` gets each row of the table when it is there, `on_note` what happens meanwhile that
    the user should know; it is among the stage's notes too. With a folder `tensorboard`, losses and
    rates are written for TensorBoard below it, in a folder of the stage's name.

    `workers` are processes that load pictures. With `engine="ray"` they are the processes that train, each
    on a CPU of the cluster at `address`, to the same numbers; None are as many as it has. All nodes must
    see the folders of the run and of its pictures. Processes that torchrun has started train together
    as they are: each calls this, and gets the stage.

    Raises RunError, UsageError or DatasetError, each with the next step; MissingExtra without Ray, and
    EngineError where the cluster does not answer or another process has ended.

    >>> stage = finetune("runs/mine", FinetuneOptions(epochs=2, lr="1e-5..1e-4"))  # doctest: +SKIP
    """
    run = run if isinstance(run, Run) else Run.load(run)
    options = options or FinetuneOptions()
    chosen = open_engine(engine, address=address, workers=None if engine == "local" else workers)
    if not isinstance(chosen, LocalEngine):
        return cast(_Elsewhere, chosen).finetune(
            run, options, start=start, name=name, overwrite=overwrite, progress=progress,
            on_epoch=on_epoch, on_note=on_note, tensorboard=tensorboard,
        )  # fmt: skip
    with joined() as group:
        job = _planned(run, start, name, options, group)

        def listeners() -> _Listeners:
            if not group.first:
                return _Listeners()
            scalars = None if tensorboard is None else Scalars(Path(tensorboard) / job.folder.name)
            return _Listeners(progress, on_epoch, on_note, scalars)

        return _finetuned(job, overwrite, 2 if workers is None else workers, listeners)


class _Elsewhere(Protocol):
    """An engine that trains on other machines."""

    def finetune(self, run: Run, options: FinetuneOptions, **dials: Any) -> Run: ...


@dataclass(frozen=True)
class _Job:
    """The stage to be made, of which all processes of the group know the same."""

    run: Run
    base: Run
    folder: Path
    config: dict[str, Any]
    options: FinetuneOptions
    group: Group


def _planned(
    run: Run, start: str | Run | None, name: str | None, options: FinetuneOptions, group: Group
) -> _Job:
    """What the first process has been asked for, looked up and planned by it alone."""
    facts = None
    if group.first:
        options = replace(options, pieces=max(options.pieces, group.size))
        base, folder, config = planned_stage(run, start, name, asdict(options))
        options = replace(options, pieces=config.get("pieces", 1))
        if group.size == 1:
            return _Job(run, base, folder, config, options, group)
        facts = {
            "base": str(base.folder), "folder": str(folder), "config": config,
            "options": asdict(options),
        }  # fmt: skip
    facts = group.told(facts)
    found = facts["options"]
    options = FinetuneOptions(**{**found, "transforms": Transforms(**found["transforms"])})
    base = Run.load(facts["base"])
    return _Job(run, base, Path(facts["folder"]), facts["config"], options, group)


def _finetuned(
    job: _Job, overwrite: bool, workers: int, listeners: Callable[[], "_Listeners"]
) -> Run:
    run, base, folder, options, group = job.run, job.base, job.folder, job.options, job.group
    dataset = run_dataset(run, checked=group.first)
    classifier = new_classifier(base, options)
    parts = _parts(dataset, base, options)
    told = listeners()
    finished = group.first and claim_stage(folder, job.config, overwrite=overwrite) is not None
    if group.told(finished):
        return Run.load(folder)
    checkpoint = folder / "checkpoint.safetensors"
    began = time.monotonic()
    loop = _loop_options(options, weights_of_classes(base, dataset), workers)
    trained = _train(classifier, parts, options, loop, checkpoint, told, group)
    written = write_network(classifier, run, folder) if group.first else None
    backbone = shared_network(written, classifier, folder, group)
    facts: dict[str, Any] = {
        "replaceable": overwrite,
        "probe": base.info["probe"],
        "backbone": network_facts(run, backbone),
        "cycle": cycle_facts(_cycle(options, classifier, parts.train)),
        "finetune": {**asdict(options), "lr": format_lr(parse_lr(options.lr))},
    }
    probabilities, facts["computed"] = held_out_answers(
        classifier.probe(), backbone, run, dataset, group
    )
    facts["seconds"] = {"finetune": round(time.monotonic() - began, 3)}
    if group.first:
        write_stage(
            folder, run, base, dataset, classifier.probe(), probabilities, trained.history, facts,
            notes=trained.notes,
        )  # fmt: skip
        checkpoint.unlink(missing_ok=True)
    group.wait()
    return Run.load(folder)


@dataclass(frozen=True)
class _Listeners:
    """Who is told of a training as it goes on; by default nobody."""

    progress: Progress | None = None
    on_epoch: Callable[[Epoch], None] = lambda row: None
    on_note: Callable[[str], None] = lambda note: None
    scalars: Scalars | None = None

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
    group: Group,
) -> Trained:
    cycle = _cycle(options, classifier, parts.train)
    with (
        closing(listeners),
        _kept(classifier, parts, options, loop, checkpoint.parent, listeners) as (parts, notes),
    ):
        if idle := max(0, group.size - options.pieces):
            notes = [*notes, _IDLE.format(size=group.size, idle=idle, pieces=options.pieces)]
            listeners.on_note(notes[-1])
        trained = train_epochs(
            classifier, parts.train, parts.valid, cycle, loop, checkpoint, aside=parts.aside,
            on_step=listeners.step, on_epoch=listeners.epoch, on_note=listeners.on_note, group=group,
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
    if options.pieces > 1:  # whose pictures are whose changes in each epoch: all would keep all
        yield parts, [_UNCUT.format(reason="several processes share the pictures out")]
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
        pieces=options.pieces,
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
