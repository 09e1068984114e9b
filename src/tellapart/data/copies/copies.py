"""Copies of pictures, exact and near, as pairs and as groups.

Exact copies have equal bytes, or equal pixels. For near ones each picture is compared with its few
nearest neighbours, both in the network's last vector and in what it looks like from afar (either
alone misses some: the vector tiny pictures, the look crops and frames). Then the two thumbnails are
laid over each other and compared. Cost grows about linearly with the number of pictures.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.near import find_near_copies
from tellapart.data.copies.rows import Rows, taken
from tellapart.data.copies.search import Search, search_rows

__all__ = ["Copies", "connected", "find_copies"]

Array = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Copies:
    """Pairs of N pictures of which one is a copy of the other, M of them.

    `copy` and `original` (M,) are numbers of pictures; where nothing tells which of them came first,
    the smaller one is the copy, then the later one. `kinds` (M,) are words: `exact` (equal bytes),
    `pixels` (equal pixels, as far as size, thumbnail and vector say), or a list of what was done, such
    as `mirrored, cropped`. `similarity` float32 (M,) is the share of the overlapping part that agrees,
    in [0, 1]. `groups` (N,) has one number for all pictures that are connected by pairs, 0 to G − 1.
    """

    copy: Indices
    original: Indices
    kinds: NDArray[np.object_]
    similarity: Array
    groups: Indices

    def __len__(self) -> int:
        return len(self.copy)


def find_copies(
    sha256: Sequence[str],
    facts: NDArray[np.void],
    vectors: Rows,
    *,
    workers: int = 2,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    search: Search = search_rows,
) -> Copies:
    """The copies among N pictures.

    `sha256` are the hashes of the files' bytes ("" is equal to nothing), `facts` (N,) records of
    `FACT` (`data/picture_facts.py`), of which width, height and thumbnail are used, and `vectors`
    float (N, D) the network's last ones, of any length but zero. Either may be a mapped file, and the
    vectors anything that gives rows by slices; they are read by blocks of rows. Pictures without
    contrast are exact copies or none. `workers` threads compare; the answer does not depend on their
    number. `progress` is called with `copies`, the number of pairs compared and of all.

    `search` proposes which pictures are compared as near copies: by default in this process, with a
    `Shards` by way of indexes on disk. Exact copies are found without it.

    >>> from tellapart.data.picture_facts import FACT
    >>> rng = np.random.default_rng(0)
    >>> facts, vectors = np.zeros(3, FACT), rng.random((3, 8), np.float32)
    >>> facts["width"], facts["height"] = 64, 64
    >>> facts["thumbnail"] = rng.integers(0, 256, (3, 48, 48, 3))
    >>> facts["thumbnail"][2], vectors[2] = facts["thumbnail"][0][:, ::-1], vectors[0]
    >>> copies = find_copies(["a", "b", "c"], facts, vectors)
    >>> copies.kinds.tolist(), copies.groups.tolist()
    (['mirrored'], [0, 1, 0])
    """
    report = progress or (lambda stage, done, total: None)
    exact = _equal([value if value else row for row, value in enumerate(sha256)])
    first = np.setdiff1d(np.arange(len(facts)), exact[0])
    pixels = _equal(_pixel_keys(first, facts, vectors))
    pixels = first[pixels[0]], first[pixels[1]]
    rows = np.setdiff1d(first, pixels[0])
    near = find_near_copies(rows, facts, vectors, workers, seed, report, search)
    copy = np.concatenate([exact[0], pixels[0], near.copy])
    original = np.concatenate([exact[1], pixels[1], near.original])
    words = ["exact"] * len(exact[0]) + ["pixels"] * len(pixels[0])
    kinds = np.concatenate([np.array(words, object), near.kinds])
    sure = np.ones(len(words), np.float32)
    groups = connected(copy, original, len(facts))
    return Copies(copy, original, kinds, np.concatenate([sure, near.similarity]), groups)


def connected(a: Indices, b: Indices, count: int) -> Indices:
    """A number per row, the same for rows that pairs (a, b) connect, in order of the first of each.

    >>> connected(np.array([3, 1]), np.array([1, 0]), 5).tolist()
    [0, 0, 1, 0, 2]
    """
    lowest = np.arange(count)
    while True:
        least = np.minimum(lowest[a], lowest[b])
        before = lowest.copy()
        np.minimum.at(lowest, lowest[a], least)
        np.minimum.at(lowest, lowest[b], least)
        while (lowest != lowest[lowest]).any():
            lowest = lowest[lowest]
        if (lowest == before).all():
            return np.unique(lowest, return_inverse=True)[1]


def _equal(keys: Sequence[object]) -> tuple[Indices, Indices]:
    """Rows whose key came before, and the first row that has it."""
    first: dict[object, int] = {}
    pairs = [(row, first.setdefault(key, row)) for row, key in enumerate(keys)]
    later = np.array([pair for pair in pairs if pair[0] != pair[1]], np.intp).reshape(-1, 2)
    return later[:, 0], later[:, 1]


def _pixel_keys(rows: Indices, facts: NDArray[np.void], vectors: Rows) -> list[bytes]:
    keys = []
    for start in range(0, len(rows), 1024):
        part = rows[start : start + 1024]
        for row, vector in zip(part, taken(vectors, part), strict=True):
            keys.append(_pixel_key(facts[row], vector))
    return keys


def _pixel_key(fact: np.void, vector: NDArray[np.floating]) -> bytes:
    told = hashlib.blake2b(fact["thumbnail"].tobytes(), digest_size=16)
    told.update(f"{fact['width']} × {fact['height']}".encode())
    told.update(vector.tobytes())
    return told.digest()
