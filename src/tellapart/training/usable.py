"""The pictures that could be embedded, with their copies as groups: what training and checking begin with."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.copies import Copies, find_copies
from tellapart.data.copies.search import Search, search_rows
from tellapart.data.dataset import Dataset
from tellapart.errors import DatasetError
from tellapart.model.backbones import cache_folder
from tellapart.training.embed import Embedder, Features, Progress
from tellapart.training.known_copies import known_copies
from tellapart.training.logistic import Array
from tellapart.training.row_blocks import take_rows

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
    embedder: Embedder,
    *,
    search: Search = search_rows,
    progress: Progress | None = None,
) -> Usable:
    """Of `features` of all pictures of a dataset, without those that failed and the classes lost by that.

    They are what `embedder` saw; `search` is that of an engine. Raises DatasetError where nothing is left.
    """
    rest = dataset.with_hashes(features.sha256).without(features.failures).without_lost_classes()
    if not len(rest):
        first = rest.failures[0]
        raise DatasetError(f"{rest.place}: none of the pictures can be used. The first: {first}")
    values, facts = features.values, features.facts
    if features.failures:
        keep = np.setdiff1d(np.arange(len(values)), list(features.failures))
        values, facts = take_rows(values, keep, cache_folder()), facts[keep]
    sha256 = list(rest.table["sha256"])
    last = values[:, : embedder.backbone.dimensions["final"]]
    find = partial(
        find_copies, sha256, facts, last, workers=embedder.workers, progress=progress, search=search
    )
    space = embedder.space if search is search_rows else f"{embedder.space} by indexes"
    copies = known_copies(cache_folder(), space, sha256, find)
    return Usable(rest.with_copies(copies.groups), values, facts, copies)
