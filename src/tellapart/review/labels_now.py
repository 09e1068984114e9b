"""The labels of all pictures as they are after the decisions that stand."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tellapart.review.decisions import Entry, Standing

__all__ = ["LabelsNow"]


class LabelsNow:
    """`labels` (N,) and whether each picture is `kept` (N,), given what stands.

    A decision counts only for the content that was looked at: one about a file that has changed since is
    in `changed`, one about a picture that is not among these any more in `gone`; neither is applied.
    """

    def __init__(
        self,
        paths: Sequence[str],
        sha256: Sequence[str],
        targets: NDArray[np.intp],
        classes: Sequence[str],
    ) -> None:
        self.rows = {path: row for row, path in enumerate(paths)}
        self.labels = targets.copy()
        self.kept = np.ones(len(targets), np.bool_)
        self.decided: dict[int, Entry] = {}  # by row
        self.changed: dict[int, Entry] = {}
        self.gone: dict[str, Entry] = {}  # by path
        self._sha256, self._given = sha256, targets
        self._numbers = {name: number for number, name in enumerate(classes)}

    def update(self, standing: Standing, paths: Iterable[str]) -> None:
        """Look again at what stands for these paths."""
        for path in paths:
            row, entry = self.rows.get(path), standing.get(path)
            if row is not None:
                self._decide(row, entry)
            elif entry is not None:
                self.gone[path] = entry
            else:
                self.gone.pop(path, None)

    def _decide(self, row: int, entry: Entry | None) -> None:
        for found in (self.decided, self.changed):
            found.pop(row, None)
        self.labels[row], self.kept[row] = self._given[row], True
        if entry is None:
            return
        known = entry.label is None or entry.label in self._numbers
        if entry.sha256 != self._sha256[row] or not known:
            self.changed[row] = entry
            return
        self.decided[row] = entry
        self.kept[row] = entry.action != "remove"
        if entry.label is not None:
            self.labels[row] = self._numbers[entry.label]

    def number(self, label: str) -> int | None:
        """The place of a class by its name; None where it is none of these."""
        return self._numbers.get(label)

    def counts(self) -> dict[str, int]:
        """How many decisions of each kind are applied."""
        found = dict.fromkeys(("keep", "relabel", "remove", "unsure"), 0)
        for entry in self.decided.values():
            found[entry.action] += 1
        return found
