"""Pictures that a report shows with their answers: confusions, the surest mistakes and right answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tellapart.audit.embedded_pictures import picture_url, thumbnails
from tellapart.data.failure import Failure
from tellapart.reporting.interpretation import Interpretation
from tellapart.reporting.network_view import NetworkView, Viewer
from tellapart.training.embed import Progress

__all__ = ["ConfusedPair", "Example", "Examples", "Group", "show_examples"]

_PAIRS, _OF_PAIR = 4, 4
_MISTAKES, _RIGHT = 8, 8
_STRIP, _STRIP_SIDE, _STRIP_BYTES = 12, 144, 5_000
_SIDE: Final = 208  # px
_MOST_BYTES: Final = 14_000  # of a picture, before base64


@dataclass(frozen=True)
class Example:
    """A picture with its answer. `picture` and `map` are data URLs, or "" with `failure` or without a map.

    `later` is what the finished model says of it, where it was trained on the picture since and now
    says something else.
    """

    path: str
    split: str
    label: str
    predicted: str
    probability: float
    loss: float
    picture: str = ""
    map: str = ""
    sees: str = ""
    later: str = ""
    failure: Failure | None = None

    @property
    def right(self) -> bool:
        return self.label == self.predicted


@dataclass(frozen=True)
class ConfusedPair:
    """`n` of the `total` pictures of class `actual` were taken for `predicted`; some of them."""

    actual: str
    predicted: str
    n: int
    total: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Group:
    """Some pictures of a class: paths and data URLs."""

    label: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Examples:
    """What is shown; `refusal` says why there are no heat maps, or is empty.

    `strip` holds a few pictures of each class, drawn at random, for people to see what it is about.
    """

    pairs: tuple[ConfusedPair, ...]
    mistakes: tuple[Example, ...]
    right: tuple[Example, ...]
    refusal: str = ""
    strip: tuple[Group, ...] = ()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Pictures that could not be read, each once."""
        every = [*self.mistakes, *self.right, *(e for pair in self.pairs for e in pair.examples)]
        found = {e.path: e.failure for e in every if e.failure is not None}
        return tuple(found.values())


def show_examples(
    answers: Interpretation, *, workers: int | None = None, progress: Progress | None = None
) -> Examples:
    """Read the pictures to show, each once, and ask the network where it looked."""
    pairs = _confused_rows(answers)
    above = {row for _, rows in pairs for row in rows}
    largest = answers.top_losses()[1].tolist()
    mistakes = [r for r in largest if answers.wrong[r] and r not in above][:_MISTAKES]
    right = _surest_rows(answers)
    wanted = [*(row for _, rows in pairs for row in rows), *mistakes, *right]
    viewer = Viewer(answers.run, answers.root, workers=workers)
    shown = _look(answers, wanted, viewer, progress)
    totals = answers.metrics.matrix.sum(axis=1)
    confused = tuple(
        ConfusedPair(
            answers.classes[a], answers.classes[p], int(answers.metrics.matrix[a, p]), int(totals[a]),
            tuple(shown[row] for row in rows),
        )
        for (a, p), rows in pairs
    )  # fmt: skip
    return Examples(
        confused, tuple(shown[row] for row in mistakes), tuple(shown[row] for row in right),
        viewer.refusal, _strip(answers),
    )  # fmt: skip


def _strip(answers: Interpretation) -> tuple[Group, ...]:
    """About twelve pictures: as many of each class as go, or one each of some classes."""
    generator = np.random.default_rng(0)
    classes = np.unique(answers.targets)
    if len(classes) > _STRIP:
        classes = np.sort(generator.choice(classes, _STRIP, replace=False))
    each = max(1, _STRIP // len(classes))
    chosen = {
        int(k): generator.permutation(np.flatnonzero(answers.targets == k))[:each].tolist()
        for k in classes
    }
    paths = {row: answers.paths[row] for rows in chosen.values() for row in rows}
    urls = thumbnails(answers.root, paths.values(), side=_STRIP_SIDE, most_bytes=_STRIP_BYTES)
    groups = (
        Group(answers.classes[k], tuple((paths[r], urls[paths[r]]) for r in rows if urls[paths[r]]))
        for k, rows in chosen.items()
    )
    return tuple(group for group in groups if group.pictures)


def _confused_rows(answers: Interpretation) -> list[tuple[tuple[int, int], list[int]]]:
    """The most confused pairs of class numbers, and the rows of their surest confusions."""
    places = {name: i for i, name in enumerate(answers.classes)}
    found = []
    for confusion in answers.metrics.most_confused()[:_PAIRS]:
        actual, predicted = places[confusion.actual], places[confusion.predicted]
        own = np.flatnonzero((answers.targets == actual) & (answers.predicted == predicted))
        order = np.argsort(-answers.probabilities[own, predicted], kind="stable")[:_OF_PAIR]
        found.append(((actual, predicted), own[order].tolist()))
    return found


def _surest_rows(answers: Interpretation) -> list[int]:
    """Rows of right answers: the surest of each class in turn, the class with the most pictures first."""
    sure = np.where(answers.wrong, -1.0, answers.probabilities.max(axis=1))
    order = np.argsort(-sure, kind="stable")
    order = order[sure[order] > 0]
    by_class: dict[int, list[int]] = {}
    for row in order.tolist():
        by_class.setdefault(int(answers.targets[row]), []).append(row)
    turns = [
        (place, -len(rows), row) for rows in by_class.values() for place, row in enumerate(rows)
    ]
    return [row for _, _, row in sorted(turns)[:_RIGHT]]


def _look(
    answers: Interpretation, rows: Sequence[int], viewer: Viewer, progress: Progress | None
) -> Mapping[int, Example]:
    report = progress or (lambda stage, done, total: None)
    paths = [answers.paths[row] for row in rows]
    targets = [int(answers.predicted[row]) for row in rows]
    found: dict[int, Example] = {}
    for row, view in zip(rows, viewer.views(paths, targets), strict=True):
        found[row] = _example(answers, row, view)
        report("explain", len(found), len(rows))
    return found


def _example(answers: Interpretation, row: int, view: NetworkView) -> Example:
    predicted = int(answers.predicted[row])
    later = ""
    if answers.splits[row] == "train" and view.says not in (None, predicted):
        later = answers.classes[view.says]
    return Example(
        answers.paths[row], answers.splits[row], answers.classes[answers.targets[row]],
        answers.classes[predicted], float(answers.probabilities[row, predicted]),
        float(answers.losses[row]),
        "" if view.picture is None else picture_url(view.picture, side=_SIDE, most_bytes=_MOST_BYTES),
        "" if view.overlay is None else picture_url(view.overlay, side=_SIDE, most_bytes=_MOST_BYTES),
        view.sentence, later, view.failure,
    )  # fmt: skip
