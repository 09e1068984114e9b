"""A report as one HTML page: no script, nothing loaded from elsewhere, all text escaped, size bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from shlex import quote
from typing import Any, Final

from PIL import Image

from tellapart.audit.audit import Audit
from tellapart.audit.checks import CHECKS
from tellapart.audit.embedded_pictures import page_environment, picture_url, thumbnails
from tellapart.audit.finding import Finding
from tellapart.data.plain_text import plain
from tellapart.evaluation.metrics import Metrics
from tellapart.reporting.charts import Chart, percent, span
from tellapart.reporting.classification_report import ClassRow
from tellapart.reporting.figure_text import shortened
from tellapart.reporting.matrix import matrix_of
from tellapart.reporting.training_card import training_card
from tellapart.reporting.training_charts import learning_chart
from tellapart.reporting.trust_charts import reliability_chart, risk_chart
from tellapart.training.run import Run

__all__ = ["render"]

_FIRST_CLASSES, _MOST_CLASSES = 24, 200  # rows of a table that are seen at once, and in all
_MOST_NAMED = 6  # classes in a sentence
_MOST_FINDINGS, _MOST_PATHS = 3, 2  # of a check; pictures of a finding
_SIDE, _MOST_BYTES = 128, 6_000  # of their thumbnails
_DRAWING_SIDE, _DRAWING_BYTES = 560, 40_000
_MOST_LINES = 40  # of notes, and of names of lost pictures
_GRAVE: Final = ("leak", "shortcut", "confusable", "conflict", "label_error")
"""Findings that make the figures doubtful; the page begins with them."""

_LONGEST: Final = 300  # characters of a text from data
_SQUARES = 100  # that stand for pictures in the header


@dataclass(frozen=True)
class _Found:
    """The findings of one check, as far as they are shown."""

    name: str
    title: str
    why: str
    count: int
    shown: Sequence[Finding]


def render(report: Any) -> str:
    """The page of a `Report`. Raises MissingExtra without Jinja."""
    environment = page_environment("tellapart.reporting")
    environment.filters |= {
        "shown": _shown, "percent": percent, "identity": id, "quoted": quote, "count": _count,
    }  # fmt: skip
    environment.globals["span"] = span
    found = _found(report.audit)
    card = training_card(report.run)
    page: str = environment.get_template("report.html").render(
        r=report, v=report.verdict, data=report.data, card=card,
        title=_title(report.run.classes), named=_named, style=_style(environment),
        squares=_squares(report.verdict.main.metrics), classes=_class_rows(report.answers.metrics),
        counted=_counted(report.data.counts), first=_FIRST_CLASSES,
        matrix=matrix_of(report.answers.metrics), trust=_Trust.of(report),
        learning=None if report.audit is None or report.audit.curve is None
        else learning_chart(report.audit.curve),
        found=found, nothing=_nothing(report.audit), thumbs=_thumbs(report.data.root, found),
        drawings=_drawings(found), doubted=_doubted(report.audit), labels=_labels(report.audit),
        notes=_notes(report), most_paths=_MOST_PATHS, most_lines=_MOST_LINES,
    )  # fmt: skip
    return page


def _shown(text: object, most: int = _LONGEST) -> str:
    """Text from data as it can be shown: no control characters, bounded in length."""
    return shortened(plain(str(text)), most)


def _count(n: int, one: str, many: str = "") -> str:
    """ "1 picture", "2 pictures"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _style(environment: Any) -> Any:
    from markupsafe import Markup

    source, _, _ = environment.loader.get_source(environment, "style.css")
    return Markup(source)  # noqa: S704  # our own file


def _title(classes: Sequence[str]) -> str:
    """The question that the model answers."""
    if len(classes) > _MOST_NAMED:
        return f"Which of {len(classes):,} classes?"
    names = [_shown(name, 40) for name in classes]
    return f"{', '.join(names[:-1])} or {names[-1]}?"


def _named(classes: Sequence[str]) -> str:
    names = [_shown(name, 40) for name in classes[:_MOST_NAMED]]
    if len(classes) > _MOST_NAMED:
        return f"{', '.join(names)} and {len(classes) - _MOST_NAMED:,} more"
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _squares(metrics: Metrics) -> list[str]:
    """What each of 100 pictures stands for: surely, probably or perhaps right, or wrong."""
    low, high = metrics.interval
    ends = [int(100 * low), round(100 * metrics.accuracy), -int(-100 * high // 1)]
    kinds = ("surely", "probably", "perhaps", "wrong")
    return [kinds[sum(i >= end for end in ends)] for i in range(_SQUARES)]


def _class_rows(metrics: Metrics) -> list[ClassRow]:
    """All classes in their order where they are few; of many the weakest."""
    rows = [ClassRow(c.name, c.n, c.predicted, c.correct) for c in metrics.per_class]
    if len(rows) > 12:
        rows.sort(key=lambda row: (row.f1.value if row.f1.value is not None else 2.0, -row.n))
    return rows[:_MOST_CLASSES]


@dataclass(frozen=True)
class _Counted:
    """A class with its pictures by split."""

    name: str
    by_split: Mapping[str, int]

    @property
    def n(self) -> int:
        return sum(self.by_split.values())


def _counted(counts: Mapping[str, Mapping[str, int]]) -> list[_Counted]:
    """The classes in their order; of very many the largest and the smallest."""
    names = dict.fromkeys(name for own in counts.values() for name in own)
    found = [_Counted(name, {s: own.get(name, 0) for s, own in counts.items()}) for name in names]
    if len(found) <= _MOST_CLASSES:
        return found
    found.sort(key=lambda row: -row.n)
    return [*found[: _MOST_CLASSES // 2], *found[-_MOST_CLASSES // 2 :]]


@dataclass(frozen=True)
class _Trust:
    """The charts of when to believe it, and what became of the promise on other pictures."""

    reliability: Chart
    risk: Chart
    calibration: str
    promise: str
    kept: str
    sets: str
    strange: str

    @classmethod
    def of(cls, report: Any) -> "_Trust":
        trust, answers = report.run.trust, report.answers
        if trust is None:
            found = answers.reliability()
            return cls(
                reliability_chart(found), risk_chart(answers.risk_coverage()), found.sentence(),
                "", "", "", "",
            )  # fmt: skip
        strange = trust.novelty
        least = trust.sets.get(0.05)
        return cls(
            reliability_chart(trust.after, trust.before), risk_chart(trust.curve, trust.threshold),
            trust.after.sentence(), trust.threshold.sentence(), _kept(report),
            "" if least is None else f"every class with a probability of {least:.3f} or more",
            "" if strange is None else percent(strange.kept),
        )  # fmt: skip


def _kept(report: Any) -> str:
    """How the threshold does on pictures that had no part in it."""
    threshold, answers = report.run.trust.threshold, report.answers
    apart = [i for i, split in enumerate(answers.splits) if split != "train"]
    if threshold.value is None or not apart:
        return ""
    sure = answers.probabilities[apart].max(axis=1) >= threshold.value
    wrong = int((sure & answers.wrong[apart]).sum())
    return (
        f"Of the {len(apart):,} pictures that had no part in choosing it, {int(sure.sum()):,} were answered "
        f"surely, {wrong:,} of these wrongly."
    )


def _found(audit: Audit | None) -> list[_Found]:
    if audit is None:
        return []
    found = [
        _Found(
            name, CHECKS[name].title if name in CHECKS else name.capitalize(),
            CHECKS[name].why if name in CHECKS else "", n, audit.of(name)[:_MOST_FINDINGS],
        )
        for name, n in audit.counts().items()
        if n
    ]  # fmt: skip
    return sorted(found, key=lambda f: _GRAVE.index(f.name) if f.name in _GRAVE else len(_GRAVE))


def _nothing(audit: Audit | None) -> list[str]:
    """What was looked for and not found."""
    if audit is None:
        return []
    return [CHECKS[name].title for name, n in audit.counts().items() if not n and name in CHECKS]


def _thumbs(root: str, found: Sequence[_Found]) -> dict[int, list[tuple[str, str]]]:
    """Paths and data URLs of the pictures of each finding, by its identity; none that cannot be read."""
    every = [finding for f in found for finding in f.shown]
    paths = {path for finding in every for path in finding.paths[:_MOST_PATHS]}
    urls = thumbnails(Path(root), paths, side=_SIDE, most_bytes=_MOST_BYTES)
    return {
        id(finding): [(path, urls[path]) for path in finding.paths[:_MOST_PATHS] if urls[path]]
        for finding in every
    }


def _drawings(found: Sequence[_Found]) -> dict[int, str]:
    """A data URL for each drawing, by the identity of its finding, made small enough."""
    answer = {}
    for finding in (finding for f in found for finding in f.shown):
        if finding.drawing:
            with Image.open(BytesIO(finding.drawing), formats=("PNG",)) as image:
                rgba = image.convert("RGBA")
            flat = Image.new("RGB", rgba.size, "white")
            flat.paste(rgba, mask=rgba)
            answer[id(finding)] = picture_url(flat, side=_DRAWING_SIDE, most_bytes=_DRAWING_BYTES)
    return answer


def _doubted(audit: Audit | None) -> set[str]:
    """Pictures whose label looks wrong."""
    return set() if audit is None else {f.paths[0] for f in audit.of("label_error") if f.paths}


def _labels(audit: Audit | None) -> dict[str, str]:
    if audit is None:
        return {}
    return dict(zip(audit.dataset.paths, audit.dataset.labels, strict=True))


def _notes(report: Any) -> list[str]:
    """What the run, the check and this report want to be known, each once."""
    of_check = () if report.audit is None else report.audit.notes
    every = dict.fromkeys([*report.notes, *_own_notes(report.run), *of_check])
    return [f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in every if text][:_MOST_LINES]


def _own_notes(run: Run) -> list[str]:
    """Of a stage without the figures of the run that it began with."""
    if "stage" not in run.info:
        return list(run.notes)
    return [note for note in run.notes if "have a copy in training" not in note]
