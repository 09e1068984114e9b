"""None of these classes: how unlike the training pictures a picture is, by its features.

Three scores look at a block of the features (the final vector, or the stages before it) in the space of
its leading directions. No one of them does for every kind of strange picture; the mean of several,
each put to one scale, is what is used. NumPy alone, and small enough for a graph.

It knows what the network sees, and nothing else. A new class that looks like an old one passes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "NEIGHBOUR", "Novelty", "NoveltyBlock", "auroc", "balanced_rows", "fit_block"]

Array = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]

KINDS: Final = ("neighbours", "mahalanobis", "relative")
"""Of scores, high is strange: the squared distance to the tenth nearest training picture, with what
lies outside the leading directions (Sun et al. 2022; Wang et al. 2022 for the residual); to the nearest
class mean, by the covariance that classes share (Lee et al. 2018); and how much less that is than to
all pictures together (Ren et al. 2021)."""

_RANK = 64
_SPARE = 16
NEIGHBOUR = 10
_SHRINKAGE = 0.05


@dataclass(frozen=True)
class NoveltyBlock:
    """What three scores need of the features from column `start` on; all float32.

    `mean` and `scale` (D,) standardise, `directions` (D, R) are leading ones of what results.
    `class_means` (K, R), `centre` (R,), `within` and `total` (R, R), inverse covariances of classes and
    of all, and `neighbours` (M, R), some training pictures, lie in their space.
    """

    start: int
    mean: Array
    scale: Array
    directions: Array
    class_means: Array
    centre: Array
    within: Array
    total: Array
    neighbours: Array

    def scores(self, features: Array) -> Array:
        """Those of `KINDS`, float32 (N, 3), for features float32 (N, at least start + D)."""
        x = (features[:, self.start : self.start + len(self.mean)] - self.mean) * self.scale
        z = x @ self.directions
        outside = np.maximum(np.einsum("nd,nd->n", x, x) - np.einsum("nd,nd->n", z, z), 0)
        nearest = _squared_distances(z, self.neighbours)
        k = min(NEIGHBOUR, len(self.neighbours)) - 1
        to_neighbour = np.partition(nearest, k, axis=1)[:, k]
        to_class = np.min([_quadratic(z - mean, self.within) for mean in self.class_means], axis=0)
        to_all = _quadratic(z - self.centre, self.total)
        relative = to_class - to_all if len(self.class_means) > 1 else np.zeros_like(to_class)
        return np.stack([to_neighbour + outside, to_class, relative], axis=1).astype(np.float32)


def fit_block(x: Array, targets: Indices, *, start: int = 0, seed: int = 0) -> NoveltyBlock:
    """What a block's scores need, from its features float32 (N, D) and the targets (N,).

    Costs about 12 · N · D · 80 operations: give some thousand rows, not all (`balanced_rows`). Raises
    ValueError for fewer than two rows.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    >>> block = fit_block(x, np.arange(200) % 2)
    >>> near, far = block.scores(np.stack([x[0], x[0] + 9]))
    >>> bool((far > near)[:2].all())
    True
    """
    n, d = x.shape
    if n < 2:
        raise ValueError(f"{n} pictures; a block takes two or more")
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    constant = std < 1e-6 * np.maximum(np.abs(mean), 1e-3)
    scale = np.where(constant, 0, 1 / np.where(constant, 1, std)).astype(np.float32)
    x = (x - mean.astype(np.float32)) * scale
    directions = _leading_directions(x, max(1, min(_RANK, n // 4, d)), seed)
    z = x @ directions
    kinds, row = np.unique(targets, return_inverse=True)
    class_means = np.stack([z[row == k].mean(axis=0) for k in range(len(kinds))])
    centre = z.mean(axis=0)
    return NoveltyBlock(
        start, mean.astype(np.float32), scale, directions, class_means, centre,
        _inverse_covariance(z - class_means[row]), _inverse_covariance(z - centre), z,
    )  # fmt: skip


def balanced_rows(targets: Indices, count: int, seed: int) -> Indices:
    """At most `count` rows, chosen at random, as many of each class as there are; in order."""
    if len(targets) <= count:
        return np.arange(len(targets))
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    by_class = shuffled[np.argsort(targets[shuffled], kind="stable")]
    sizes = np.bincount(targets)
    turn = np.arange(len(targets)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(by_class[np.argsort(turn, kind="stable")[:count]])


@dataclass(frozen=True)
class Novelty:
    """A score for "none of these": the mean of some scores of some blocks, each on its own scale.

    `weights`, `location` and `scale` (3 · blocks,) are in the order of the blocks and of `KINDS`; the
    location is the median of known pictures and the scale about their standard deviation. Above
    `threshold` lie about 1 − `kept` of the known ones. `facts` say how it was chosen and what it is
    worth, as JSON can hold them.
    """

    blocks: Mapping[str, NoveltyBlock]
    weights: Array
    location: Array
    scale: Array
    threshold: float
    kept: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    def scores(self, features: Array) -> Array:
        """How strange each picture is, float32 (N,), about 0 for known ones; high is strange."""
        parts = [block.scores(features) for block in self.blocks.values()]
        standard = (np.concatenate(parts, axis=1) - self.location) / self.scale
        return np.asarray(standard @ self.weights, np.float32)

    @property
    def arrays(self) -> dict[str, Array]:
        """All of its arrays by name, for a file of tensors."""
        named = {
            f"{name}.{key}": np.asarray(value)
            for name, block in self.blocks.items()
            for key, value in vars(block).items()
            if key != "start"
        }
        return named | {"weights": self.weights, "location": self.location, "scale": self.scale}

    def to_json(self) -> dict[str, Any]:
        """What is no array."""
        starts = {name: block.start for name, block in self.blocks.items()}
        return {
            "blocks": starts, "threshold": self.threshold, "kept": self.kept, **self.facts
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any], arrays: Mapping[str, Array]) -> "Novelty":
        """The same from `to_json` and `arrays`. Raises KeyError or TypeError where one is missing."""
        blocks = {}
        for name, start in values["blocks"].items():
            own = {
                key[len(name) + 1 :]: value
                for key, value in arrays.items()
                if key.startswith(f"{name}.")
            }
            blocks[name] = NoveltyBlock(start, **own)
        facts = {k: v for k, v in values.items() if k not in ("blocks", "threshold", "kept")}
        return cls(
            blocks, arrays["weights"], arrays["location"], arrays["scale"],
            float(values["threshold"]), float(values["kept"]), facts,
        )  # fmt: skip


def auroc(known: Array, strange: Array) -> float:
    """How often a strange picture scores higher than a known one, in [0, 1]; 0.5 is chance.

    A tie counts half (Mann & Whitney 1947). NaN where one of the two is empty.

    >>> import numpy as np
    >>> auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    0.875
    """
    if not len(known) or not len(strange):
        return float("nan")
    ordered = np.sort(known)
    below = np.searchsorted(ordered, strange, side="left")
    up_to = np.searchsorted(ordered, strange, side="right")
    return float((below + up_to).mean() / (2 * len(known)))


def _squared_distances(a: Array, b: Array) -> Array:
    """Between all rows, (N, M)."""
    answer = a @ b.T
    answer *= -2
    answer += np.einsum("nd,nd->n", a, a)[:, None]
    answer += np.einsum("md,md->m", b, b)
    return np.asarray(np.maximum(answer, 0))


def _quadratic(x: Array, inverse: Array) -> Array:
    """xᵀ · inverse · x for each row."""
    return np.asarray(np.einsum("nd,nd->n", x @ inverse, x))


def _inverse_covariance(centred: Array) -> Array:
    """Shrunk towards a multiple of the identity (Ledoit & Wolf 2004, with a fixed share)."""
    d = centred.shape[1]
    covariance = (centred.T @ centred).astype(np.float64) / len(centred)
    even = max(float(np.trace(covariance)) / d, 1e-6)
    return np.linalg.inv(covariance + _SHRINKAGE * even * np.eye(d)).astype(np.float32)


def _leading_directions(x: Array, rank: int, seed: int) -> Array:
    """Of centred `x` (N, D), orthonormal (D, rank), by a randomised range finder (Halko et al. 2011)."""
    wide = min(rank + _SPARE, *x.shape)
    start = np.random.default_rng(seed).standard_normal((x.shape[1], wide), np.float32)
    basis, _ = np.linalg.qr(x.T @ (x @ start))
    narrow = x @ basis
    _, rotation = np.linalg.eigh(narrow.T @ narrow)
    return np.ascontiguousarray((basis @ rotation)[:, ::-1][:, :rank])
