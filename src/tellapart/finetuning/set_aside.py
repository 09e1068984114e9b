"""Training pictures that are set aside to decide by when training ends.

Validation pictures must take no part in any choice, so those that decide are taken from the training
part, and nothing is trained on them in this stage. What the stage begins with may have seen them.
"""

import numpy as np
from numpy.typing import NDArray

from tellapart.data.dataset import Dataset
from tellapart.data.split import deal
from tellapart.errors import DatasetError
from tellapart.training.logistic import Indices

__all__ = ["set_aside"]

_SHARE = 0.1


def set_aside(dataset: Dataset, seed: int) -> tuple[Indices, Indices]:
    """Rows of the training part: those to train on, and about a tenth of them to decide by.

    Copies and given groups stay together. Every class keeps a picture to train on, and has one set
    aside where it can. Raises DatasetError where none can be.
    """
    rows = dataset.rows_of("train")
    labels, groups = dataset.targets[rows], dataset.groups[rows]
    names = [dataset.classes[label] for label in labels]
    keys = [dataset.table["sha256"][row] or dataset.table["path"][row] for row in rows]
    aside = deal(names, groups, (1 - _SHARE, _SHARE), keys=keys, seed=seed) == 1
    lost = ~np.isin(labels, labels[~aside])
    aside &= ~np.isin(groups, groups[lost])
    for label in np.unique(labels):
        for group in dict.fromkeys(groups[labels == label].tolist()):
            own = groups == group
            if not aside[labels == label].any() and _can_spare(own, aside, labels):
                aside |= own
    if not aside.any():
        raise DatasetError(
            f"{dataset.root}: no training picture can be set aside, since every class has but one, or "
            "copies of one. Add pictures, or train without patience."
        )
    return rows[~aside], rows[aside]


def _can_spare(own: NDArray[np.bool_], aside: NDArray[np.bool_], labels: Indices) -> bool:
    """Whether each class of these pictures has others to train on."""
    return bool(np.isin(labels[own], labels[~aside & ~own]).all())
