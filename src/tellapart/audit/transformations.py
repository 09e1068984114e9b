"""Does flipping, turning, tilting or zooming change what a picture is? Measured on a sample, for each class.

A probe is trained on plain pictures and asked, of pictures that it has not seen, both the plain one and
the changed one; copies are held out together. Two things make a change unsafe:

- *It changes the class.* More pictures get lost (right plainly, wrong when changed) than gained, over
  all or in one class. Safe is what provably loses less than 5 pictures of 100 (a test of non-inferiority,
  Blackwelder 1982), so that a sample too small to say is called "unclear" and not safe.
- *It makes pictures that are of no class*, such as a mirrored R, which every class still calls R. A
  probe for "changed or plain" tells nearly every pair apart, and the changed picture is farther from
  the others of its class than the plain one was. Cars that all drive to the left look the same to this
  test as letters do. It is asked of flips and quarter turns alone: a tilt or a zoom leaves traces of its
  own, and was told apart on every data set measured, textures too.

A cost of one forward pass for each picture of the sample and each change, at most 300, kept in the cache.
What this does not know: whether a change that is safe helps, and pictures that are not in the sample.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.changed_answers import Changed, changed_answers
from tellapart.audit.changed_views import CHANGES, ChangedView
from tellapart.audit.finding import Finding
from tellapart.evaluation.metrics import wilson_interval
from tellapart.evaluation.paired import exact_p_value
from tellapart.training.embed import Embedder, Progress, embed_again

if TYPE_CHECKING:
    from tellapart.data.dataset import Dataset  # it needs pandas, which a base install has not

__all__ = [
    "ClassSafety",
    "TransformationSafety",
    "judge",
    "sample_rows",
    "transformation_findings",
    "transformation_safety",
]

Array = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]

PER_CLASS: Final = 40
MOST: Final = 300

_EXACT = ("flip", "vertical flip", "quarter turn")  # pixels change places, and nothing else
_MARGIN = 0.05  # share of pictures that may be lost on balance
_CLASS_LOSS = 0.1  # share of one class that must be lost on balance to call it unsafe
_LEVEL = 0.01
_TOLD = 0.85  # share of pairs told apart from which changed pictures are of no class …
_FARTHER = 0.6  # … where so many are farther from their class too; 0.5 is chance
_FEWEST = 10  # pairs, of which fewer tell nothing of the kind
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class ClassSafety:
    """One class: of `n` pictures `lost` were right plainly and wrong when changed, `gained` the reverse.

    `became` is the class that most of the lost were taken for, or "". Of `n` pairs, in `told` the
    changed picture could be told from the plain one, and in `farther` it was farther from the
    others of its class. `changes_class` and `no_class` say what is wrong with it.
    """

    name: str
    n: int
    lost: int
    gained: int
    became: str
    told: int
    farther: int
    changes_class: bool
    no_class: bool


@dataclass(frozen=True)
class TransformationSafety:
    """What one change does to `n` pictures, each seen plainly and changed by a probe that knows neither.

    `lost` and `gained` are counted as in `ClassSafety`; `interval` is the 95 % interval of (lost −
    gained) / n (Newcombe 1998), and `p` McNemar's exact one, two-sided. `verdict` is "safe",
    "unsafe" or "unclear": too few pictures to say.
    """

    name: str
    n: int
    lost: int
    gained: int
    interval: tuple[float, float]
    p: float
    told: int
    farther: int
    per_class: tuple[ClassSafety, ...]
    verdict: str

    @property
    def safe(self) -> bool:
        """Shown to be safe."""
        return self.verdict == "safe"

    @property
    def unsafe_classes(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.per_class if c.changes_class or c.no_class)

    def sentence(self) -> str:
        """In one line: "flip is safe: of 300 pictures 2 are lost and 1 gained …"."""
        low, high = self.interval
        named = ", ".join(map(repr, self.unsafe_classes))
        return (
            f"{self.name} is {self.verdict}: of {self.n} pictures {self.lost} are lost and "
            f"{self.gained} gained when {CHANGES[self.name]} (95 % interval of the loss "
            f"{100 * low:.1f} to {100 * high:.1f} %)"
            + (f"; {self.told} can be told from the plain one" if self.name in _EXACT else "")
            + (f"; it changes {named}" if named else "")
        )

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "interval": list(self.interval), "safe": self.safe,
                "per_class": [vars(c) for c in self.per_class]}  # fmt: skip


def transformation_safety(
    dataset: "Dataset",
    embedder: Embedder,
    features: Array,
    *,
    groups: Indices | None = None,
    changes: Sequence[str] = ("flip",),
    per_class: int = PER_CLASS,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[TransformationSafety, ...]:
    """Judge each of `changes` (names of `CHANGES`) on at most `per_class` pictures of a class, 300 in all.

    `features` float32 (N, D) are those of all N pictures of the dataset, plainly, from the same
    embedder; `groups` (N,) has one number for all copies of a picture (default: the dataset's). Costs
    a forward pass for each picture of the sample and change. The answer depends on `seed` alone.

    Raises UsageError for a change that is unknown, DatasetError where there are no two classes with two
    pictures, or where a picture cannot be used any more.
    """
    views = [ChangedView(change) for change in changes]
    own = dataset.groups if groups is None else groups
    rows = sample_rows(dataset.targets, own, per_class=per_class, seed=seed)
    answers = []
    for view in views:
        changed = embed_again(dataset, rows, embedder, view, progress=progress)
        pairs = changed_answers(
            features[rows], changed.values, dataset.targets[rows], len(dataset.classes),
            own[rows], seed=seed,
        )  # fmt: skip
        answers.append(judge(view.change, pairs, dataset.targets[rows], dataset.classes))
    return tuple(answers)


def sample_rows(
    targets: Indices, groups: Indices, *, per_class: int = PER_CLASS, seed: int = 0
) -> Indices:
    """Rows to look at: one of each group of copies, `per_class` of a class at most, `MOST` in all.

    >>> import numpy as np
    >>> len(sample_rows(np.arange(1000) % 10, np.arange(1000)))
    300
    """
    first = np.unique(groups, return_index=True)[1]
    classes = np.unique(targets[first])
    most = max(2, min(per_class, MOST // max(1, len(classes))))
    rng = np.random.default_rng([seed, 59])
    chosen = [rng.permutation(first[targets[first] == own])[:most] for own in classes]
    if len(classes) * most > MOST:  # more than 150 classes: some of them
        chosen = [chosen[i] for i in rng.permutation(len(classes))[: MOST // most]]
    return np.sort(np.concatenate(chosen))


def judge(
    name: str, pairs: Changed, targets: Indices, classes: Sequence[str]
) -> TransformationSafety:
    """The verdict on what a probe answered, plainly and changed, for pictures of `targets` (N,)."""
    plain, changed = pairs.plain.argmax(axis=1), pairs.changed.argmax(axis=1)
    lost = (plain == targets) & (changed != targets)
    gained = (plain != targets) & (changed == targets)
    present = np.unique(targets)
    per_class = tuple(
        _judge_class(name, own, len(present), lost, gained, changed, pairs, targets, classes)
        for own in present
    )
    b, c, n = int(lost.sum()), int(gained.sum()), len(targets)
    low, high = paired_interval(b, c, n)
    told, farther = int(pairs.told.sum()), int(pairs.farther.sum())
    p = exact_p_value(b, c)
    bad = any(own.changes_class or own.no_class for own in per_class)
    bad |= (p <= _LEVEL and (b - c) / n > _MARGIN) or _is_no_class(name, told, farther, n)
    verdict = "unsafe" if bad else "safe" if high < _MARGIN else "unclear"
    return TransformationSafety(name, n, b, c, (low, high), p, told, farther, per_class, verdict)


def _judge_class(
    name: str,
    own: int,
    tests: int,
    lost: NDArray[np.bool_],
    gained: NDArray[np.bool_],
    changed: Indices,
    pairs: Changed,
    targets: Indices,
    classes: Sequence[str],
) -> ClassSafety:
    rows = targets == own
    n, b, c = (int(mask.sum()) for mask in (rows, lost & rows, gained & rows))
    told, farther = int(pairs.told[rows].sum()), int(pairs.farther[rows].sum())
    taken = np.bincount(changed[lost & rows], minlength=len(classes))
    became = classes[int(taken.argmax())] if b else ""
    sure = b > c and exact_p_value(b, c) * tests <= _LEVEL
    changes = sure and (b - c) / n > _CLASS_LOSS
    z = _Z95 if tests == 1 else 2.8  # about 0.5 %, for as many as ten classes
    return ClassSafety(
        classes[own],
        n,
        b,
        c,
        became,
        told,
        farther,
        changes,
        _is_no_class(name, told, farther, n, z),
    )


def _is_no_class(name: str, told: int, farther: int, n: int, z: float = _Z95) -> bool:
    """Told apart in nearly all pairs, surely more than half of them, and farther away in most."""
    most = n >= _FEWEST and told >= _TOLD * n and farther >= _FARTHER * n
    return name in _EXACT and most and wilson_interval(told, n, z)[0] > 0.5


def paired_interval(lost: int, gained: int, n: int) -> tuple[float, float]:
    """The 95 % interval of (lost − gained) / n, from Wilson's intervals of the two (Newcombe 1998).

    >>> low, high = paired_interval(2, 1, 300)
    >>> f"{low:.3f} {high:.3f}"
    '-0.013 0.021'
    """
    b, c = lost / n, gained / n
    (b_low, b_high), (c_low, c_high) = wilson_interval(lost, n), wilson_interval(gained, n)
    low, high = math.hypot(b - b_low, c_high - c), math.hypot(b_high - b, c - c_low)
    return b - c - low, b - c + high


_CHECKS = {
    "flip": ("flip", "train with --no-flip"),
    "vertical flip": ("flip", "do not mirror top to bottom in training"),
    "quarter turn": ("rotate", "do not turn by 90° in training"),
    "tilt": ("rotate", "keep rotation out of training"),
    "zoom": ("crop", "train with --fit pad or squish, so that nothing is cut away"),
}


def transformation_findings(safeties: Sequence[TransformationSafety]) -> list[Finding]:
    """A finding (`flip`, `rotate` or `crop`) for each change that is unsafe, the worst first.

    `score` is the share of the pictures that keep their class, of the worst class.
    """
    found = [
        Finding(
            _CHECKS[safety.name][0],
            (),
            max(0.0, min(1 - max(0, c.lost - c.gained) / c.n for c in safety.per_class)),
            safety.sentence(),
            _CHECKS[safety.name][1],
            safety.to_json(),
        )
        for safety in safeties
        if safety.verdict == "unsafe"
    ]
    return sorted(found, key=lambda finding: finding.score)
