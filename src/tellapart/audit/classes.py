"""Classes that are too uneven, too small, or that cannot be told apart.

All of it is counting: pictures that are copies of one another count once. What it does not know: why
two classes are alike, whether for their labels, their pictures or what they mean.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.finding import Finding
from tellapart.audit.subject import Subject
from tellapart.evaluation.metrics import wilson_interval
from tellapart.training.logistic import Array, Indices

__all__ = [
    "Pair", "class_sizes", "confusable", "confused_pairs", "imbalance", "least_for_half_width",
    "tiny_class",
]  # fmt: skip

UNEVEN: Final = 3.0
"""From this ratio of the largest to the smallest class on, training weighs all classes the same."""

HALF_WIDTH: Final = 0.1
"""How exactly a class's recall is to be known: a 95 % interval of ± 10 percentage points."""

BLURRED: Final = 0.1
"""Two classes count as confusable where the error between them is surely above this; 0.5 is chance."""

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Pair:
    """Of `n` pictures of the classes `first` and `second`, `errors` were taken for the other one.

    `rate` is the mean of both classes' rates, so that neither counts for its size: 0.5 is chance.
    `low` and `high` are its 95 % interval, over as many pairs of classes as were looked at. `ceiling`
    is the rate that wrong labels alone would explain.
    """

    first: str
    second: str
    n: int
    errors: int
    rate: float
    low: float
    high: float
    ceiling: float


def class_sizes(targets: Indices, groups: Indices, classes: int) -> Indices:
    """Different pictures by class, (K,): copies of one class count once.

    >>> import numpy as np
    >>> class_sizes(np.array([0, 0, 0, 1]), np.array([5, 5, 6, 7]), 3).tolist()
    [2, 1, 0]
    """
    different = np.unique(np.stack([targets, groups], axis=1), axis=0)
    return np.bincount(different[:, 0], minlength=classes).astype(np.intp)


def least_for_half_width(rate: float, half_width: float = HALF_WIDTH) -> int:
    """Pictures of a class needed before the 95 % interval of its `rate` is no wider than ± half_width.

    Wilson's interval, of which the width falls with n; both are in (0, 1).

    >>> least_for_half_width(0.95)
    25
    """
    low, high = 1, 2
    while _half_width(rate, high) > half_width:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _half_width(rate, middle) > half_width else (low, middle)
    return high


def _half_width(rate: float, n: int) -> float:
    zz = _Z95 * _Z95
    return _Z95 / (1 + zz / n) * math.sqrt(rate * (1 - rate) / n + zz / (4 * n * n))


def imbalance(subject: Subject) -> list[Finding]:
    """`imbalance`: the largest class has at least three times as many pictures as the smallest."""
    sizes = class_sizes(subject.targets, subject.groups, len(subject.classes))
    present = np.flatnonzero(sizes)
    if len(present) < 2:
        return []
    most, least = present[sizes[present].argmax()], present[sizes[present].argmin()]
    ratio = sizes[most] / sizes[least]
    if ratio < UNEVEN:
        return []
    large, small = subject.classes[most], subject.classes[least]
    guess = sizes[most] / sizes.sum()
    effect = _effect(subject, int(most), int(least))
    return [
        Finding(
            "imbalance",
            (),
            float(1 / ratio),
            f"{large!r} has {sizes[most]:,} different pictures and {small!r} {sizes[least]:,}, "
            f"{ratio:.1f} times fewer; always answering {large!r} would be right in "
            f"{100 * guess:.0f} % of cases. {effect}",
            f"add pictures of {small!r}; until then judge by the balanced accuracy",
            {
                "largest": large, "smallest": small, "ratio": float(ratio),
                "majority_share": float(guess),
                "sizes": {name: int(n) for name, n in zip(subject.classes, sizes, strict=True)},
            },
        )
    ]  # fmt: skip


def _effect(subject: Subject, most: int, least: int) -> str:
    """What a probe without class weights makes of both."""
    parts = []
    for k in (most, least):
        right, n = _recognised(subject, k)
        low, high = wilson_interval(right, n)
        parts.append(f"{right:,} of {n:,} ({100 * low:.0f}–{100 * high:.0f} %)")
    return f"A probe that has not seen them finds {parts[0]} and {parts[1]}"


def _recognised(subject: Subject, k: int) -> tuple[int, int]:
    """How many different pictures of a class a probe finds that has not seen them, and of how many."""
    rows = np.flatnonzero(subject.targets == k)
    rows = rows[np.unique(subject.groups[rows], return_index=True)[1]]
    return int((subject.probabilities[rows].argmax(axis=1) == k).sum()), len(rows)


def tiny_class(subject: Subject) -> list[Finding]:
    """`tiny_class`: too few pictures for an honest figure of how well the class is recognised."""
    sizes = class_sizes(subject.targets, subject.groups, len(subject.classes))
    guesses, findings = subject.probabilities.argmax(axis=1), []
    overall = float((guesses == subject.targets).mean()) if len(guesses) else 0.0
    needed = least_for_half_width(min(max(overall, 0.5), 0.99))
    for k in np.argsort(sizes, kind="stable").tolist():
        if sizes[k] >= needed:
            break
        right, n = _recognised(subject, k)
        low, high = wilson_interval(right, n)
        name = subject.classes[k]
        findings.append(
            Finding(
                "tiny_class",
                (),
                float(sizes[k] / needed),
                f"{name!r} has {sizes[k]} different pictures, of which a probe that has not seen them "
                f"finds {right} of {n}: anything from {100 * low:.0f} to {100 * high:.0f} % may be true",
                f"give {needed} or more to know it to ± {100 * HALF_WIDTH:.0f} percentage points",
                {
                    "class": name, "pictures": int(sizes[k]), "needed": needed,
                    "recall": right / max(n, 1), "low": low, "high": high,
                },
            )
        )  # fmt: skip
    return findings


def confused_pairs(
    probabilities: Array, targets: Indices, groups: Indices, classes: tuple[str, ...]
) -> list[Pair]:
    """Pairs of classes of which some pictures are taken for the other, the most confused first.

    `probabilities` float32 (N, K) are out-of-fold. A picture is taken for the likelier of the pair's
    two classes; of copies, one counts. The interval is Newcombe's (1998) for the mean of two rates,
    from Wilson's, at 95 % over all K (K − 1) / 2 pairs together (Bonferroni).
    """
    first_of_group = np.unique(np.stack([groups, targets], axis=1), axis=0, return_index=True)[1]
    probabilities, targets = probabilities[first_of_group], targets[first_of_group]
    k = len(classes)
    z = _normal_quantile(1 - 0.025 / max(k * (k - 1) // 2, 1))
    counts = np.bincount(targets, minlength=k)
    swaps = _denied(probabilities, targets, k)
    beats = np.stack([_beaten(probabilities[targets == a], a) for a in range(k)])
    pairs = []
    for a in range(k):
        for b in range(a + 1, k):
            if counts[a] and counts[b] and beats[a, b] + beats[b, a]:
                ceiling = (swaps[a, b] / counts[a] + swaps[b, a] / counts[b]) / 2
                rates = ((int(beats[a, b]), int(counts[a])), (int(beats[b, a]), int(counts[b])))
                pairs.append(_pair((classes[a], classes[b]), rates, z, float(ceiling)))
    return sorted(pairs, key=lambda pair: (-pair.low, -pair.rate, pair.first, pair.second))


def _beaten(probabilities: Array, own: int) -> Indices:
    """By class, how many pictures of the class `own` have a higher probability of that one; (K,)."""
    return np.asarray((probabilities > probabilities[:, own : own + 1]).sum(axis=0), np.intp)


def _denied(probabilities: Array, targets: Indices, classes: int) -> NDArray[np.intp]:
    """Pictures of class a that are confidently b, (K, K): what wrong labels alone look like.

    Confident as in confident learning: at least as likely as b is on average for the pictures
    labelled b; and with odds of 3 : 1 or more, which classes that are really alike do not give.
    """
    usual = np.ones(classes)
    for k in np.unique(targets):
        usual[k] = probabilities[targets == k, k].mean()
    guess = probabilities.argmax(axis=1)
    sure = probabilities[np.arange(len(guess)), guess] >= np.maximum(usual[guess], 0.75)
    counts = np.zeros((classes, classes), np.intp)
    np.add.at(counts, (targets[sure], guess[sure]), 1)
    return counts


def _pair(
    names: tuple[str, str], rates: tuple[tuple[int, int], tuple[int, int]], z: float, ceiling: float
) -> Pair:
    share = [x / n for x, n in rates]
    bounds = [wilson_interval(x, n, z) for x, n in rates]
    rate = sum(share) / 2
    down = math.hypot(*(p - low for p, (low, _) in zip(share, bounds, strict=True))) / 2
    up = math.hypot(*(high - p for p, (_, high) in zip(share, bounds, strict=True))) / 2
    n, errors = sum(n for _, n in rates), sum(x for x, _ in rates)
    return Pair(*names, n, errors, rate, max(rate - down, 0.0), min(rate + up, 1.0), ceiling)


def _normal_quantile(p: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)


def confusable(subject: Subject) -> list[Finding]:
    """`confusable`: pairs between which a probe errs more than 1 time in 10, beyond wrong labels.

    The lower end of the interval has to be above 0.1 plus what wrong labels alone would explain.
    """
    pairs = confused_pairs(subject.probabilities, subject.targets, subject.groups, subject.classes)
    findings = []
    for pair in pairs:
        if pair.low <= BLURRED + pair.ceiling:
            continue
        chance = "no better than chance" if pair.high >= 0.5 else "chance is 50 %"
        findings.append(
            Finding(
                "confusable",
                (),
                max(0.0, 1 - 2 * pair.rate),
                f"between {pair.first!r} and {pair.second!r} a probe that has not seen them errs in "
                f"{100 * pair.rate:.0f} % ({100 * pair.low:.0f}–{100 * pair.high:.0f}) of cases: "
                f"{pair.errors:,} of {pair.n:,} pictures; {chance}",
                "merge them, or say more clearly what belongs into which and look at the labels",
                dict(vars(pair)),
            )
        )
    return findings
