"""A stage with the network of the one before: only the head is trained on, on cached features."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from tellapart.data.atomic_file import write_atomically
from tellapart.data.dataset import Dataset
from tellapart.finetuning.explanation import Epoch
from tellapart.finetuning.finetune import weights_of_classes
from tellapart.finetuning.frozen import FrozenOptions, Vectors, train_head
from tellapart.finetuning.heads import Head
from tellapart.finetuning.one_cycle import OneCycle
from tellapart.finetuning.pictures import seed_of
from tellapart.finetuning.stages import (
    claim_stage,
    cycle_facts,
    held_out,
    planned_stage,
    run_dataset,
    write_stage,
)
from tellapart.training.embed import Embedder, Progress, embed_again
from tellapart.training.logistic import Array
from tellapart.training.run import Run, writing

__all__ = ["FrozenData", "frozen_data", "new_head", "train_frozen"]

_NETWORK = ("network.onnx", "network.safetensors")


@dataclass(frozen=True)
class FrozenData:
    """What a stage's network sees: `count` training pictures in all views, validation and held-out ones."""

    train: Vectors
    count: int
    valid: Vectors
    held_out: Array
    options: FrozenOptions
    computed: int


def train_frozen(
    run: Run | str | Path,
    options: OneCycle | None = None,
    *,
    fresh: bool = False,
    start: str | Run | None = None,
    name: str | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Epoch], None] = lambda row: None,
) -> Run:
    """Train the head of a run on in epochs, its network frozen; gives the new stage.

    The head goes on from where it is, or begins anew with `fresh`. The rest is as in `finetune`.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    options = options or OneCycle()
    asked = {"fresh": fresh, **options.config()}
    base, folder, config = planned_stage(run, start, name, asked)
    dataset = run_dataset(run)
    if finished := claim_stage(folder, config, overwrite=overwrite):
        return finished
    began = time.monotonic()
    data = frozen_data(run, base, dataset, options, workers=workers, progress=progress)
    head = new_head(base, data, options, fresh=fresh)
    history = train_head(head, data.train, data.options, data.valid, on_epoch=on_epoch)
    probe = head.probe()
    if "graph" in base.info["backbone"]:
        with writing(folder):
            for file in _NETWORK:
                write_atomically(folder / file, (base.folder / file).read_bytes())
    kind = {"recipe": "one-cycle", "features": probe.features}
    facts = {
        "replaceable": overwrite, "cycle": cycle_facts(data.options.cycle(data.train)),
        "probe": {**kind, "balanced": base.info["probe"]["balanced"]},
        "backbone": base.info["backbone"], "computed": data.computed,
        "one_cycle": {**asdict(options), "head": head.kind},
        "seconds": {"train": round(time.monotonic() - began, 3)},
    }  # fmt: skip
    probabilities = probe.probabilities(data.held_out)
    return write_stage(folder, run, base, dataset, probe, probabilities, history, facts)


def new_head(base: Run, data: FrozenData, options: OneCycle, *, fresh: bool) -> Head:
    """The head of a stage, or an untrained one."""
    if not fresh:
        return Head.of(base.probe)
    plain = data.train.features[: data.count].numpy()
    return Head.new(options.head, plain, len(base.classes), options.seed)


def frozen_data(
    run: Run,
    base: Run,
    dataset: Dataset,
    options: OneCycle,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> FrozenData:
    """The features of a run's pictures by the network of a stage; those that are cached are read."""
    embedder = Embedder(
        base.backbone(), base.preprocess, runtime=run.info["options"]["runtime"], workers=workers
    )

    seen = partial(embed_again, embedder=embedder, progress=progress)
    rows, valid = dataset.rows_of("train"), dataset.rows_of("valid")
    parts = [seen(dataset, rows, view=view) for view in (None, *options.other_views)]
    apart = held_out(dataset)
    others, shown = seen(apart, range(len(apart))), seen(dataset, valid)
    targets = dataset.targets
    frozen = options.frozen_options(weights_of_classes(base, dataset))
    seed = seed_of(options.seed, base.info.get("depth", 0))  # no stage repeats the one before
    return FrozenData(
        Vectors.of([part.values for part in parts], targets[rows]),
        len(rows),
        Vectors.of([shown.values], targets[valid]),
        others.values,
        replace(frozen, seed=seed),
        sum(part.computed for part in (*parts, others)),
    )
