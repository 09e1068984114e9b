"""Decisions about pictures as values, and what stands of them after some were undone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["ACTIONS", "Decision", "Entry", "Standing"]

ACTIONS: Final = ("keep", "relabel", "remove", "unsure")


@dataclass(frozen=True)
class Decision:
    """What somebody decided about one picture.

    `path` is that of the dataset, `sha256` the content that was looked at, `action` one of `ACTIONS`,
    `label` the new one where the action is `relabel`, `why` what was said of the picture then.
    """

    path: str
    sha256: str
    action: str
    label: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Entry:
    """One line of the journal: a decision, or the undoing of one (action `undo`).

    `number` counts from 1 and grows; `at` is UTC in ISO 8601, in seconds; `batch` is what was sent
    together; `undoes` is the number of the entry that is undone.
    """

    number: int
    at: str
    who: str
    batch: str
    path: str
    sha256: str
    action: str
    label: str | None = None
    why: str = ""
    undoes: int | None = None


class Standing:
    """What stands, by path: the newest decision that is not undone.

    Where one is undone, the decision before it, of whomever, stands again. Entries are added in the
    order of their numbers.

    >>> first = Entry(1, "", "ann", "a", "1.png", "", "keep")
    >>> second = Entry(2, "", "bob", "b", "1.png", "", "remove")
    >>> standing = Standing()
    >>> standing.add([first, second, Entry(3, "", "bob", "c", "1.png", "", "undo", undoes=2)])
    >>> standing["1.png"].action
    'keep'
    """

    def __init__(self) -> None:
        self._entries: dict[str, list[Entry]] = {}  # by path, undone ones left out
        self._paths: dict[int, str] = {}  # of decisions, by number
        self._touched: dict[str, int] = {}  # the newest entry, of any kind, by path
        self.last = 0

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.undoes is None:
                self._paths[entry.number] = entry.path
                self._entries.setdefault(entry.path, []).append(entry)
            else:
                self._undo(entry.undoes)
            self._touched[entry.path] = entry.number
            self.last = max(self.last, entry.number)

    def _undo(self, number: int) -> None:
        path = self._paths.get(number)
        if path is not None:
            self._entries[path] = [e for e in self._entries[path] if e.number != number]

    def get(self, path: str) -> Entry | None:
        """The decision that stands for a picture; None where there is none."""
        own = self._entries.get(path)
        return own[-1] if own else None

    def __getitem__(self, path: str) -> Entry:
        return self._entries[path][-1]

    def all(self) -> Mapping[str, Entry]:
        """The decisions that stand, by path, the earliest first."""
        found = [own[-1] for own in self._entries.values() if own]
        return {entry.path: entry for entry in sorted(found, key=lambda entry: entry.number)}

    def touched_since(self, number: int) -> list[str]:
        """The pictures about which there are entries after this one."""
        return [path for path, newest in self._touched.items() if newest > number]
