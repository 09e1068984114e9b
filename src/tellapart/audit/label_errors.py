"""Labels that are probably wrong, pictures unlike all others, and pictures between two classes.

A wrong label is found as confident learning finds it (Northcutt, Jiang & Chuang 2021), by a model that
has not seen the picture; and then: pictures whose label the out-of-fold probabilities deny are taken
out of training and everything is scored once more, since wrong labels teach the model to believe them.
The labels of the nearest neighbours have a say beside it. cleanlab's filters and ranks, given the same
probabilities, find fewer of the planted errors and raise more false alarms
(`benchmarks/label_errors.py`), and importing it takes as long as checking thousands of pictures.

What it does not know: errors that a whole class shares, and labels in classes of fewer than 5 pictures.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.finding import Finding
from tellapart.audit.neighbours import Neighbours
from tellapart.audit.out_of_fold import held_out
from tellapart.audit.subject import Subject
from tellapart.training.logistic import Array, Indices

__all__ = [
    "REFIT", "LabelQuality", "ambiguous", "ambiguous_pictures", "atypical_pictures", "atypicality",
    "believed_labels", "judge_labels", "label_errors", "label_quality",
]  # fmt: skip

SUSPECT: Final = 0.25
"""Label scores below this are reported."""

ATYPICAL: Final = 3.0
"""Distances from here on are reported, in robust standard deviations above the class's median."""

REFIT: Final = (20.0,)
"""The penalty of the regression that believed labels alone teach."""

_LEAST = 5  # pictures that a class needs for its labels to be judged
_MOST_TOGETHER, _LEAST_BOTH = 1.5, 0.8  # odds of the two likeliest classes; their sum


@dataclass(frozen=True)
class LabelQuality:
    """How far each of N labels can be believed.

    `score` float32 (N,) in [0, 1]: low is bad, and below `SUSPECT` is reported. `suggested` (N,) is
    the likeliest class. `probabilities` float32 (N, K) are out-of-fold, from a regression that was
    not taught the suspects; `votes` float32 (N, K) are the neighbours'. `judged` (N,) is False in
    classes that are too small, where the score is 1.
    """

    score: NDArray[np.float32]
    suggested: Indices
    probabilities: NDArray[np.float32]
    votes: NDArray[np.float32]
    judged: NDArray[np.bool_]

    def suspects(self, targets: Indices) -> Indices:
        """Rows to be reported, the worst first."""
        rows = np.flatnonzero((self.score < SUSPECT) & (self.suggested != targets))
        return rows[np.argsort(self.score[rows], kind="stable")]


def label_quality(
    components: Array,
    probabilities: Array,
    targets: Indices,
    folds: Indices,
    neighbours: Neighbours,
    *,
    workers: int = 2,
) -> LabelQuality:
    """Score every label, whatever part of the data it is in.

    `components` float32 (N, R), `probabilities` float32 (N, K) and `folds` (N,) are those of
    `out_of_fold`, `targets` (N,) the labels. With odds o of the label against the likeliest other
    class, and v the same difference among the neighbours' votes, the score is
    (tanh(ln(o) / 4) + 2 v + 3) / 6.
    """
    believed = believed_labels(probabilities, targets)
    refitted = held_out(
        components, targets, probabilities.shape[1], folds,
        sample_weight=believed.astype(np.float32), strengths=REFIT, workers=workers,
    )  # fmt: skip
    return judge_labels(refitted, neighbours, targets, folds)


def believed_labels(probabilities: Array, targets: Indices) -> NDArray[np.bool_]:
    """Which labels, (N,), the out-of-fold `probabilities` (N, K) do not deny; of each class two at least."""
    classes = probabilities.shape[1]
    believed: NDArray[np.bool_] = probabilities.argmax(axis=1) == targets
    counts = np.bincount(targets, minlength=classes)
    left = np.bincount(targets[believed], minlength=classes)
    return believed | (left < np.minimum(counts, 2))[targets]  # no class may go as a whole


def judge_labels(
    refitted: Array,
    neighbours: Neighbours,
    targets: Indices,
    folds: Indices,
    *,
    counting: Array | None = None,
) -> LabelQuality:
    """Score every label by `refitted` (N, K), out-of-fold probabilities that believed labels alone taught.

    Pictures whose `counting` (N,) is 0 have no vote.
    """
    classes = refitted.shape[1]
    counts = np.bincount(targets, minlength=classes)
    votes = neighbours.votes(targets, classes, counting)
    odds = _margin(np.log(np.maximum(refitted, np.float32(1e-12))), targets)
    score = (np.tanh(odds / 4) + 2 * _margin(votes, targets) + 3) / 6
    within = np.zeros((int(folds.max()) + 1, classes), np.intp)
    np.add.at(within, (folds, targets), 1)
    judged = (counts[targets] >= _LEAST) & (counts[targets] > within[folds, targets])
    score = np.where(judged, np.clip(score, 0, 1), 1)
    return LabelQuality(score.astype(np.float32), refitted.argmax(axis=1), refitted, votes, judged)


def _margin(values: Array, targets: Indices) -> Array:
    """Each row's value of its own class, less the largest other one; (N,)."""
    rows = np.arange(len(targets))
    others = values.copy()
    others[rows, targets] = -np.inf
    return values[rows, targets] - others.max(axis=1)


def atypicality(neighbours: Neighbours, targets: Indices) -> NDArray[np.float32]:
    """How far each picture is from all others, in robust standard deviations of its class; (N,).

    It is the logarithm of the distance to the neighbours, of whatever class, less the class's median,
    divided by 1.4826 times the median of such deviations, or that of all pictures where it is larger.
    """
    distance = np.log(np.maximum(neighbours.distance, np.float32(1e-6)))
    common = _spread(distance)
    answer = np.zeros_like(distance)
    for target in np.unique(targets):
        own = targets == target
        centre = np.median(distance[own]) if own.sum() >= _LEAST else np.median(distance)
        answer[own] = (distance[own] - centre) / max(_spread(distance[own]), common)
    return answer


def _spread(values: Array) -> float:
    return max(1.4826 * float(np.median(np.abs(values - np.median(values)))), 1e-6)


def ambiguous(probabilities: Array) -> Indices:
    """Rows of `probabilities` (N, K) in which two classes are about equally likely, the closest first.

    These are at odds of at most 3 : 2, and together have a probability of at least 0.8.

    >>> import numpy as np
    >>> ambiguous(np.array([[0.9, 0.1, 0.0], [0.5, 0.45, 0.05], [0.4, 0.3, 0.3]])).tolist()
    [1]
    """
    first, second = np.sort(probabilities, axis=1)[:, :-3:-1].T
    rows = np.flatnonzero((first <= _MOST_TOGETHER * second) & (first + second >= _LEAST_BOTH))
    return rows[np.argsort((first - second)[rows], kind="stable")]


def label_errors(subject: Subject) -> list[Finding]:
    """`label_error`: labels that are probably wrong, in training and validation pictures alike."""
    quality = label_quality(
        subject.components, subject.probabilities, subject.targets, subject.folds,
        subject.neighbours, workers=subject.workers,
    )  # fmt: skip
    names, findings = subject.classes, []
    for row in quality.suspects(subject.targets).tolist():
        label, other = names[subject.targets[row]], names[quality.suggested[row]]
        probability = float(quality.probabilities[row, quality.suggested[row]])
        votes = float(quality.votes[row, quality.suggested[row]])
        findings.append(
            Finding(
                "label_error",
                (subject.paths[row],),
                float(quality.score[row]),
                f"labelled {label!r}; a probe that has not seen it says {other!r} "
                f"(probability {probability:.2f}), and so do {100 * votes:.0f} % of its neighbours",
                f"label it {other!r} if you agree",
                {
                    "label": label, "suggested": other, "probability": probability,
                    "neighbours": votes,
                },
            )
        )  # fmt: skip
    return findings


def atypical_pictures(subject: Subject) -> list[Finding]:
    """`outlier`: pictures far from all of their class and of the others."""
    far = atypicality(subject.neighbours, subject.targets)
    rows = np.flatnonzero(far >= ATYPICAL)
    rows = rows[np.argsort(-far[rows], kind="stable")]
    return [
        Finding(
            "outlier",
            (subject.paths[row],),
            float(1 / (1 + far[row])),
            f"unlike all others: the distance to its nearest pictures is {far[row]:.1f} robust "
            f"standard deviations above what is usual in {subject.classes[subject.targets[row]]!r}",
            "remove it if it does not belong there",
            {"deviations": float(far[row])},
        )
        for row in rows.tolist()
    ]


def ambiguous_pictures(subject: Subject) -> list[Finding]:
    """`ambiguous`: pictures between two classes, one of which is their label."""
    findings = []
    for row in ambiguous(subject.probabilities).tolist():
        own = int(subject.targets[row])
        second, first = np.argsort(subject.probabilities[row], kind="stable")[-2:].tolist()
        if own not in (first, second):
            continue
        p, q = (float(subject.probabilities[row, k]) for k in (first, second))
        names = [subject.classes[k] for k in (first, second)]
        findings.append(
            Finding(
                "ambiguous",
                (subject.paths[row],),
                (p - q) / (p + q),
                f"labelled {subject.classes[own]!r}; a probe that has not seen it cannot tell "
                f"{names[0]!r} ({p:.2f}) from {names[1]!r} ({q:.2f})",
                "look whether it shows both; crop or remove it then",
                {"classes": names, "probabilities": [p, q]},
            )
        )
    return findings
