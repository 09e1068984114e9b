"""The verb `check`: from a Dataset to an Audit, reading top to bottom.

Every picture is embedded once, or known from before; all else is arithmetic on what is kept of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tellapart.audit.audit import Audit
from tellapart.audit.changed_views import ChangedView
from tellapart.audit.checks import CHECKS
from tellapart.audit.finding import Finding
from tellapart.audit.fit_choice import FitChoice, choose_fit, fit_findings
from tellapart.audit.leaks import estimate_leaks
from tellapart.audit.learning_curve import learning_curve
from tellapart.audit.opened import open_subject
from tellapart.audit.subject import Subject
from tellapart.audit.transformations import (
    TransformationSafety,
    transformation_findings,
    transformation_safety,
)
from tellapart.data.dataset import Dataset
from tellapart.errors import DatasetError, UsageError
from tellapart.evaluation.metrics import evaluate
from tellapart.training.clock import Clock
from tellapart.training.embed import Embedder, Progress
from tellapart.training.engine import Engine, open_engine
from tellapart.training.run import Run
from tellapart.training.train import TrainOptions

__all__ = ["check"]

T = TypeVar("T")


def check(
    data: Dataset | str | Path,
    *,
    run: Run | str | Path | None = None,
    options: TrainOptions | None = None,
    only: Sequence[str] | None = None,
    changes: Sequence[str] = ("flip",),
    workers: int | None = None,
    engine: str | Engine = "local",
    address: str | None = None,
    store: str | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Look for what is wrong with a data set; nothing is changed.

    `run`, or a stage of it, says with which network to look and which pictures were set aside; without
    one the default network looks, or that of `options`. `only` names the checks to run, of
    `tellapart.CHECKS`; `changes` are asked about otherwise: `flip`, `vertical flip`, `quarter turn`,
    `tilt`, `zoom`. Labels are judged by cross-validation with all copies of a picture together,
    whatever its split. Where there is nothing to tell apart, what needs no classes is looked for all
    the same, and the audit's `notes` say so. With the `engine` ray the pictures are looked at by `workers`
    tasks at a time on the cluster at `address` (`open_engine`).

    Raises DatasetError where no picture can be used, UsageError for an unknown check or change, or a run
    on other pictures, RunError.

    >>> audit = check("photos")                       # doctest: +SKIP
    >>> audit.of("label_error")[0].evidence           # doctest: +SKIP
    'labelled cat, and looks like dog (97 %)'
    """
    names = _names(only)
    for change in changes:
        ChangedView(change)  # refuses what it does not know
    clock = Clock()
    looking = open_engine(engine, address=address, workers=workers, store=store)
    opened = open_subject(
        data, run=run, options=options, workers=None if engine == "ray" else workers,
        engine=looking, progress=progress, stage=clock.stage,
    )  # fmt: skip
    subject, notes = opened.subject, list(opened.notes)
    whole = _Whole(subject, opened.embedder, opened.run, changes, clock, progress, notes)
    if reason := whole.untrainable():
        names = tuple(name for name in names if not CHECKS[name].trains)
        notes.append(f"only what needs no classifier was looked for: {reason}")
    findings = _find(subject, names, clock, progress)
    audit = Audit(subject.dataset, tuple(findings), names)
    if only is None and not reason:
        audit = whole.asked(audit)
    return replace(audit, notes=tuple(notes), seconds=clock.seconds)


def _find(
    subject: Subject, names: Sequence[str], clock: Clock, progress: Progress | None
) -> Iterator[Finding]:
    """What each check finds, the worst first."""
    report = progress or (lambda stage, done, total: None)
    for done, name in enumerate(names):
        report("check", done, len(names))
        with clock.stage(name):
            yield from sorted(CHECKS[name].find(subject), key=lambda f: (f.score, f.paths))
    report("check", len(names), len(names))


@dataclass(frozen=True)
class _Whole:
    """What is asked of a data set as a whole, and who is told."""

    subject: Subject
    embedder: Embedder
    run: Run | None
    changes: Sequence[str]
    clock: Clock
    progress: Progress | None
    notes: list[str]

    def untrainable(self) -> str:
        """Why no classifier can be cross-validated, or ""."""
        try:
            self.subject.dataset.check_trainable()
            _ = self.subject.folds
        except DatasetError as error:
            return str(error).rstrip(".")
        return ""

    def asked(self, audit: Audit) -> Audit:
        """The audit with all of it. What cannot be said is left out, with a note."""
        subject, clock = self.subject, self.clock
        with clock.stage("changes"):
            changes = self._try(self._changes) or ()
            fit = self._try(self._fit)
        with clock.stage("learning curve"):
            curve = self._try(lambda: learning_curve(subject))
        with clock.stage("leaks"):
            leaks = estimate_leaks(subject, self.run)
        metrics = evaluate(subject.probabilities, subject.targets, subject.classes)
        found = [*transformation_findings(changes), *([] if fit is None else fit_findings(fit))]
        return replace(
            audit, findings=(*audit.findings, *found), metrics=metrics, curve=curve, leaks=leaks,
            changes=changes, fit=fit,
        )  # fmt: skip

    def _changes(self) -> tuple[TransformationSafety, ...]:
        return transformation_safety(
            self.subject.dataset, self.embedder, self.subject.features, changes=self.changes,
            seed=self.subject.seed, progress=self.progress,
        )  # fmt: skip

    def _fit(self) -> FitChoice:
        return choose_fit(
            self.subject.dataset, self.embedder, self.subject.features, seed=self.subject.seed,
            progress=self.progress,
        )  # fmt: skip

    def _try(self, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except DatasetError as error:
            self.notes.append(str(error).rstrip("."))
            return None


def _names(only: Sequence[str] | None) -> tuple[str, ...]:
    if only is None:
        return tuple(CHECKS)
    for name in only:
        if name not in CHECKS:
            raise UsageError(f"check {name!r} is unknown; choose from {', '.join(CHECKS)}")
    return tuple(name for name in CHECKS if name in only)
