"""Near copies: a few candidates for each picture, then a look at each of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.agreement import Agreement, measure
from tellapart.data.copies.descriptor import LENGTH, grey, turnless
from tellapart.data.copies.kinds import is_tilted, name_kinds
from tellapart.data.copies.neighbours import nearest, principal
from tellapart.data.copies.windows import match_windows
from tellapart.data.ordered_map import ordered_map

__all__ = ["NearCopies", "find_near_copies"]

Array = NDArray[np.float32]
Indices = NDArray[np.intp]

_FLAT: Final = 2.0  # levels; a thumbnail whose brightness varies less shows nothing to compare
_DIMENSIONS: Final = 64
_NEIGHBOURS: Final = 8  # in the vectors
_CROWD: Final = 8  # a pair stands out as far as it is nearer than both ends' 8th nearest neighbours
_LEAST_LEVEL: Final = 0.3  # nearness of those where there are few pictures or none alike
_LOOKALIKES: Final = 4  # neighbours in the turnless descriptor
_LOOK: Final = 0.9  # least product of the descriptors of lookalikes
_FEW: Final = 64  # pictures of which every pair is compared
_LEAST_CORRELATION: Final = 0.5
_PROMISE: Final = (  # weights of coarse, nearness and standing out, and bias: each loses 0.2 % of copies
    (3.5, 13.6, 0.0, -13.0),
    (2.69, -3.52, 17.63, -3.07),
)
_SCORE: Final = {  # weights, for aligned pairs: copies are above 0
    "detail": 2.86, "agreeing": 1.56, "kept": 2.59, "standing_out": 13.97, "coarse": 1.10,
    "bias": -12.0,
}  # fmt: skip
_TURNED: Final = (
    1.2  # taken off: eight ways to lay a picture are eight chances to agree by accident
)
_TILTED: Final = 1.0
_LEAST_AGREEING: Final = 0.5
_PAIRS: Final = 64  # that are aligned at a time, to stay within the processor's cache
_CHUNK: Final = 8192  # candidates that a worker looks at, at a time
_USUAL_COSINE: Final = 0.4  # of two pictures; what is assumed before any are seen


@dataclass(frozen=True)
class NearCopies:
    """Near copies like those of `Copies`, M of them."""

    copy: Indices
    original: Indices
    kinds: NDArray[np.object_]
    similarity: Array


@dataclass(frozen=True)
class _Pictures:
    thumbnails: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    vectors: NDArray[np.floating]
    usual: float

    def nearness(self, a: Indices, b: Indices) -> Array:
        """The cosine of pairs on a scale on which that of any two pictures is 0, (P,)."""
        cosine = np.empty(len(a), np.float32)
        for start in range(0, len(a), 512):
            part = slice(start, start + 512)
            products = _unit(self.vectors[a[part]]) * _unit(self.vectors[b[part]])
            cosine[part] = products.sum(axis=1)
        return (cosine - np.float32(self.usual)) / np.float32(1 - self.usual)


def find_near_copies(
    rows: Indices,
    facts: NDArray[np.void],
    vectors: NDArray[np.floating],
    workers: int,
    seed: int,
    report: Callable[[str, int, int], None],
) -> NearCopies:
    """Near copies among some rows of N pictures."""
    from threadpoolctl import threadpool_limits  # a base install has none, and finds no copies

    look, shown = _looks(rows, facts)
    rows = rows[shown]
    a, b = _candidates(look[shown], vectors, rows, seed)
    sizes = np.stack([facts["width"], facts["height"]], axis=1).astype(np.int64)
    usual = _usual_cosine(vectors, rows, seed)
    pictures = _Pictures(facts["thumbnail"], sizes, vectors, usual)
    nearness = pictures.nearness(rows[a], rows[b])
    out = _standing_out(a, b, nearness, len(rows))
    parts, done = [_NONE], 0

    def compare(pairs: slice) -> tuple[int, NearCopies]:
        found = _compare(rows[a[pairs]], rows[b[pairs]], nearness[pairs], out[pairs], pictures)
        return len(a[pairs]), found

    chunks = (slice(start, start + _CHUNK) for start in range(0, len(a), _CHUNK))
    with threadpool_limits(1, user_api="blas"):  # each worker is a thread already
        for size, part in ordered_map(compare, chunks, workers=workers):
            parts.append(part)
            done += size
            report("copies", done, len(a))
    return _joined(parts)


_NONE = NearCopies(
    np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, object), np.zeros(0, np.float32)
)


def _joined(parts: list[NearCopies]) -> NearCopies:
    return NearCopies(
        np.concatenate([part.copy for part in parts]),
        np.concatenate([part.original for part in parts]),
        np.concatenate([part.kinds for part in parts]),
        np.concatenate([part.similarity for part in parts]),
    )


def _looks(rows: Indices, facts: NDArray[np.void]) -> tuple[Array, NDArray[np.bool_]]:
    """The turnless descriptor of each row, and whether there is anything to be seen."""
    look, shown = np.empty((len(rows), LENGTH), np.float32), np.empty(len(rows), bool)
    for start in range(0, len(rows), 1024):
        part = slice(start, start + 1024)
        light = grey(facts["thumbnail"][rows[part]])
        look[part], shown[part] = turnless(light), light.std(axis=(1, 2)) >= _FLAT
    return look, shown


def _candidates(
    look: Array, vectors: NDArray[np.floating], rows: Indices, seed: int
) -> tuple[Indices, Indices]:
    """Pairs (a, b), a < b, that may be copies, in order."""
    if len(rows) <= _FEW:
        return np.triu_indices(len(rows), 1)
    main = principal(vectors, rows, _DIMENSIONS, seed)
    by_vector = nearest(main, _NEIGHBOURS, least=0.0, seed=seed)
    by_look = nearest(look, _LOOKALIKES, least=_LOOK, seed=seed)
    keys = np.unique(np.concatenate([a * len(rows) + b for a, b in (by_vector, by_look)]))
    return keys // len(rows), keys % len(rows)


def _usual_cosine(vectors: NDArray[np.floating], rows: Indices, seed: int) -> float:
    """The mean cosine of two pictures' vectors, from at most 1,024 of them."""
    some = np.random.default_rng(seed).permutation(len(rows))[:1024]
    sample = _unit(vectors[rows[some]])
    count = len(sample)
    if count < 2:
        return _USUAL_COSINE
    between = (float((sample.sum(axis=0) ** 2).sum()) - count) / (count * (count - 1))
    return min((count * between + 50 * _USUAL_COSINE) / (count + 50), 0.6)


def _unit(vectors: NDArray[np.floating]) -> Array:
    values = np.asarray(vectors, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _standing_out(a: Indices, b: Indices, nearness: Array, count: int) -> Array:
    """How much nearer pairs are than the 8th nearest neighbours of their pictures, on average, (P,)."""
    ends = np.concatenate([a, b])
    values = np.concatenate([nearness, nearness])
    order = np.lexsort((-values, ends))
    first = np.searchsorted(ends[order], np.arange(count + 1))
    crowded = np.flatnonzero(np.diff(first) >= _CROWD)
    level = np.full(count, _LEAST_LEVEL, np.float32)
    level[crowded] = np.maximum(values[order[first[crowded] + _CROWD - 1]], _LEAST_LEVEL)
    return np.asarray(nearness - (level[a] + level[b]) / 2, np.float32)


def _compare(
    a: Indices, b: Indices, nearness: Array, out: Array, pictures: _Pictures
) -> NearCopies:
    """Those of some pairs that are copies."""
    match = match_windows(pictures.thumbnails, a, b)
    promising = _promising(match.correlation, nearness, out)
    match, out = match.at(promising), out[promising]
    parts = [_NONE]
    for start in range(0, len(match.whole), _PAIRS):
        part = slice(start, start + _PAIRS)
        some = match.at(part)
        agreement = measure(pictures.thumbnails, some)
        score = _score(agreement, some.correlation, out[part])
        score -= _TURNED * (some.turn != 0) + _TILTED * is_tilted(some, agreement, pictures.sizes)
        accepted = (score > 0) & (agreement.agreeing > _LEAST_AGREEING)
        some, agreement = some.at(accepted), agreement.at(accepted)
        named = name_kinds(some, agreement, pictures.sizes)
        parts.append(NearCopies(*named, agreement.agreeing))
    return _joined(parts)


def _promising(correlation: Array, nearness: Array, out: Array) -> NDArray[np.bool_]:
    """Which pairs are worth aligning, (P,)."""
    promising = correlation >= _LEAST_CORRELATION
    coarse = -np.log(1.01 - correlation)
    for by_coarse, by_nearness, by_out, bias in _PROMISE:
        promising &= by_coarse * coarse + by_nearness * nearness + by_out * out + bias > 0
    return promising


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
