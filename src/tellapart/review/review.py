"""A review: pictures in the order in which to look at them, and what was decided. No HTTP in it.

Decisions go to the journal first and count when they are there. Rankings are made anew in the background
(`retrainer.py`); until one is there, the last one stands.
"""

import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from tellapart.audit.label_errors import LabelQuality
from tellapart.audit.opened import open_subject
from tellapart.audit.subject import Subject
from tellapart.data.dataset import Dataset
from tellapart.data.plain_text import plain
from tellapart.errors import TellapartError, UsageError
from tellapart.evaluation.metrics import Metrics
from tellapart.review.decisions import ACTIONS, Decision, Entry, Standing
from tellapart.review.journal import Journal
from tellapart.review.labels_now import LabelsNow
from tellapart.review.ranking import QUEUES, Item, Ranker, Ranking
from tellapart.review.retrainer import Retrainer
from tellapart.review.reviewed import find_reviewed
from tellapart.training.embed import Progress
from tellapart.training.run import Run
from tellapart.training.train import TrainOptions

__all__ = ["DECIDED", "MOST_DECISIONS", "MOST_PICTURES", "Review", "checked_name"]

DECIDED: Final = "decided"
"""The queue of what has been decided, the latest first."""

MOST_PICTURES: Final = 200
MOST_DECISIONS: Final = 500
_MOST_NEIGHBOURS = 10
_LONGEST_NAME = 60  # characters


class Review:
    """Pictures to be looked through. All methods may be called from several threads.

    Ids are row numbers of `subject.dataset`, labels places in its classes. What the methods return can
    be written as JSON; names in it are as `plain` shows them. UsageError says what was asked wrongly.

    >>> with Review.open("photos") as review:                               # doctest: +SKIP
    ...     worst = review.queue("label_errors")["items"][0]
    ...     review.decide([{"id": worst[0], "action": "remove"}], who="ann", queue="label_errors")
    """

    def __init__(
        self, subject: Subject, journal: Journal, name: str, notes: Sequence[str] = ()
    ) -> None:
        self.subject, self.journal, self.name, self.notes = subject, journal, name, tuple(notes)
        self.classes = [plain(name) for name in subject.classes]
        self._sha256 = list(subject.dataset.table["sha256"])
        self._lock = threading.RLock()  # of all below
        self._one_ranking = threading.Lock()
        self._standing = Standing()
        self._now = LabelsNow(subject.paths, self._sha256, subject.targets, subject.classes)
        self._left: tuple[tuple[int, int], dict[str, int]] = ((0, 0), {})
        self._ranker = Ranker(subject)
        self._ranking = self._ranker.rank(subject.targets.copy(), np.ones(len(subject.paths), bool))
        self._before = self._ranking.metrics
        self._version, self._ranked, self._ranked_kept = 1, 0, self._now.kept.copy()
        self._note = ""
        self._retrainer: Retrainer | None = None
        with self._lock:
            self._catch_up()
        try:
            self.rerank(asked=False)
        except TellapartError as error:
            self._failed(error)
        self._retrainer = Retrainer(lambda asked: self.rerank(asked=asked), self._failed)

    @classmethod
    def open(
        cls,
        data_or_run: Dataset | Run | str | Path,
        journal: str | Path | None = None,
        options: TrainOptions | None = None,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """The review of a data set, or of the pictures that a run was trained on.

        Every picture is embedded, or known from before. `journal` is by default `review.sqlite` in the
        run, or in `reviews/NAME-OF-DATA`.

        Raises DatasetError where there is nothing to tell apart, and for a journal that cannot be used;
        RunError; ModelError.
        """
        found = find_reviewed(data_or_run, options)
        found.dataset.check_trainable()
        file = found.journal if journal is None else Path(journal)
        kept = Journal(file, root=found.dataset.root, classes=found.dataset.classes)
        try:
            opened = open_subject(
                found.dataset, run=found.run, options=options, workers=workers, progress=progress
            )
            lost = len(opened.subject.dataset.failures)
            unseen = [f"{lost:,} pictures cannot be used, and are not shown"] if lost else []
            return cls(opened.subject, kept, found.name, (*opened.notes, *unseen))
        except BaseException:
            kept.close()
            raise

    def close(self) -> None:
        if self._retrainer is not None:
            self._retrainer.stop()
        self.journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decide(
        self,
        decisions: Sequence[dict[str, Any]],
        who: str,
        key: str | None = None,
        queue: str = "random",
    ) -> int:
        """Keep decisions, each `{"id": 5, "action": "relabel", "label": 1}`; the newest entry then.

        They are on the disk when this returns. The same `key` again changes nothing; without one
        they are new.
        """
        self._check_queue(queue)
        if not 1 <= len(decisions) <= MOST_DECISIONS:
            raise UsageError(
                f"{len(decisions)} decisions; expected 1 to {MOST_DECISIONS} at a time"
            )
        who, checked = checked_name(who), [self._checked(decision) for decision in decisions]
        with self._lock:
            whys = {row: self._why(queue, row) for row, _, _ in checked}
        batch = [
            Decision(self.subject.paths[row], self._sha256[row], action, label, whys[row])
            for row, action, label in checked
        ]
        last = self.journal.append(key or secrets.token_hex(16), who, batch)
        with self._lock:
            self._catch_up()
        return last

    def undo(self, who: str, key: str | None = None) -> tuple[int, list[int]]:
        """Undo this person's newest batch; the newest entry then, and the pictures. Again: the one before."""
        last, paths = self.journal.undo(key or secrets.token_hex(16), checked_name(who))
        with self._lock:
            self._catch_up()
            return last, [self._now.rows[path] for path in paths if path in self._now.rows]

    def state(self, since: int = 0) -> dict[str, Any]:
        """How far it is, and the pictures whose state changed after the entry `since`."""
        with self._lock:
            self._catch_up()
            left, now = self._lefts(), self._now
            return {
                "version": self._version,
                "last": self._standing.last,
                "data": plain(self.name),
                "pictures": len(self._sha256),
                "classes": self.classes,
                "class_counts": np.bincount(now.labels[now.kept], minlength=len(self.classes)).tolist(),
                "queues": [
                    {"name": name, "title": queue.title, "why": queue.why, "left": left[name]}
                    for name, queue in QUEUES.items()
                ],
                "decided": now.counts(),
                "pending": self._standing.last - self._ranked,
                "training": self._retrainer is not None and self._retrainer.busy,
                "error": {"before": _error(self._before), "now": _error(self._ranking.metrics)},
                "decisions": self._changes(since),
                "changed": len(now.changed),
                "gone": len(now.gone),
                "note": self._said(),
            }  # fmt: skip

    def queue(self, name: str, label: int | None = None) -> dict[str, Any]:
        """What is not decided yet, the first to look at in front; with a class only its pictures now."""
        self._check_queue(name)
        if label is not None:
            self._check_label(label)
        with self._lock:
            self._catch_up()
            items = self._decided_items() if name == DECIDED else self._open_items(name)
            if label is not None:
                items = [i for i in items if any(self._now.labels[row] == label for row in i)]
            return {"version": self._version, "items": [list(item) for item in items]}

    def pictures(self, ids: Sequence[int], queue: str = "random") -> list[dict[str, Any]]:
        """What is shown beside each picture."""
        self._check_queue(queue)
        if len(ids) > MOST_PICTURES:
            raise UsageError(f"{len(ids)} pictures; at most {MOST_PICTURES} at a time")
        for row in ids:
            self.check_id(row)
        with self._lock:
            return [self._picture(row, queue) for row in ids]

    def details(self, row: int, queue: str = "random") -> dict[str, Any]:
        """All that is known of one picture."""
        (picture,) = self.pictures([row], queue)
        subject, groups = self.subject, self.subject.copies.groups
        near = subject.neighbours.rows[row][:_MOST_NEIGHBOURS].tolist()
        copies = np.flatnonzero(groups == groups[row]).tolist()
        history = self.journal.history(subject.paths[row])
        with self._lock:
            return {
                **picture,
                "probabilities": [round(float(p), 4) for p in self._judge(queue).probabilities[row]],
                "neighbours": [{"id": other, "label": int(self._now.labels[other])} for other in near],
                "copies": [other for other in copies if other != row][:MOST_PICTURES],
                "findings": [plain(text) for text in self._ranker.findings.get(row, ())],
                "history": [self._past(entry, undone) for entry, undone in history],
            }  # fmt: skip

    def ask(self) -> int:
        """Ask for a new ranking in the background; the version of the one that stands."""
        assert self._retrainer is not None
        self._retrainer.ask()
        with self._lock:
            return self._version

    def rerank(self, *, asked: bool = True) -> int:
        """A new ranking by the labels as they are now; its version.

        Unless it was `asked` for, none is made where no label has changed. Raises DatasetError where
        nothing is left to tell apart; the last ranking stands then.
        """
        with self._one_ranking:
            with self._lock:
                labels, kept = self._now.labels.copy(), self._now.kept.copy()
                entry, last = self._standing.last, self._ranking
                same = np.array_equal(last.labels, labels) and np.array_equal(
                    self._ranked_kept, kept
                )
            ranking = last if same and not asked else self._ranker.rank(labels, kept)
            with self._lock:
                self._version += ranking is not last
                self._ranking, self._ranked, self._ranked_kept = ranking, entry, kept
                self._note = ""
                return self._version

    def check_id(self, row: object) -> int:
        """The id; raises UsageError where there is no such picture."""
        if type(row) is not int or not 0 <= row < len(self._sha256):
            raise UsageError(
                f"there is no picture {plain(repr(row))[:40]}; expected 0 to {len(self._sha256) - 1}"
            )
        return row

    def counts(self) -> dict[str, int]:
        """How many pictures are decided, by action."""
        with self._lock:
            self._catch_up()
            return self._now.counts()

    def _catch_up(self) -> None:
        """Take in what is new in the journal, whoever wrote it."""
        if entries := self.journal.since(self._standing.last):
            self._standing.add(entries)
            self._now.update(self._standing, {entry.path for entry in entries})
            if self._retrainer is not None:
                self._retrainer.add(len(entries))

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self._note = f"The ranking could not be made anew: {plain(str(error) or repr(error))}."

    def _said(self) -> str:
        """What people should know beside the figures."""
        notes = [self._note] if self._note else []
        if count := len(self._now.changed):
            notes.append(f"Decisions about {count} files that have changed since are not applied.")
        if count := len(self._now.gone):
            notes.append(
                f"Decisions about {count} pictures that are not there any more are left out."
            )
        return " ".join(notes)

    def _checked(self, decision: dict[str, Any]) -> tuple[int, str, str | None]:
        row, action = self.check_id(decision.get("id")), decision.get("action")
        label = decision.get("label")
        if action not in ACTIONS:
            raise UsageError(f"{plain(repr(action))[:40]} is no decision: {', '.join(ACTIONS)}")
        if action == "relabel":
            return row, action, self.subject.classes[self._check_label(label)]
        if label is not None:
            raise UsageError(f"a label goes with relabel alone, not with {action}")
        return row, action, None

    def _check_label(self, label: object) -> int:
        if type(label) is not int or not 0 <= label < len(self.classes):
            raise UsageError(
                f"there is no class {plain(repr(label))[:40]}; expected 0 to {len(self.classes) - 1}"
            )
        return label

    def _check_queue(self, name: str) -> None:
        if name not in QUEUES and name != DECIDED:
            raise UsageError(
                f"queue {plain(repr(name))[:40]} is unknown; choose from {', '.join(QUEUES)}, {DECIDED}"
            )

    def _open_items(self, name: str) -> list[Item]:
        return [item for item in self._ranking.queues[name] if self._is_open(item)]

    def _is_open(self, item: Item) -> bool:
        """Whether somebody has to look still: copies of which one is left need no decision."""
        if len(item) == 1:
            return item[0] not in self._now.decided
        alone = sum(bool(self._now.kept[row]) for row in item) < 2
        return not alone and any(row not in self._now.decided for row in item)

    def _decided_items(self) -> list[Item]:
        found = sorted(self._now.decided.items(), key=lambda pair: -pair[1].number)
        return [(row,) for row, _ in found]

    def _lefts(self) -> dict[str, int]:
        """How many items of each queue are open; counted once per ranking and entry."""
        key = self._version, self._standing.last
        if self._left[0] != key:
            self._left = key, {name: len(self._open_items(name)) for name in QUEUES}
        return self._left[1]

    def _changes(self, since: int) -> list[dict[str, Any]]:
        rows = (self._now.rows.get(path) for path in self._standing.touched_since(since))
        changes: list[dict[str, Any]] = []
        for row in sorted(row for row in rows if row is not None):
            if (entry := self._now.decided.get(row)) is None:
                changes += [{"id": row, "action": None}] if since else []
            else:
                known = {"id": row, "action": entry.action, "who": entry.who}
                relabelled = (
                    {"label": int(self._now.labels[row])} if entry.label is not None else {}
                )
                changes.append(known | relabelled)
        return changes

    def _picture(self, row: int, queue: str) -> dict[str, Any]:
        subject, entry = self.subject, self._now.decided.get(row)
        judge = self._judge(queue)
        suggested = int(judge.suggested[row])
        return {
            "id": row,
            "name": plain(subject.paths[row]),
            "label": int(self._now.labels[row]),
            "given": int(subject.targets[row]),
            "split": subject.splits[row],
            "suggested": suggested,
            "probability": round(float(judge.probabilities[row, suggested]), 4),
            "why": self._why(queue, row),
            "action": entry and entry.action,
            "width": int(subject.facts["width"][row]),
            "height": int(subject.facts["height"][row]),
        }

    def _judge(self, queue: str) -> Ranking | LabelQuality:
        """Whose opinion is shown: where labels are doubted, that of the probe which doubts them."""
        return self._ranking.quality if queue == "label_errors" else self._ranking

    def _why(self, queue: str, row: int) -> str:
        """What is said of a picture; of a decided one what was said then."""
        if queue == DECIDED:
            entry = self._now.decided.get(row)
            return entry.why if entry else ""
        return plain(self._ranking.why(queue, row))

    def _past(self, entry: Entry, undone: bool) -> dict[str, Any]:
        number = None if entry.label is None else self._now.number(entry.label)
        return {
            "at": entry.at, "who": entry.who, "action": entry.action, "label": number, "why": entry.why,
            "undone": undone,
        }  # fmt: skip


def checked_name(who: str) -> str:
    """As it is kept and shown. Raises UsageError for more than 60 characters, or none."""
    name = plain(who.strip())
    if not 1 <= len(name) <= _LONGEST_NAME:
        raise UsageError(f"a name of {len(name)} characters; expected 1 to {_LONGEST_NAME}")
    return name


def _error(metrics: Metrics) -> dict[str, Any]:
    low, high = metrics.interval
    return {
        "n": metrics.n, "errors": metrics.errors, "rate": 1 - metrics.accuracy, "low": 1 - high,
        "high": 1 - low, "sentence": metrics.sentence(),
    }  # fmt: skip
