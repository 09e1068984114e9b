"""The pictures behind a shortcut: those of the class that it gives away, the clearest first."""

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.finding import Finding
from tellapart.audit.shortcuts import find_shortcuts
from tellapart.audit.subject import Subject
from tellapart.data.picture_facts import SIDE

__all__ = ["shortcut_pictures"]

_TOLD = 0.5  # lean from which a clue gives a class away


def shortcut_pictures(subject: Subject) -> dict[int, str]:
    """Row → what gives its class away, in the order in which to look at them."""
    said: dict[int, str] = {}
    for finding in find_shortcuts(subject):
        for row in _rows(subject, finding):
            said.setdefault(row, finding.evidence)
    return said


def _rows(subject: Subject, finding: Finding) -> list[int]:
    details = finding.details
    if details["kind"] == "mark":
        own = subject.targets == subject.classes.index(details["class"])
        likeness = _likeness(subject.facts["thumbnail"], own, details["box"])
        rows = np.flatnonzero(own)
        return rows[np.argsort(-likeness[rows], kind="stable")].tolist()
    told = [name for name, lean in details["lean"].items() if lean >= _TOLD]
    targets = [subject.classes.index(name) for name in told]
    return np.flatnonzero(np.isin(subject.targets, targets)).tolist()


def _likeness(
    thumbnails: NDArray[np.uint8], own: NDArray[np.bool_], box: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """How much each picture has in the box of what the class's mean has there and the others' has not."""
    left, top, right, bottom = (round(SIDE * side) for side in box)
    part = thumbnails[:, top : max(bottom, top + 2), left : max(right, left + 2)].mean(axis=3)
    part = part.reshape(len(part), -1).astype(np.float32)
    part -= part.mean(axis=1, keepdims=True)
    difference = part[own].mean(axis=0) - part[~own].mean(axis=0)
    return np.asarray(part @ difference, np.float32)
