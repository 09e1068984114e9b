"""What a check of a whole dataset has found: a value that tables, files and pages are drawn from."""

import html
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tellapart.audit.finding import Finding
from tellapart.audit.fit_choice import FitChoice
from tellapart.audit.learning_curve import LearningCurve
from tellapart.audit.transformations import TransformationSafety
from tellapart.data.atomic_file import write_atomically
from tellapart.data.csv_lines import csv_lines
from tellapart.data.dataset import Dataset
from tellapart.errors import DatasetError
from tellapart.evaluation.leaks import LeakEffect
from tellapart.evaluation.metrics import Metrics

__all__ = ["HEADER", "Audit"]

HEADER = ("check", "path", "other_path", "score", "evidence", "suggestion")


@dataclass(frozen=True, repr=False)
class Audit:
    """The findings on N pictures, in the order of the checks, the worst of each check first.

    `metrics` are out-of-fold, of the pictures that could be used; `curve` says what more pictures would
    bring, `leaks` what copies do to the score (None without any), `changes` which changes of a picture
    leave it what it is, and `fit` how it best becomes square. None of these is there where only some
    checks were asked for. `seconds` are by stage; `checks` names what was looked for.
    """

    dataset: Dataset
    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    metrics: Metrics | None = None
    curve: LearningCurve | None = None
    leaks: LeakEffect | None = None
    changes: tuple[TransformationSafety, ...] = ()
    fit: FitChoice | None = None
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def of(self, check: str) -> tuple[Finding, ...]:
        """What one check found, the worst first."""
        return tuple(finding for finding in self.findings if finding.check == check)

    def counts(self) -> dict[str, int]:
        """Findings by check, also of those that found none."""
        found = Counter(finding.check for finding in self.findings)
        return {
            name: found[name]
            for name in (*self.checks, *(name for name in found if name not in self.checks))
        }

    def sentence(self) -> str:
        """In one line."""
        paths = {finding.paths[0] for finding in self.findings if finding.paths}
        n = len(self.dataset) + len(self.dataset.failures)
        return f"{len(self.findings)} findings on {len(paths)} of {n} pictures"

    def summary(self) -> tuple[str, ...]:
        """What is to be said of the data as a whole, a sentence each."""
        parts = (self.leaks, self.curve, *self.changes, self.fit)
        sentences = [*self.notes, *(part.sentence() for part in parts if part is not None)]
        if self.metrics is not None:
            first = f"cross-validated, with the labels as they are: {self.metrics.sentence()}"
            sentences.insert(0, first)
        return tuple(f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in sentences)

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """The rows of findings.csv, as `HEADER` names them: of several others the first is named."""
        return [
            (
                f.check, f.paths[0] if f.paths else "", f.paths[1] if len(f.paths) > 1 else "",
                f"{f.score:.6f}", f.evidence, f.suggestion,
            )
            for f in self.findings
        ]  # fmt: skip

    def to_csv(self, file: str | Path) -> None:
        """Write `HEADER` and the rows, aside and then renamed."""
        write_atomically(Path(file), "".join(csv_lines([HEADER, *self.rows()])))

    def save(self, folder: str | Path, *, csv: str | Path | None = None) -> None:
        """Write `findings.csv` (or the file `csv`) and `check.html` below `folder`. Raises DatasetError."""
        try:
            self.to_csv(csv or Path(folder) / "findings.csv")
            write_atomically(Path(folder) / "check.html", self.to_html())
        except OSError as error:
            where = error.filename or folder
            raise DatasetError(f"{where} cannot be written: {error.strerror or error}") from None

    def to_html(self) -> str:
        """One page with thumbnails that needs nothing else."""
        from tellapart.audit.page import render

        return render(self)

    def to_json(self) -> dict[str, Any]:
        return {
            "pictures": len(self.dataset),
            "classes": list(self.dataset.classes),
            "counts": self.counts(),
            "out_of_fold": self.metrics and self.metrics.to_json(),
            "learning_curve": self.curve and self.curve.to_json(),
            "leaks": self.leaks and self.leaks.to_json(),
            "changes": [change.to_json() for change in self.changes],
            "fit": self.fit and self.fit.to_json(),
            "notes": list(self.notes),
            "findings": [
                {
                    "check": f.check, "paths": list(f.paths), "score": f.score,
                    "evidence": f.evidence, "suggestion": f.suggestion, "details": dict(f.details),
                }
                for f in self.findings
            ],
            "seconds": dict(self.seconds),
        }  # fmt: skip

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {n}" for name, n in self.counts().items() if n)
        return f"<Audit: {self.sentence()}{': ' + counts if counts else ''}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{n}</td></tr>"
            for name, n in self.counts().items()
            if n
        )
        return f"<p>{html.escape(self.sentence())}</p><table>{rows}</table>"
