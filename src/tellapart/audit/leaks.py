"""What leaks do to a score: the held-out figures with the copies of training pictures and without."""

import numpy as np

from tellapart.audit.out_of_fold import held_out
from tellapart.audit.subject import Subject
from tellapart.evaluation.leaks import LeakEffect, leak_effect
from tellapart.training.logistic import Array, Indices
from tellapart.training.run import Run

__all__ = ["estimate_leaks"]


def estimate_leaks(subject: Subject, run: Run | None = None) -> LeakEffect | None:
    """The effect on a run's own answers, or on those of a probe fitted to the training part.

    None where nothing is held out, or nothing of it has a copy in the training part. A run whose
    pictures are others is not asked.
    """
    outside = np.flatnonzero(np.isin(subject.splits, ("valid", "test")))
    inside = np.flatnonzero(subject.splits == "train")
    if not len(outside) or not len(inside):
        return None
    leaked = np.isin(subject.groups[outside], subject.groups[inside])
    if not leaked.any():
        return None
    answers = None if run is None else _answers_of(run, subject, outside)
    if answers is None:
        answers = _answers(subject, outside)
    return leak_effect(answers, subject.targets[outside], leaked, subject.classes)


def _answers(subject: Subject, outside: Indices) -> Array:
    """Of a regression on the training part, whose strength is chosen inside of it."""
    inside = subject.splits == "train"
    folds = np.where(inside, subject.folds, int(subject.folds.max()) + 1)
    every = held_out(
        subject.components, subject.targets, len(subject.classes), folds,
        sample_weight=inside.astype(np.float32), workers=subject.workers,
    )  # fmt: skip
    return every[outside]


def _answers_of(run: Run, subject: Subject, outside: Indices) -> Array | None:
    """Its probabilities for these pictures; None where it has not seen one of them."""
    if run.classes != subject.classes:
        return None
    known = {row[0]: row[4:] for row in run.predictions() if row[1] in ("valid", "test")}
    paths = [subject.paths[row] for row in outside]
    if any(path not in known for path in paths):
        return None
    return np.asarray([[float(p) for p in known[path]] for path in paths], np.float32)
