"""Near copies: a few candidates for each picture, then looks at each of them, each closer than the last."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.agreement import Agreement, align_roughly, measure
from tellapart.data.copies.candidates import Candidates, find_candidates
from tellapart.data.copies.kinds import is_tilted, name_kinds
from tellapart.data.copies.rows import Rows
from tellapart.data.copies.search import Search
from tellapart.data.copies.windows import Match, match_windows
from tellapart.data.ordered_map import ordered_map

__all__ = ["NearCopies", "find_near_copies"]

Array = NDArray[np.float32]
Indices = NDArray[np.intp]

_LEAST_CORRELATION: Final = 0.5
_PROMISE: Final = (  # weights of coarse, nearness and standing out, and bias: each loses 0.2 % of copies
    (3.5, 13.6, 0.0, -13.0),
    (2.69, -3.52, 17.63, -3.07),
)
_ROUGH: Final = (
    2.48,
    1.89,
    18.42,
    -10.38,
)  # of rough, coarse and standing out, and bias: 0.5 % lost
_SCORE: Final = {  # weights, for aligned pairs: copies are above 0
    "detail": 2.86, "agreeing": 1.56, "kept": 2.59, "standing_out": 13.97, "coarse": 1.10,
    "bias": -12.0,
}  # fmt: skip
_TURNED: Final = (
    1.2  # taken off: eight ways to lay a picture are eight chances to agree by accident
)
_TILTED: Final = 1.0
_LEAST_AGREEING: Final = 0.5
_FEW_BELOW: Final = 6  # pairs, and …
_SHARE_BELOW: Final = 0.1  # … share of those above a bound, that may lie less than 1 below it
_HIGHEST: Final = 9
_PAIRS: Final = 256  # that are aligned at a time


@dataclass(frozen=True)
class NearCopies:
    """Near copies like those of `Copies`, M of them; `score` (M,) is how surely they are."""

    copy: Indices
    original: Indices
    kinds: NDArray[np.object_]
    similarity: Array
    score: Array

    def at(self, rows: NDArray[np.bool_]) -> Self:
        """Some of the pairs."""
        return type(self)(*(value[rows] for value in vars(self).values()))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The pairs of all parts."""
        none = np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, object)
        every = [cls(*none, *np.empty((2, 0), np.float32)), *parts]
        return cls(*map(np.concatenate, zip(*(vars(part).values() for part in every), strict=True)))


def find_near_copies(
    rows: Indices,
    facts: NDArray[np.void],
    vectors: Rows,
    workers: int,
    seed: int,
    report: Callable[[str, int, int], None],
    search: Search,
) -> NearCopies:
    """Near copies among some rows of N pictures."""
    from threadpoolctl import threadpool_limits  # a base install has none, and finds no copies

    thumbnails = facts["thumbnail"]
    sizes = np.stack([facts["width"], facts["height"]], axis=1).astype(np.int64)
    pairs = find_candidates(rows, thumbnails, vectors, seed, search)
    half, parts = len(pairs) // 2, []

    def compare(part: slice) -> NearCopies | None:
        return _compare(thumbnails, match.at(part), promising.standing_out[part], sizes)

    with threadpool_limits(1, user_api="blas"):  # each worker is a thread already
        match = match_windows(
            thumbnails, pairs.a, pairs.b, workers,
            lambda done, total: report("copies", half * done // total, len(pairs)),
        )  # fmt: skip
        chosen = _promising(match.correlation, pairs)
        match, promising = match.at(chosen), pairs.at(chosen)
        chunks = [slice(at, at + _PAIRS) for at in range(0, len(promising), _PAIRS)]
        for done, part in enumerate(ordered_map(compare, chunks, workers=workers), 1):
            parts.append(part)
            report("copies", half + (len(pairs) - half) * done // len(chunks), len(pairs))
    report("copies", len(pairs), len(pairs))
    found = NearCopies.joined([part for part in parts if part is not None])
    return found.at(found.score > standing_apart(found.score))


def standing_apart(scores: Array) -> int:
    """The score, 0 or more, above which pairs stand apart from those below it.

    Copies do: few pairs lie just below them. Where pictures are simple, as digits or icons on plain
    ground are, other pictures agree nearly as well, scores fall off without a gap, and a fixed bound
    would make one group of a whole class. `scores` are those above −1.

    >>> standing_apart(np.array([9.0, 12.0, 8.0, -0.5], np.float32))
    0
    >>> standing_apart(np.linspace(-1, 3, 400).astype(np.float32))
    4
    """
    for bound in range(_HIGHEST):
        below = int(((scores > bound - 1) & (scores <= bound)).sum())
        if below <= _FEW_BELOW + _SHARE_BELOW * int((scores > bound).sum()):
            return bound
    return _HIGHEST


def _promising(correlation: Array, pairs: Candidates) -> NDArray[np.bool_]:
    """Which pairs are worth aligning, (P,)."""
    promising = correlation >= _LEAST_CORRELATION
    coarse = -np.log(1.01 - correlation)
    for by_coarse, by_nearness, by_out, bias in _PROMISE:
        told = by_nearness * pairs.nearness + by_out * pairs.standing_out
        promising &= by_coarse * coarse + told + bias > 0
    return promising


def _compare(
    thumbnails: NDArray[np.uint8], match: Match, out: Array, sizes: NDArray[np.int64]
) -> NearCopies | None:
    """Those of some pairs that are copies, or nearly."""
    rough = align_roughly(thumbnails, match)
    by_rough, by_coarse, by_out, bias = _ROUGH
    told = -by_rough * np.log(1.02 - rough.correlation) + by_out * out + bias
    chosen = told - by_coarse * np.log(1.01 - match.correlation) > 0
    if not chosen.any():
        return None
    match, out = match.at(chosen), out[chosen]
    agreement = measure(thumbnails, match, rough.affine[chosen])
    score = _score(agreement, match.correlation, out)
    score -= _TURNED * (match.turn != 0) + _TILTED * is_tilted(match, agreement, sizes)
    accepted = (score > -1) & (agreement.agreeing > _LEAST_AGREEING)
    agreement = agreement.at(accepted)
    named = name_kinds(match.at(accepted), agreement, sizes)
    return NearCopies(*named, agreement.agreeing, score[accepted])


def _score(agreement: Agreement, coarse: Array, out: Array) -> Array:
    """The log odds of a copy, by a logistic regression on planted copies, less 0.5 for safety."""
    numbers = {  # correlations and shares as the logarithm of their distance from 1
        "detail": -np.log(1.03 - agreement.detail),
        "agreeing": -np.log(1.02 - agreement.agreeing),
        "kept": agreement.kept,
        "standing_out": out,
        "coarse": -np.log(1.01 - coarse),
    }
    score = np.full(len(coarse), _SCORE["bias"], np.float32)
    for name, values in numbers.items():
        score += np.float32(_SCORE[name]) * values
    return score
