"""Copies as findings: pictures that are superfluous, held-out ones that leaked, labels that disagree.

Copies of a copy are copies: all pictures of a group belong together, whether or not each two of them
were found alike. Of the pictures of a group that lie in one split, the one that is least often the
copy of another is kept, the largest of those. What the comparison does not know
(`data/copies/agreement.py`) these checks do not know either.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.finding import Finding
from tellapart.audit.subject import Subject
from tellapart.data.copies import Copies, connected

__all__ = ["conflict", "exact_duplicate", "leak", "near_duplicate"]

Indices = NDArray[np.intp]

_EQUAL = ("exact", "pixels")
_HALF = 0.5  # the score of a copy that agrees in nothing; one that agrees throughout has 0
_TRAINED = {
    "train": 2,
    "valid": 1,
}  # what a leak leads to: from the test part to the others, and so on


def exact_duplicate(subject: Subject) -> list[Finding]:
    """Superfluous pictures with the same bytes or pixels as another of their split."""
    links = _Links.of(subject)
    return [
        _finding("exact_duplicate", subject, links, row, kept, "keep one of them")
        for row, kept, equal in _superfluous(subject, links)
        if equal
    ]


def near_duplicate(subject: Subject) -> list[Finding]:
    """Superfluous pictures that show what another of their split shows, changed."""
    links = _Links.of(subject)
    return [
        _finding("near_duplicate", subject, links, row, kept, "keep the better one")
        for row, kept, equal in _superfluous(subject, links)
        if not equal
    ]


def leak(subject: Subject) -> list[Finding]:
    """Held-out pictures that have a copy in the training part, or in valid while they are in test."""
    links, splits = _Links.of(subject), subject.splits
    findings = []
    for members in _groups(subject.copies):
        for row in members:
            rank = _TRAINED.get(str(splits[row]), 0)
            others = [other for other in members if _TRAINED.get(str(splits[other]), 0) > rank]
            if not splits[row] or not others:
                continue
            most = max(_TRAINED[str(splits[other])] for other in others)
            nearest = links.nearest(row, [o for o in others if _TRAINED[str(splits[o])] == most])
            advice = f"take it out of {splits[row]}, or divide anew"
            place = f"; that one is in {splits[nearest]}, this one in {splits[row]}"
            findings.append(_finding("leak", subject, links, row, nearest, advice, place))
    return findings


def conflict(subject: Subject) -> list[Finding]:
    """Copies with different labels, each of them named once."""
    copies, targets, links = subject.copies, subject.targets, _Links.of(subject)
    apart = np.flatnonzero(targets[copies.copy] != targets[copies.original])
    findings: dict[int, Finding] = {}
    for pair in apart[np.argsort(-copies.similarity[apart], kind="stable")]:
        row, other = int(copies.copy[pair]), int(copies.original[pair])
        labels = [subject.classes[targets[end]] for end in (row, other)]
        words = f"; this one is labelled {labels[0]}, that one {labels[1]}"
        advice = "decide on one label, or remove both"
        if row not in findings:
            findings[row] = _finding("conflict", subject, links, row, other, advice, words)
    return [findings[row] for row in sorted(findings)]


@dataclass(frozen=True)
class _Links:
    """The pairs by their two pictures, smaller number first, and what equals what: a number per picture."""

    copies: Copies
    pairs: dict[tuple[int, int], int]
    equal: Indices

    @classmethod
    def of(cls, subject: Subject) -> "_Links":
        copies = subject.copies
        ends = zip(copies.copy.tolist(), copies.original.tolist(), strict=True)
        pairs = {(min(pair), max(pair)): number for number, pair in enumerate(ends)}
        same = np.isin(copies.kinds.astype(str), _EQUAL)
        equal = connected(copies.copy[same], copies.original[same], len(copies.groups))
        return cls(copies, pairs, equal)

    def pair(self, row: int, other: int) -> int | None:
        return self.pairs.get((min(row, other), max(row, other)))

    def similarity(self, row: int, other: int) -> float:
        """Of two pictures; 1 where they are equal, 0 where only others connect them."""
        pair = self.pair(row, other)
        if self.equal[row] == self.equal[other]:
            return 1.0
        return 0.0 if pair is None else float(self.copies.similarity[pair])

    def nearest(self, row: int, others: Sequence[int]) -> int:
        return max(others, key=lambda other: (self.similarity(row, other), -other))


def _groups(copies: Copies) -> list[list[int]]:
    """The pictures of each group of two or more."""
    order = np.argsort(copies.groups, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(copies.groups))[:-1])
    return [part.tolist() for part in parts if len(part) > 1]


def _superfluous(subject: Subject, links: _Links) -> list[tuple[int, int, bool]]:
    """Pictures that another of their split stands for, that one, and whether the two are equal."""
    times = np.bincount(subject.copies.copy, minlength=len(subject.copies.groups))
    pixels = subject.facts["width"].astype(np.int64) * subject.facts["height"]
    found = []
    for members in _groups(subject.copies):
        for split in {str(subject.splits[row]) for row in members}:
            own = [row for row in members if subject.splits[row] == split]
            own.sort(key=lambda row: (times[row], -pixels[row], row))
            for place, row in enumerate(own[1:], 1):
                kept = links.nearest(row, own[:place])
                found.append((row, kept, bool(links.equal[row] == links.equal[kept])))
    return sorted(found)


def _finding(
    check: str,
    subject: Subject,
    links: _Links,
    row: int,
    other: int,
    suggestion: str,
    more: str = "",
) -> Finding:
    pair = links.pair(row, other)
    similarity = links.similarity(row, other)
    kind = "" if pair is None else str(links.copies.kinds[pair])
    if not kind and links.equal[row] == links.equal[other]:
        kind = "exact"
    backwards = pair is not None and int(links.copies.copy[pair]) != row
    evidence = _words(kind, subject.paths[other], similarity, backwards) + more
    details = {"kind": kind, "similarity": round(similarity, 4)}
    paths = subject.paths[row], subject.paths[other]
    score = round(_HALF * (1 - similarity), 4)
    return Finding(check, paths, score, evidence, suggestion, details)


def _words(kind: str, other: str, similarity: float, backwards: bool = False) -> str:
    """What a pair has in common.

    >>> _words("mirrored, cropped", "b.jpg", 0.964)
    'a copy of b.jpg (mirrored, cropped); 96 % of the overlapping part agree'
    """
    if not kind:
        return f"a copy of {other} by way of other copies"
    if kind in _EQUAL:
        return f"the same {'bytes' if kind == 'exact' else 'pixels'} as {other}"
    share = f"{round(100 * similarity)} % of the overlapping part agree"
    return (
        f"{other} is a copy of it ({kind}); {share}"
        if backwards
        else f"a copy of {other} ({kind}); {share}"
    )
