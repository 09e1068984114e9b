"""The pictures that could be embedded, with their copies as groups: what training and checking begin with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.copies import Copies, find_copies
from tellapart.data.dataset import Dataset
from tellapart.errors import DatasetError
from tellapart.training.embed import Features, Progress
from tellapart.training.logistic import Array

__all__ = ["Usable", "usable_pictures"]


@dataclass(frozen=True)
class Usable:
    """N pictures: `values` float32 (N, D), `facts` (N,) records of FACT, and who copies whom.

    Copies, near ones too, are one group of `dataset`, so that no split and no fold tears them apart.
    """

    dataset: Dataset
    values: Array
    facts: NDArray[np.void]
    copies: Copies


def usable_pictures(
    dataset: Dataset,
    features: Features,
    final: int,
    *,
    workers: int = 2,
    seed: int = 0,
    progress: Progress | None = None,
) -> Usable:
    """Of `features` of all pictures of a dataset, without those that failed and the classes lost by that.

    The first `final` of a vector are the network's last one. Raises DatasetError where nothing is left.
    """
    rest = dataset.with_hashes(features.sha256).without(features.failures).without_lost_classes()
    if not len(rest):
        first = rest.failures[0]
        raise DatasetError(f"{rest.root}: none of the pictures can be used. The first: {first}")
    values, facts = features.values, features.facts
    if features.failures:
        keep = np.setdiff1d(np.arange(len(values)), list(features.failures))
        values, facts = values[keep], facts[keep]
    copies = find_copies(
        list(rest.table["sha256"]), facts, values[:, :final], workers=workers, seed=seed,
        progress=progress,
    )  # fmt: skip
    return Usable(rest.with_copies(copies.groups), values, facts, copies)
