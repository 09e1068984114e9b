"""From a data set, or a run on it, to the `Subject` that checks, reviews and reports look at."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tellapart.audit.subject import Subject
from tellapart.data.dataset import Dataset
from tellapart.errors import UsageError
from tellapart.training.embed import Embedder, Progress
from tellapart.training.engine import Engine, LocalEngine
from tellapart.training.run import Run
from tellapart.training.train import TrainOptions, open_dataset, open_embedder
from tellapart.training.usable import usable_pictures

__all__ = ["Opened", "open_subject"]

Stage = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True)
class Opened:
    """A subject, what embedded it, and sentences for the user about how they fit together."""

    subject: Subject
    embedder: Embedder
    run: Run | None
    notes: tuple[str, ...]


def open_subject(
    data: Dataset | str | Path,
    *,
    run: Run | str | Path | None = None,
    options: TrainOptions | None = None,
    workers: int | None = None,
    engine: Engine | None = None,
    progress: Progress | None = None,
    stage: Stage = nullcontext,
) -> Opened:
    """Every picture embedded once, or known from before, and its copies found.

    `run`, or a stage of it, says with which network to look and which pictures were set aside; without
    one the default network looks, or that of `options`; `engine` says where. `stage(name)` is a context
    for each part of the work: scan, embed, copies.

    Raises DatasetError where no picture can be used, UsageError for a run on other pictures, RunError.
    """
    chosen = run if isinstance(run, Run) or run is None else Run.load(run)
    options = options or TrainOptions()
    looking = engine or LocalEngine()
    notes: list[str] = []
    with stage("scan"):
        dataset = data if isinstance(data, Dataset) else open_dataset(data, options)
        dataset = dataset if chosen is None else _divided_as(dataset, chosen, notes)
    with stage("embed"):
        embedder = _embedder(chosen, options, workers)
        features = looking.embed(dataset.root, dataset.paths, embedder, progress=progress)
    with stage("copies"):
        search = looking.copy_search(dataset.root, dataset.paths, embedder, features)
        usable = usable_pictures(dataset, features, embedder, search=search, progress=progress)
    subject = Subject(
        usable.dataset, usable.values, embedder.backbone.dimensions["final"], usable.facts,
        usable.copies, options.seed, embedder.workers,
    )  # fmt: skip
    return Opened(subject, embedder, chosen, tuple(notes))


def _divided_as(dataset: Dataset, run: Run, notes: list[str]) -> Dataset:
    """Where the data is not divided itself: with the splits of the run, as far as it knows the pictures."""
    known = {row[0]: row[1] for row in run.predictions()}
    count = sum(path in known for path in dataset.paths)
    if not count:
        raise UsageError(
            f"{run.folder} was trained on none of these pictures; leave --run out, or name its own data"
        )
    if count < len(dataset):
        notes.append(f"{count:,} of {len(dataset):,} pictures are known to {run.folder}")
    if dataset.is_split:
        return dataset
    pairs = zip(dataset.paths, dataset.table["split"], strict=True)
    split = np.asarray([known.get(path, own) for path, own in pairs], object)
    return replace(dataset, table=dataset.table.assign(split=split))


def _embedder(run: Run | None, options: TrainOptions, workers: int | None) -> Embedder:
    if run is None:
        return open_embedder(options, workers)
    runtime = run.info["options"]["runtime"]
    return Embedder(run.backbone(), run.preprocess, runtime=runtime, workers=workers)
