"""Where the network sees the pictures, in two dimensions, as a value.

Two directions of a thousand show little: classes that lie over each other here may well be told apart by
the others. What is worth a look are islands, strays and pictures that lie among another class.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.out_of_fold import principal_components

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EmbeddingMap", "embedding_map"]


@dataclass(frozen=True, eq=False, repr=False)
class EmbeddingMap:
    """The first two principal components of the standardised features of N pictures.

    `coordinates` float32 (N, 2), `shares` of the variance that each of the two holds; `rows` (N,) says
    which rows of the interpretation these are, `wrong` (N,) which of them were answered wrongly.
    """

    coordinates: NDArray[np.float32]
    shares: tuple[float, float]
    classes: tuple[str, ...]
    targets: NDArray[np.intp]
    wrong: NDArray[np.bool_]
    rows: NDArray[np.intp]
    total: int

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.classes[target] for target in self.targets)

    def plot(self) -> "Figure":
        """A dot for each picture, coloured by its label; raises MissingExtra without matplotlib."""
        from tellapart.reporting.embedding_plot import plot_embedding

        return plot_embedding(
            self.coordinates, self.targets, self.wrong, self.classes, self.shares, self._title
        )

    @property
    def _title(self) -> str:
        n = len(self.rows)
        drawn = f"{n:,} of {self.total:,} pictures" if n < self.total else f"{n:,} pictures"
        return f"{drawn}, by what the network sees in them"

    def __repr__(self) -> str:
        return f"<EmbeddingMap: {self._title}; {100 * sum(self.shares):.0f} % of the variance>"

    def _repr_png_(self) -> bytes:
        from tellapart.evaluation.figures import png

        return png(self.plot())


def embedding_map(
    features: NDArray[np.float32],
    targets: NDArray[np.intp],
    wrong: NDArray[np.bool_],
    rows: NDArray[np.intp],
    classes: tuple[str, ...],
    total: int,
    *,
    workers: int = 2,
) -> EmbeddingMap:
    """The map of `features` float32 (N, D); `targets`, `wrong` and `rows` are (N,).

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32) + np.arange(40)[:, None]
    >>> some = np.arange(40)
    >>> found = embedding_map(x, some % 2, some < 3, some, ("a", "b"), 40)
    >>> found.coordinates.shape, found.shares[0] > 0.9
    ((40, 2), True)
    """
    found = principal_components(features, width=2, workers=workers)
    coordinates = np.zeros((len(features), 2), np.float32)
    coordinates[:, : found.shape[1]] = found[:, :2]
    spread = features.std(axis=0)
    varying = max(int((spread >= 1e-6 * np.maximum(np.abs(features.mean(axis=0)), 1e-3)).sum()), 1)
    first, second = (float(part) / varying for part in coordinates.var(axis=0))
    return EmbeddingMap(coordinates, (first, second), classes, targets, wrong, rows, total)
