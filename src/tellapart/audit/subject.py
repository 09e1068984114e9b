"""What checks look at: N pictures with all that is known of them, and nothing computed twice."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.neighbours import Neighbours, nearest_neighbours
from tellapart.audit.out_of_fold import deal_folds, held_out, principal_components
from tellapart.data.copies.copies import Copies
from tellapart.data.dataset import Dataset

__all__ = ["Subject"]

Array = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Subject:
    """The pictures of a dataset that could be used, a row each, in its order.

    `features` float32 (N, D) are those of the network; the first `final` of the D are the last vector.
    `facts` (N,) are records of `FACT` (`data/picture_facts.py`), `copies` the pairs of equal or nearly
    equal pictures; the dataset's groups hold them together. What is derived is computed when it is
    first asked for: by its labels nothing is, but for `probabilities`.
    """

    dataset: Dataset
    features: Array
    final: int
    facts: NDArray[np.void]
    copies: Copies
    seed: int = 0
    workers: int = 2

    @property
    def classes(self) -> tuple[str, ...]:
        return self.dataset.classes

    @cached_property
    def paths(self) -> list[str]:
        return self.dataset.paths

    @property
    def targets(self) -> Indices:
        """The labels as numbers, (N,)."""
        return self.dataset.targets

    @cached_property
    def splits(self) -> NDArray[np.object_]:
        """train, valid, test or "", (N,)."""
        return self.dataset.table["split"].to_numpy(object)

    @property
    def groups(self) -> Indices:
        """One number for all copies of a picture, near ones included, (N,)."""
        return self.dataset.groups

    @cached_property
    def components(self) -> Array:
        """The features along their principal components, float32 (N, R)."""
        return principal_components(self.features, seed=self.seed, workers=self.workers)

    @cached_property
    def neighbours(self) -> Neighbours:
        """The nearest pictures of each that are not its copies."""
        return nearest_neighbours(
            self.components, self.groups, seed=self.seed, workers=self.workers
        )

    @cached_property
    def folds(self) -> Indices:
        """Which pictures are left out together, (N,); a group always is."""
        keys = list(self.dataset.table["sha256"])
        return deal_folds(self.targets, self.groups, keys=keys, seed=self.seed)

    @cached_property
    def probabilities(self) -> Array:
        """Out-of-fold, float32 (N, K): of probes that have seen neither the picture nor a copy."""
        return held_out(
            self.components, self.targets, len(self.classes), self.folds, workers=self.workers
        )
