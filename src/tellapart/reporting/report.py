"""The verb `report`: from a run to one page that says what it is worth, reading top to bottom."""

import html
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import W_OK, access
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tellapart.audit.audit import Audit
from tellapart.audit.check import check as check_data
from tellapart.data.atomic_file import write_atomically
from tellapart.data.dataset import Dataset
from tellapart.data.failure import Failure
from tellapart.data.places import is_there
from tellapart.errors import RunError, TellapartError, UsageError
from tellapart.evaluation.leaks import LeakEffect, leak_effect
from tellapart.reporting.commands import base_run
from tellapart.reporting.data_card import DataCard, data_card
from tellapart.reporting.examples import Examples, show_examples
from tellapart.reporting.interpretation import Interpretation
from tellapart.reporting.verdict import Verdict, judge
from tellapart.training.embed import Progress
from tellapart.training.run import Run
from tellapart.training.run_pictures import run_table

__all__ = ["Report", "report"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """What is to be said of a run; `to_html` is one page that needs nothing else.

    `failures` are pictures that could not be read while it was made; `notes` say what is left out and
    why. `file` is where it was written last, if it was.
    """

    run: Run
    answers: Interpretation
    verdict: Verdict
    examples: Examples
    data: DataCard
    audit: Audit | None
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    made: datetime
    file: Path | None = None

    def to_html(self) -> str:
        """The page. Raises MissingExtra without Jinja."""
        from tellapart.reporting.page import render

        return render(self)

    def save(self, file: str | Path) -> Path:
        """Write the page, aside and then renamed. Raises UsageError, RunError."""
        path = Path(file)
        check_place(path)
        try:
            write_atomically(path, self.to_html())
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror or error}") from None
        return path

    def to_json(self) -> dict[str, Any]:
        return {
            "run": str(self.run.folder),
            "report": None if self.file is None else str(self.file),
            "verdict": self.verdict.to_json(),
            "answers": self.answers.classification_report().to_json(),
            "most_confused": [list(pair) for pair in self.answers.most_confused()[:20]],
            "data": self.data.to_json(),
            "check": None if self.audit is None else self.audit.counts(),
            "failures": [str(failure) for failure in self.failures],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        where = "" if self.file is None else f" in {self.file}"
        return f"<Report{where}: {self.verdict.headline}; {self.verdict.main.metrics.sentence()}>"

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style and the notebook's stay apart."""
        return (
            '<iframe title="Report" sandbox="" style="width: 100%; height: 44rem; border: 1px solid #8886" '
            f'srcdoc="{html.escape(self.to_html())}"></iframe>'
        )


def report(
    run: Run | str | Path,
    out: str | Path | None = None,
    *,
    check: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Make the report of a run, or of a stage; with `out`, an .html file, it is written there too.

    With `check` the pictures are looked at as `tellapart.check` does, which takes most of the time.
    Where pictures are gone the report is made of what the run has kept, and says so: its `failures`
    name them. Raises RunError, and UsageError, before anything is done, for an `out` that cannot be.

    >>> found = report("runs/photos")            # doctest: +SKIP
    >>> found.verdict.headline                   # doctest: +SKIP
    'Good, on pictures like these'
    """
    file = None if out is None else Path(out)
    if file is not None:
        check_place(file)
    run = run if isinstance(run, Run) else Run.load(run)
    made = _made(run, check, workers, progress)
    if file is None:
        return made
    return replace(made, file=made.save(file))


def _made(run: Run, check: bool, workers: int | None, progress: Progress | None) -> Report:
    answers = Interpretation.from_run(run)
    trained = base_run(run)
    notes: list[str] = []
    pictures = _try("What is known of each picture is left out", lambda: run_table(run), notes)
    leaks = None if pictures is None else _leaks(answers, pictures)
    audit = None
    if not is_there(answers.root):
        notes.append(f"The pictures are not shown: {answers.root} is not there any more")
    elif check and pictures is not None:
        audit = _checked(pictures, run, trained, notes, workers, progress)
    if audit is not None:
        audit = replace(
            audit, leaks=leaks
        )  # by this run's own answers, and the pictures as they were
    examples = show_examples(answers, workers=workers, progress=progress)
    if examples.refusal:
        notes.append(f"There are no heat maps: {examples.refusal}")
    table = None if pictures is None else pictures.table
    card = data_card(
        run, trained or run, [] if table is None else list(table["path"]),
        [] if table is None else list(table["group"]),
    )  # fmt: skip
    known = {str(failure) for failure in (trained or run).failures}
    lost = [] if audit is None else [f for f in audit.dataset.failures if str(f) not in known]
    failures = {failure.path: failure for failure in (*lost, *examples.failures)}
    return Report(
        run, answers, judge(run, answers, audit, leaks), examples, card, audit, tuple(failures.values()),
        tuple(notes), datetime.now(UTC),
    )  # fmt: skip


def _leaks(answers: Interpretation, pictures: Dataset) -> LeakEffect | None:
    """What held-out copies of training pictures do to the figures."""
    groups = dict(zip(pictures.paths, pictures.groups.tolist(), strict=True))
    learned = set(pictures.groups[pictures.rows_of("train")].tolist())
    held_out = np.flatnonzero(np.asarray(answers.splits) != "train")
    if not len(held_out):
        return None
    leaked = np.asarray([groups.get(answers.paths[row]) in learned for row in held_out])
    return leak_effect(
        answers.probabilities[held_out], answers.targets[held_out], leaked, answers.classes
    )


def _checked(
    pictures: Dataset,
    run: Run,
    trained: Run | None,
    notes: list[str],
    workers: int | None,
    progress: Progress | None,
) -> Audit | None:
    """The check by the network as it was before fine-tuning: one that was trained on the labels would find
    none of them wrong. Where that run is gone, the default network looks."""
    by = None if "graph" in run.info["backbone"] and trained is None else trained or run
    lost = () if trained is None else trained.failures
    audit = _try(
        "The check of the pictures is left out",
        lambda: check_data(
            replace(pictures, failures=lost), run=by, workers=workers, progress=progress
        ),
        notes,
    )
    if audit is not None:
        _note_changes(pictures, audit, notes)
    return audit


def _note_changes(pictures: Dataset, audit: Audit, notes: list[str]) -> None:
    before = dict(zip(pictures.paths, pictures.table["sha256"], strict=True))
    now = zip(audit.dataset.paths, audit.dataset.table["sha256"], strict=True)
    changed = [path for path, sha256 in now if before.get(path) != sha256]
    if changed:
        notes.append(
            f"{len(changed):,} pictures have changed since the run was trained, {changed[0]} among them"
        )


def _try(what: str, make: Callable[[], T], notes: list[str]) -> T | None:
    """What cannot be had is left out, with the reason."""
    try:
        return make()
    except TellapartError as error:
        notes.append(f"{what}: {error}")
        return None


def check_place(file: Path) -> None:
    """Raises UsageError where no page can be written."""
    if file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{file}: the report is a page; give a name that ends in .html")
    if file.is_dir():
        raise UsageError(f"{file} is a folder; --out takes the name of a file")
    there = next(parent for parent in file.absolute().parents if parent.exists())
    if not there.is_dir() or not access(there, W_OK):
        raise UsageError(f"{file} cannot be written: {there} is no folder that you may write to")
