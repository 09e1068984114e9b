"""Which pictures to look at first, ranked anew whenever labels have changed.

The checks are asked once. What depends on the labels is fitted again from where the last fit ended
(`audit/out_of_fold.py`), so that ten thousand pictures are ranked in well under a second. The error is
out-of-fold: each picture is judged by a probe that saw neither it nor a copy. What it cannot know: wrong
labels that the probe agrees with stay wrong, and count as right.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.checks import CHECKS
from tellapart.audit.finding import Finding
from tellapart.audit.label_errors import REFIT, LabelQuality, believed_labels, judge_labels
from tellapart.audit.out_of_fold import FoldFits, fit_folds, refit_folds
from tellapart.audit.subject import Subject
from tellapart.errors import DatasetError
from tellapart.evaluation.metrics import Metrics, evaluate
from tellapart.review.shortcut_pictures import shortcut_pictures
from tellapart.training.logistic import Array, Indices

__all__ = ["QUEUES", "Item", "Queue", "Ranker", "Ranking"]

Item = tuple[int, ...]
"""Rows that are shown side by side."""

_COPIES: Final = ("conflict", "leak", "exact_duplicate", "near_duplicate")
_OF_THE_CLASSES: Final = (
    "label_error",
    "ambiguous",
    "imbalance",
    "tiny_class",
    "confusable",
    "shortcut",
)
_MOST_SIDE_BY_SIDE = 6
_TOLERANCE = 1e-8  # times the pictures: labels set back give the figures that they gave
_NUMBERS, _LEAST_WIDTH = 2_560_000, 256  # of components: the leading ones, where pictures are many
_DOUBTED = 0.5  # label scores below this are worth a look


@dataclass(frozen=True)
class Queue:
    """What a queue is called where people read, and why its pictures are worth a look."""

    title: str
    why: str


QUEUES: Final[Mapping[str, Queue]] = MappingProxyType(
    {
        "label_errors": Queue(
            "Labels that look wrong",
            "A probe that has not seen the picture denies its label, or its neighbours do.",
        ),
        "top_losses": Queue(
            "Top losses", "The probe gives their label the least probability: wrong, odd or hard."
        ),
        "copies": Queue(
            "Copies", "The same picture twice teaches nothing, and flatters the score across a split."
        ),
        "odd": Queue("Odd pictures", "Blurry, dark, blank, tiny, or unlike all others."),
        "shortcuts": Queue(
            "Shortcuts", "Something that should not matter gives their class away."
        ),
        "least_sure": Queue("Least sure", "The probe can hardly tell two classes apart here."),
        "random": Queue("At random", "Drawn by chance, of those that nobody has decided on yet."),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Ranking:
    """All pictures by queue, as the labels were then.

    `queues` holds items in order, the ones to look at first in front. `probabilities` float32 (N, K) are
    out-of-fold, `suggested` (N,) their likeliest classes. `metrics` are of the pictures that were kept,
    by their labels then.
    """

    queues: Mapping[str, tuple[Item, ...]]
    probabilities: NDArray[np.float32]
    suggested: Indices
    metrics: Metrics
    labels: Indices
    quality: LabelQuality
    said: Mapping[str, Mapping[int, str]]

    def why(self, queue: str, row: int) -> str:
        """Why a picture is in a queue, in one sentence."""
        said = self.said.get(queue)
        if said is not None:
            return said.get(row, "")
        return self._doubt(row) if queue == "label_errors" else self._opinion(queue, row)

    def _doubt(self, row: int) -> str:
        label, other = int(self.labels[row]), int(self.quality.suggested[row])
        names, votes = self.metrics.classes, 100 * self.quality.votes[row]
        if other == label:
            return f"only {votes[label]:.0f} % of its neighbours are {names[label]!r}"
        return (
            f"labelled {names[label]!r}; a probe that has not seen it, nor any doubtful label, says "
            f"{names[other]!r} (probability {self.quality.probabilities[row, other]:.2f}), and so do "
            f"{votes[other]:.0f} % of its neighbours"
        )

    def _opinion(self, queue: str, row: int) -> str:
        names, p = self.metrics.classes, self.probabilities[row]
        if queue == "random":
            return f"drawn at random; the probe says {names[int(p.argmax())]!r} ({p.max():.2f})"
        second, first = np.argsort(p, kind="stable")[-2:].tolist()
        if queue == "least_sure":
            return (
                f"the probe cannot tell {names[first]!r} ({p[first]:.2f}) from {names[second]!r} "
                f"({p[second]:.2f})"
            )
        own = int(self.labels[row])
        said = "agrees" if first == own else f"says {names[first]!r} ({p[first]:.2f})"
        return f"the probe gives its label {names[own]!r} a probability of {p[own]:.3f} and {said}"


class Ranker:
    """Ranks the pictures of a subject by labels that change. May be used from several threads.

    Making one asks all checks. Raises DatasetError where there is nothing to tell apart.

    >>> ranking = Ranker(subject).rank(subject.targets, kept)  # doctest: +SKIP
    >>> ranking.queues["label_errors"][:3]                     # doctest: +SKIP
    ((412,), (7,), (90,))
    """

    def __init__(self, subject: Subject) -> None:
        subject.dataset.check_trainable()
        self._subject = subject
        self._lock = threading.Lock()
        width = max(_LEAST_WIDTH, _NUMBERS // len(subject.dataset))
        self._components = np.ascontiguousarray(subject.components[:, :width])
        self._tolerance = min(1e-4, max(1e-6, _TOLERANCE * len(subject.dataset)))
        self._plain: FoldFits | None = None
        self._strict: FoldFits | None = None
        self._rows = {path: row for row, path in enumerate(subject.paths)}
        found = {
            name: check.find(subject) for name, check in CHECKS.items() if name not in _OF_THE_CLASSES
        }  # fmt: skip
        self.findings = self._sentences(finding for some in found.values() for finding in some)
        odd = [f for name, some in found.items() if name not in _COPIES for f in some]
        copies = [finding for name in _COPIES for finding in found[name]]
        marked = shortcut_pictures(subject)
        self._said = {
            "odd": self._worst(odd),
            "copies": {**self._beside(copies), **self._worst(copies)},
            "shortcuts": marked,
        }
        chance = np.random.default_rng(subject.seed).permutation(len(subject.dataset))
        self._fixed: dict[str, tuple[Item, ...]] = {
            "copies": self._side_by_side(copies),
            "odd": tuple((row,) for row in self._said["odd"]),
            "shortcuts": tuple((row,) for row in marked),
            "random": tuple((row,) for row in chance.tolist()),
        }

    def rank(self, labels: Indices, kept: NDArray[np.bool_]) -> Ranking:
        """The queues for `labels` (N,); pictures that are not `kept` (N,) teach nothing and are in none.

        Raises DatasetError where fewer than two classes are left.
        """
        subject = self._subject
        if len(np.unique(labels[kept])) < 2:
            raise DatasetError("fewer than two classes are left; undo a removal to rank the rest")
        with self._lock:
            plain, quality = self._fit(labels, kept.astype(np.float32))
        probabilities = plain.probabilities
        own = probabilities[np.arange(len(labels)), labels]
        two = np.sort(probabilities, axis=1)[:, -2:]
        doubted = (quality.score < _DOUBTED) | (quality.suggested != labels)
        order = {
            "label_errors": _ordered(quality.score, doubted & kept & quality.judged),
            "top_losses": _ordered(own, kept),
            "least_sure": _ordered(two[:, 1] - two[:, 0], kept),
        }
        queues = {name: tuple((row,) for row in rows) for name, rows in order.items()} | self._fixed
        metrics = evaluate(probabilities[kept], labels[kept], subject.classes)
        return Ranking(
            {name: queues[name] for name in QUEUES}, probabilities, probabilities.argmax(axis=1),
            metrics, labels, quality, self._said,
        )  # fmt: skip

    def _fit(self, labels: Indices, weight: Array) -> tuple[FoldFits, LabelQuality]:
        subject, x = self._subject, self._components
        folds, classes = subject.folds, len(subject.classes)
        workers = subject.workers
        if self._plain is None:
            self._plain = fit_folds(
                x,
                labels,
                classes,
                folds,
                sample_weight=weight,
                workers=workers,
                tolerance=self._tolerance,
            )
        else:
            self._plain = refit_folds(
                self._plain,
                x,
                labels,
                folds,
                sample_weight=weight,
                workers=workers,
                tolerance=self._tolerance,
            )
        believed = believed_labels(self._plain.probabilities, labels) * weight
        if self._strict is None:
            self._strict = fit_folds(
                x,
                labels,
                classes,
                folds,
                sample_weight=believed,
                strengths=REFIT,
                workers=workers,
                tolerance=self._tolerance,
            )
        else:
            self._strict = refit_folds(
                self._strict,
                x,
                labels,
                folds,
                sample_weight=believed,
                workers=workers,
                tolerance=self._tolerance,
            )
        refitted = self._strict.probabilities
        return self._plain, judge_labels(
            refitted, subject.neighbours, labels, folds, counting=weight
        )

    def _sentences(self, findings: Iterable[Finding]) -> dict[int, tuple[str, ...]]:
        """What was found, by row."""
        said: dict[int, list[str]] = {}
        for finding in findings:
            if finding.paths and (row := self._rows.get(finding.paths[0])) is not None:
                said.setdefault(row, []).append(finding.evidence)
        return {row: tuple(some) for row, some in said.items()}

    def _worst(self, findings: Iterable[Finding]) -> dict[int, str]:
        """The worst that was found of each picture, the worst pictures first."""
        said: dict[int, str] = {}
        for finding in sorted(findings, key=lambda f: f.score):
            if finding.paths and (row := self._rows.get(finding.paths[0])) is not None:
                said.setdefault(row, finding.evidence)
        return said

    def _beside(self, findings: Iterable[Finding]) -> dict[int, str]:
        """What is said of the pictures that others are copies of."""
        said: dict[int, str] = {}
        for finding in findings:
            for path in finding.paths[1:]:
                if (row := self._rows.get(path)) is not None:
                    said.setdefault(row, f"{finding.paths[0]}: {finding.evidence}")
        return said

    def _side_by_side(self, findings: Iterable[Finding]) -> tuple[Item, ...]:
        """Groups of copies in the order of the findings: different labels first, then leaks."""
        groups, items = self._subject.copies.groups, []
        members: dict[int, list[int]] = {}
        for row, group in enumerate(groups.tolist()):
            members.setdefault(group, []).append(row)
        for finding in findings:
            some = members.pop(int(groups[self._rows[finding.paths[0]]]), [])
            step = _MOST_SIDE_BY_SIDE - 1
            items += [(some[0], *some[i : i + step]) for i in range(1, len(some), step)]
        return tuple(items)


def _ordered(score: Array, wanted: NDArray[np.bool_]) -> list[int]:
    """The wanted rows, those of low score first."""
    rows = np.flatnonzero(wanted)
    return rows[np.argsort(score[rows], kind="stable")].tolist()
