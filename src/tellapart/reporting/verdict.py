"""What a run is worth, in plain words that follow from its figures by rules written here."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np

from tellapart.audit.audit import Audit
from tellapart.evaluation.leaks import LeakEffect
from tellapart.evaluation.metrics import Metrics, wilson_interval
from tellapart.reporting.charts import percent, span
from tellapart.reporting.interpretation import Interpretation
from tellapart.training.run import Run

__all__ = ["SPLIT_NAMES", "Caution", "Figure", "Verdict", "judge"]

SPLIT_NAMES = {
    "held_out": "held out (validation and test)",
    "test": "test pictures",
    "valid": "validation pictures",
    "out_of_fold": "training pictures, cross-validated",
}
"""How people read the names of splits."""

_LEAST_PICTURES = 5  # of a class, for a word on how well it is told apart
_WEAK = 0.7
_MOST_NAMED = 4
_LABELS_FROM = 0.01  # the share of labels in doubt that is worth a warning


@dataclass(frozen=True)
class Figure:
    """One accuracy with its interval: `right` of `n` pictures of a split."""

    name: str
    metrics: Metrics

    @property
    def title(self) -> str:
        return SPLIT_NAMES.get(self.name, self.name)

    @property
    def right(self) -> int:
        return self.metrics.n - self.metrics.errors


@dataclass(frozen=True)
class Caution:
    """What to know before relying on it, and the section of the page that has more."""

    sentence: str
    section: str


@dataclass(frozen=True)
class Verdict:
    """The main figure, the others, and what they mean. `always` is the score of the commonest class."""

    main: Figure
    others: tuple[Figure, ...]
    headline: str
    sentences: tuple[str, ...]
    cautions: tuple[Caution, ...]
    always: float
    commonest: str

    @property
    def figures(self) -> tuple[Figure, ...]:
        return self.main, *self.others

    def to_json(self) -> dict[str, Any]:
        low, high = self.main.metrics.interval
        return {
            "split": self.main.name, "n": self.main.metrics.n, "errors": self.main.metrics.errors,
            "accuracy": self.main.metrics.accuracy, "accuracy_low": low, "accuracy_high": high,
            "headline": self.headline, "sentences": list(self.sentences),
            "cautions": [caution.sentence for caution in self.cautions],
        }  # fmt: skip


def judge(
    run: Run, answers: Interpretation, audit: Audit | None, leaks: LeakEffect | None = None
) -> Verdict:
    """The verdict on a run from its figures, all its honest answers, and a check of its pictures."""
    figures = [
        Figure(name, run.metrics[name])
        for name in ("held_out", "test", "valid", "out_of_fold")
        if name in run.metrics
    ]
    main, others = figures[0], tuple(figures[1:])
    counts = main.metrics.matrix.sum(axis=1)
    always, commonest = float(counts.max() / counts.sum()), run.classes[int(counts.argmax())]
    return Verdict(
        main, others, _headline(main.metrics, always), tuple(_sentences(run, main, always, commonest)),
        tuple(_cautions(main, others, answers, audit, leaks)), always, commonest,
    )  # fmt: skip


def _headline(found: Metrics, always: float) -> str:
    """By the low end of the interval, so that few pictures promise little."""
    low, high = found.interval
    if low <= always:
        return "Not shown to be better than always giving the same answer"
    if high - low > 0.3:
        return "Too few pictures to say how good it is"
    for least, words in (
        (0.97, "Right nearly always, on pictures like these"),
        (0.9, "Right more than nine times in ten, on pictures like these"),
        (0.8, "Good, on pictures like these"),
        (0.6, "Useful where somebody looks over its answers"),
    ):
        if low >= least:
            return words
    return "Better than guessing, and often wrong"


def _sentences(run: Run, main: Figure, always: float, commonest: str) -> Iterator[str]:
    found = main.metrics
    low, high = found.interval
    yield (
        f"Of 100 new pictures like these it should get about {100 * found.accuracy:.0f} right: between "
        f"{floor(100 * low)} and {ceil(100 * high)}, as far as {found.n:,} pictures can tell."
    )
    yield (
        f"Always answering “{commonest}” would have been right {100 * always:.0f} times in 100 on these."
    )
    trust = run.trust
    if trust is None:
        return
    found_threshold = trust.threshold
    if found_threshold.value is None:
        sentence = found_threshold.sentence()
        yield f"{sentence[:1].upper()}{sentence[1:]}."
    else:
        share = found_threshold.answered / found_threshold.n
        yield (
            f"It calls {percent(share, 0)} of its answers sure, of which at most "
            f"{percent(found_threshold.target_error)} should be wrong; of the others it says that it is "
            "not sure."
        )


def _cautions(
    main: Figure,
    others: tuple[Figure, ...],
    answers: Interpretation,
    audit: Audit | None,
    leaks: LeakEffect | None,
) -> Iterator[Caution]:
    if main.name == "out_of_fold":
        yield Caution(
            "No pictures were set aside, so this figure is from cross-validation alone.", "data"
        )
    for other in others:
        if other.name == "out_of_fold" and (sentence := _disagreement(main, other)):
            yield Caution(sentence, "classes")
    if unseen := [c.name for c in main.metrics.per_class if not c.n]:
        named = ", ".join(f"“{name}”" for name in unseen[:_MOST_NAMED])
        more = f" and {len(unseen) - _MOST_NAMED} more" if len(unseen) > _MOST_NAMED else ""
        yield Caution(f"No picture of {named}{more} is in the main figure.", "classes")
    if leaks is not None:
        without = (
            ""
            if leaks.honest is None
            else f" Without them: {percent(leaks.honest.accuracy)} right."
        )
        yield Caution(
            f"{leaks.leaked.n:,} of the {leaks.all.n:,} pictures that it was measured on have a copy among "
            f"those it learned from.{without}",
            "check" if audit is not None else "data",
        )
    if weak := _weak_classes(answers):
        yield Caution(f"Weak at {weak}.", "classes")
    if audit is not None:
        yield from _findings(audit)


def _disagreement(main: Figure, other: Figure) -> str:
    """Where the main figure lies outside the other's interval."""
    low, high = other.metrics.interval
    if low <= main.metrics.accuracy <= high:
        return ""
    luck = "easier" if main.metrics.accuracy > high else "harder"
    return (
        f"Cross-validation over the {other.metrics.n:,} training pictures says "
        f"{percent(other.metrics.accuracy)} ({span(low, high)}); the "
        f"{main.metrics.n:,} others may be {luck} ones. Expect something between."
    )


def _weak_classes(answers: Interpretation) -> str:
    """Classes of which surely less than nine in ten, and fewer than seven in ten, are recognised."""
    found = [
        (c.recall or 0.0, c.name)
        for c in answers.metrics.per_class
        if c.n >= _LEAST_PICTURES
        and (c.recall or 0.0) < _WEAK
        and wilson_interval(c.correct, c.n)[1] < 0.9
    ]
    named = [f"“{name}” ({percent(recall, 0)} found)" for recall, name in sorted(found)]
    more = len(named) - _MOST_NAMED
    return ", ".join(named[:_MOST_NAMED]) + (f" and {more} more classes" if more > 0 else "")


def _findings(audit: Audit) -> Iterator[Caution]:
    for finding in audit.of("shortcut")[:1]:
        yield Caution(f"It may have learned a shortcut: {finding.evidence}.", "check")
    for finding in audit.of("confusable")[:1]:
        yield Caution(_sentence(finding.evidence), "check")
    doubted, n = len(audit.of("label_error")), len(audit.dataset)
    if doubted >= max(2, np.ceil(_LABELS_FROM * n)):
        yield Caution(f"{doubted:,} of {n:,} labels look wrong; figures suffer by them.", "check")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
