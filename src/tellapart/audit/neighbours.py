"""The nearest pictures of each picture, by what the network sees in them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tellapart.data.ordered_map import ordered_map
from tellapart.training.logistic import Array, Indices

__all__ = ["Neighbours", "nearest_neighbours"]

_NEIGHBOURS = 10
_DIMENSIONS = 128
_FOR_DISTANCES = 64
_REFERENCE = 4096  # pictures among which neighbours are looked for
_CHUNK = 512


@dataclass(frozen=True)
class Neighbours:
    """The J nearest pictures of each of N: rows (N, J), cosines float32 (N, J); copies only where there
    are no J others.

    `distance` float32 (N,) is the mean Euclidean one to them, in half-whitened components.
    """

    rows: Indices
    similarity: NDArray[np.float32]
    distance: NDArray[np.float32]

    def votes(
        self, targets: Indices, classes: int, counting: Array | None = None
    ) -> NDArray[np.float32]:
        """The share of each class among the neighbours, near ones counting more; float32 (N, K).

        `counting` (N,) is how much each picture's own vote is worth; 1 by default.
        """
        votes = np.zeros((len(self.rows), classes), np.float32)
        weight = np.maximum(self.similarity, 0) + np.float32(1e-3)
        if counting is not None:
            weight = weight * counting[self.rows].astype(np.float32)
        np.add.at(votes, (np.arange(len(votes))[:, None], targets[self.rows]), weight)
        votes /= np.maximum(votes.sum(axis=1, keepdims=True), np.float32(1e-9))
        return votes


def nearest_neighbours(
    components: Array, groups: Indices, *, seed: int = 0, workers: int = 2
) -> Neighbours:
    """The nearest 10 by cosine, among 4,096 pictures at most, in half-whitened leading components.

    `components` float32 (N, R) are those of `principal_components`; `groups` (N,) has one number for
    all copies of a picture. Half-whitened: each column is divided by the root of its deviation.

    >>> import numpy as np
    >>> near = nearest_neighbours(np.eye(6, 4, dtype=np.float32) + 1, np.arange(6))
    >>> near.rows.shape
    (6, 5)
    """
    from threadpoolctl import threadpool_limits

    n = len(components)
    spread = np.maximum(components[:, :_DIMENSIONS].std(axis=0), np.float32(1e-6))
    space = components[:, :_DIMENSIONS] / np.sqrt(spread)
    short = space[:, :_FOR_DISTANCES].copy()
    space /= np.maximum(np.linalg.norm(space, axis=1, keepdims=True), np.float32(1e-9))
    rng = np.random.default_rng(seed)
    others = np.sort(rng.choice(n, _REFERENCE, replace=False)) if n > _REFERENCE else np.arange(n)
    count = min(_NEIGHBOURS, len(others) - 1)

    def near(first: int) -> tuple[NDArray[Any], ...]:
        cosines = space[first : first + _CHUNK] @ space[others].T
        cosines[groups[first : first + _CHUNK, None] == groups[others]] = -1.0
        best = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        apart = short[first : first + _CHUNK, None] - short[others[best]]
        distance = np.sqrt(np.square(apart).sum(axis=2)).mean(axis=1)
        return others[best], np.take_along_axis(cosines, best, axis=1), distance

    with threadpool_limits(1, user_api="blas"):
        found = list(ordered_map(near, range(0, n, _CHUNK), workers=workers))
    rows, similarity, distance = (np.concatenate(part) for part in zip(*found, strict=True))
    return Neighbours(rows, similarity, distance)
