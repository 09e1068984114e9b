"""The verb `check`: from a Dataset to an Audit, reading top to bottom.

Every picture is embedded once, or known from before; all else is arithmetic on what is kept of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tellapart.audit.audit import Audit
from tellapart.audit.checks import CHECKS
from tellapart.audit.finding import Finding
from tellapart.audit.fit_choice import choose_fit, fit_findings
from tellapart.audit.leaks import estimate_leaks
from tellapart.audit.learning_curve import learning_curve
from tellapart.audit.subject import Subject
from tellapart.audit.transformations import transformation_findings, transformation_safety
from tellapart.data.dataset import Dataset
from tellapart.errors import UsageError
from tellapart.evaluation.metrics import evaluate
from tellapart.training.clock import Clock
from tellapart.training.embed import Embedder, Progress, embed
from tellapart.training.run import Run
from tellapart.training.train import TrainOptions, open_dataset, open_embedder
from tellapart.training.usable import usable_pictures

__all__ = ["check"]


def check(
    data: Dataset | str | Path,
    *,
    run: Run | str | Path | None = None,
    options: TrainOptions | None = None,
    only: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Look for what is wrong with a data set; nothing is changed.

    `run`, or a stage of it, says with which network to look and which pictures were set aside; without
    one the default network looks, or that of `options`. `only` names the checks to run, of
    `tellapart.CHECKS`. Labels are judged by cross-validation with all copies of a picture together,
    whatever its split.

    Raises DatasetError where there are not two classes, UsageError for an unknown check, RunError.

    >>> audit = check("photos")                       # doctest: +SKIP
    >>> audit.of("label_error")[0].evidence           # doctest: +SKIP
    'labelled cat, and looks like dog (97 %)'
    """
    names = _names(only)
    report = progress or (lambda stage, done, total: None)
    clock = Clock()
    chosen = run if isinstance(run, Run) or run is None else Run.load(run)
    options = options or TrainOptions()
    with clock.stage("scan"):
        dataset = data if isinstance(data, Dataset) else open_dataset(data, options)
        dataset = dataset if chosen is None else _divided_as(dataset, chosen)
        dataset.check_trainable()
    with clock.stage("embed"):
        embedder = _embedder(chosen, options, workers)
        final = embedder.backbone.dimensions["final"]
        features = embed(dataset.root, dataset.paths, embedder, progress=progress)
    with clock.stage("copies"):
        usable = usable_pictures(
            dataset, features, final, workers=embedder.workers, progress=progress
        )
        dataset = usable.dataset
        dataset.check_trainable()
    subject = Subject(
        dataset, usable.values, final, usable.facts, usable.copies, options.seed, embedder.workers
    )
    findings: list[Finding] = []
    for done, name in enumerate(names):
        report("check", done, len(names))
        with clock.stage(name):
            findings += sorted(CHECKS[name].find(subject), key=lambda f: (f.score, f.paths))
    report("check", len(names), len(names))
    if only is not None:
        return Audit(dataset, tuple(findings), names, seconds=clock.seconds)
    with clock.stage("changes"):
        changes = transformation_safety(dataset, embedder, usable.values, progress=progress)
        fit = choose_fit(dataset, embedder, usable.values, progress=progress)
        findings += [*transformation_findings(changes), *fit_findings(fit)]
    with clock.stage("learning curve"):
        curve = learning_curve(subject)
    with clock.stage("leaks"):
        leaks = estimate_leaks(subject, chosen)
    metrics = evaluate(subject.probabilities, subject.targets, subject.classes)
    return Audit(
        dataset, tuple(findings), names, metrics, curve, leaks, changes, fit, clock.seconds
    )


def _names(only: Sequence[str] | None) -> tuple[str, ...]:
    if only is None:
        return tuple(CHECKS)
    for name in only:
        if name not in CHECKS:
            raise UsageError(f"check {name!r} is unknown; choose from {', '.join(CHECKS)}")
    return tuple(name for name in CHECKS if name in only)


def _divided_as(dataset: Dataset, run: Run) -> Dataset:
    """Where the data is not divided itself: with the splits of the run, as far as it knows the pictures."""
    if dataset.is_split:
        return dataset
    known = {row[0]: row[1] for row in run.predictions()}
    split = [
        known.get(path, own)
        for path, own in zip(dataset.paths, dataset.table["split"], strict=True)
    ]
    return replace(dataset, table=dataset.table.assign(split=np.asarray(split, object)))


def _embedder(run: Run | None, options: TrainOptions, workers: int | None) -> Embedder:
    if run is None:
        return open_embedder(options, workers)
    runtime = run.info["options"]["runtime"]
    return Embedder(run.backbone(), run.preprocess, runtime=runtime, workers=workers)
