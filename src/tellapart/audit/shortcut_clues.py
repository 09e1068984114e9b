"""Can the class be guessed from what is no content: size, shape, file type, EXIF data, where it came from?

A class that can be told from its files will be told from its files, and the score will be as good as
it is wrong (Geirhos et al. 2020, "Shortcut learning in deep neural networks"). Each clue gets a small
classifier of its own, cross-validated over the folds that keep copies together; of copies only one
counts. Its balanced accuracy is held against chance, 1 / K.

Colour, borders and bytes per pixel depend on what is shown: sketches are pale and compress well. Such
clues are measured for comparison and are no shortcut, however much they say.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.subject import Subject
from tellapart.data.ordered_map import ordered_map

__all__ = ["Clue", "clue_scores", "rows_that_count", "score_guesses"]

Values = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]

FEWEST: Final = 10
"""Pictures that a class must have, copies counted once, to take part."""

_MOST = 2000  # pictures looked at; more would only narrow the intervals
_LEAST_LIFT = 0.2  # of the way from chance to certainty
_LEAST_LEAN = 0.5  # share of a class's pictures guessed, less that of the others' taken for it
_LEVEL = 0.003  # over all clues; shuffled labels fell below a level about twice as often as it says
_Z95 = 1.959963984540054
_RING = 4  # px of the thumbnail
_CORNER = 8


@dataclass(frozen=True)
class Clue:
    """What can be guessed from one clue alone, for `n` pictures, copies counted once.

    `accuracy` is balanced, in [0, 1], as is `chance`; `interval` is its 95 % interval. `p` is the
    chance of so high an accuracy if the clue said nothing, times the number of clues. `lean` has for
    each class the share of its pictures that were guessed, less the share of the others' pictures
    that were taken for it: 1 is certainty, 0 nothing. `content` marks clues that depend on what is
    shown.

    >>> clue = Clue("file type", False, 300, 0.5, 0.25, (0.47, 0.53), 1e-9, {"photo": 1.0})
    >>> clue.is_shortcut, round(clue.lift, 2)
    (True, 0.33)
    """

    name: str
    content: bool
    n: int
    accuracy: float
    chance: float
    interval: tuple[float, float]
    p: float
    lean: dict[str, float]

    @property
    def lift(self) -> float:
        """How far accuracy is on the way from chance (0) to certainty (1)."""
        return (self.accuracy - self.chance) / (1 - self.chance)

    @property
    def is_shortcut(self) -> bool:
        """No content, surely more than chance, and enough to matter: for all classes or for one."""
        strong = self.lift >= _LEAST_LIFT or max(self.lean.values()) >= _LEAST_LEAN
        return not self.content and self.p <= _LEVEL and strong

    def sentence(self) -> str:
        """In one line: "file type alone guesses 50.0 % right; 95 % interval …"."""
        low, high = self.interval
        return (
            f"{self.name} alone guesses {100 * self.accuracy:.1f} % right, chance is "
            f"{100 * self.chance:.1f} %; 95 % interval {100 * low:.1f}–{100 * high:.1f} % "
            f"(balanced, {self.n} pictures)"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "clue": self.name, "content": self.content, "n": self.n, "accuracy": self.accuracy,
            "chance": self.chance, "interval": list(self.interval), "p": self.p,
            "lift": self.lift, "lean": self.lean,
        }  # fmt: skip


def clue_scores(subject: Subject) -> tuple[Clue, ...]:
    """Every clue there is, cross-validated, the strongest first.

    At most 2,000 pictures are looked at, drawn with the subject's seed. Classes of fewer than 10
    pictures are left out; with fewer than two classes left there is nothing to guess, and no clue.
    Clues that are the same for all pictures are not given.
    """
    rows = rows_that_count(subject)
    if not len(rows):
        return ()
    places, targets = np.unique(subject.targets[rows], return_inverse=True)
    names = [subject.classes[place] for place in places]
    folds = subject.folds[rows]
    tables, numbers = _categories(subject, rows), _numbers(subject.facts[rows])
    guesses = {name: _guess_by_table(codes, targets, folds) for name, codes in tables.items()}
    guess = partial(_guess_by_tree, targets=targets, folds=folds)
    trees = ordered_map(guess, numbers.values(), workers=subject.workers)
    guesses |= zip(numbers, trees, strict=True)
    scored = [
        score_guesses(name, guess, targets, names, content=name in _CONTENT, tests=len(guesses))
        for name, guess in guesses.items()
    ]
    return tuple(sorted(scored, key=lambda clue: -clue.lift))


def rows_that_count(subject: Subject) -> Indices:
    """Rows of the classes that take part: one of each group of copies, at most 2,000, in order."""
    first = np.unique(subject.groups, return_index=True)[1]
    targets = subject.targets[first]
    counts = np.bincount(targets, minlength=len(subject.classes))
    taking_part = np.flatnonzero(counts >= FEWEST)
    if len(taking_part) < 2:
        return np.zeros(0, np.intp)
    most = max(2 * FEWEST, _MOST // len(taking_part))
    rng = np.random.default_rng([subject.seed, 53])
    kept = [rng.permutation(first[targets == place])[:most] for place in taking_part]
    return np.sort(np.concatenate(kept))


def score_guesses(
    name: str,
    guesses: Indices,
    targets: Indices,
    classes: Sequence[str],
    *,
    content: bool = False,
    tests: int = 1,
) -> Clue:
    """What `guesses` (N,) are worth for `targets` (N,), both in 0 … K − 1; every class occurs.

    `p` comes from the permutation distribution of the balanced accuracy given the guesses, whose
    mean and variance are known (Wald & Wolfowitz 1944), taken as normal, and is multiplied by `tests`.

    >>> import numpy as np
    >>> y = np.arange(100) % 2
    >>> clue = score_guesses("host", y, y, ["cat", "dog"])
    >>> clue.accuracy, clue.chance, clue.p < 1e-9
    (1.0, 0.5, True)
    """
    k = len(classes)
    matrix = np.zeros((k, k))
    np.add.at(matrix, (targets, guesses), 1)
    actual, guessed = matrix.sum(axis=1), matrix.sum(axis=0)
    n, right = float(actual.sum()), np.diag(matrix)
    recall = right / actual
    gain = np.diag(1 / actual)
    centred = gain - (gain @ guessed)[:, None] / n - (actual @ gain) / n
    centred += float(actual @ gain @ guessed) / n**2
    variance = float(actual @ centred**2 @ guessed) / max(n - 1, 1)
    excess = float(recall.sum()) - 1
    p = 0.5 * math.erfc(excess / math.sqrt(2 * variance)) if variance > 1e-12 else 1.0
    lean = recall - (guessed - right) / np.maximum(n - actual, 1)
    accuracy = float(recall.mean())
    careful = (right + 1) / (actual + 2)  # a class guessed without error is not without doubt
    half = _Z95 * math.sqrt(float((careful * (1 - careful) / actual).sum())) / k
    return Clue(
        name, content, int(n), accuracy, 1 / k,
        (max(0.0, accuracy - half), min(1.0, accuracy + half)), min(1.0, p * tests),
        {own: float(value) for own, value in zip(classes, lean, strict=True)},
    )  # fmt: skip


_CONTENT: Final = frozenset(["bytes per pixel", "mean colour", "border", "corners"])


def _categories(subject: Subject, rows: Indices) -> dict[str, Indices]:
    """Clues that are one of several kinds, as numbers (N,)."""
    facts = subject.facts[rows]
    kinds = {
        "file type": np.stack([_coded(facts["format"]), facts["alpha"].astype(np.intp)], axis=1),
        "EXIF data": np.stack([facts["exif"].astype(np.intp), facts["orientation"]], axis=1),
    }
    table = subject.dataset.table
    if "source_url" in table:
        hosts = [_host(str(url)) for url in table["source_url"].to_numpy(object)[rows]]
        kinds["source host"] = _coded(np.asarray(hosts))[:, None]
    coded = {
        name: np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
        for name, values in kinds.items()
    }
    return {name: codes for name, codes in coded.items() if codes.max() > 0}


def _coded(values: NDArray[Any]) -> Indices:
    return np.unique(values, return_inverse=True)[1]


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").removeprefix("www.")
    except ValueError:
        return ""


def _numbers(facts: NDArray[np.void]) -> dict[str, Values]:
    """Clues that are measured, float64 (N, some)."""
    width, height = (np.maximum(facts[side], 1).astype(np.float64) for side in ("width", "height"))
    pixels = facts["thumbnail"].astype(np.float32) / 255
    flat = pixels.reshape(len(facts), -1, 3)
    short, long = np.minimum(width, height), np.maximum(width, height)
    bytes_per_pixel = np.maximum(facts["bytes"], 1) / (width * height)
    values = {
        "size": np.stack([short, long, width * height], axis=1),
        "aspect ratio": np.log(width / height)[:, None],
        "bytes per pixel": np.log(bytes_per_pixel)[:, None],
        "mean colour": np.concatenate([flat.mean(axis=1), flat.std(axis=1)], axis=1),
        "border": _means(pixels, _ring_parts()),
        "corners": _means(pixels, _corner_parts()),
    }
    return {name: own for name, own in values.items() if np.ptp(own, axis=0).any()}


def _ring_parts() -> list[tuple[slice, slice]]:
    every, first, last = slice(None), slice(_RING), slice(-_RING, None)
    return [(first, every), (last, every), (every, first), (every, last)]


def _corner_parts() -> list[tuple[slice, slice]]:
    first, last = slice(_CORNER), slice(-_CORNER, None)
    return [(first, first), (first, last), (last, first), (last, last)]


def _means(pixels: Values, parts: Sequence[tuple[slice, slice]]) -> Values:
    return np.concatenate([pixels[:, y, x].mean(axis=(1, 2)) for y, x in parts], axis=1)


def _guess_by_table(codes: Indices, targets: Indices, folds: Indices) -> Indices:
    """The class that has most of its pictures of a kind there, as the other folds say; the kinds that
    they do not know say nothing, and are dealt at random."""
    classes = int(targets.max()) + 1
    guesses = np.random.default_rng(0).permutation(len(codes)) % classes
    for fold in np.unique(folds):
        out = folds == fold
        counts = np.zeros((int(codes.max()) + 1, classes))
        np.add.at(counts, (codes[~out], targets[~out]), 1)
        shares = counts / np.maximum(counts.sum(axis=0), 1)
        known = out & (counts.sum(axis=1) > 0)[codes]
        guesses[known] = shares.argmax(axis=1)[codes[known]]
    return guesses


def _guess_by_tree(values: Values, targets: Indices, folds: Indices) -> Indices:
    """By a small decision tree, which finds thresholds and exact sizes alike."""
    from sklearn.tree import DecisionTreeClassifier  # a run that only predicts does without

    classes = int(targets.max()) + 1
    guesses = np.zeros(len(targets), np.intp)
    for fold in np.unique(folds):
        out = folds == fold
        inside = np.flatnonzero(~out)
        if not len(inside):
            continue
        tree = DecisionTreeClassifier(
            max_leaf_nodes=4 * classes,
            min_samples_leaf=max(3, round(0.05 * len(inside) / classes)),
            class_weight="balanced",
            random_state=0,
        )
        tree.fit(values[inside], targets[inside])
        guesses[out] = tree.predict(values[out])
    return guesses
