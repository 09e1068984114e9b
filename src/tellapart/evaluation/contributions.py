"""Where a class's score comes from: its exact parts, place by place.

The score of a class is linear in the features, and most features are sums over the places of a map. So
the score is a sum over places, as class activation maps say it of the last map (Zhou et al. 2016,
"Learning deep features for discriminative localization"), here over all stages. A deviation is no sum,
but it is its own square divided by itself: each place has the share of it that it has of the variance.
The same goes for a normalised vector, with the deviation that this picture has. What comes of no place,
such as a class token, is left over as `rest`.

What it does not know: how far each place reaches. A place of a late map has seen most of the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Contributions", "contributions", "spread_onto"]

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Contributions:
    """What each place adds to a score: `parts` float64 (h, w) by the name of the map.

    `rest` is what comes of no place. All parts and the rest add up to the score.
    """

    parts: Mapping[str, NDArray[np.float64]]
    rest: float

    @property
    def total(self) -> float:
        return self.rest + sum(float(part.sum()) for part in self.parts.values())

    def on_grid(self, side: int) -> NDArray[np.float64]:
        """All parts on one grid of `side` × `side` cells; their sum is kept.

        >>> one = Contributions({"final": np.array([[1.0, 2.0], [3.0, 4.0]])}, rest=0.5)
        >>> one.on_grid(8).shape, round(float(one.on_grid(8).sum()), 9), one.total
        ((8, 8), 10.0, 10.5)
        """
        answer = np.zeros((side, side))
        for part in self.parts.values():
            down, across = (spread_onto(side, length) for length in part.shape)
            answer += down @ part @ across.T
        return answer


def contributions(
    maps: Mapping[str, Values],
    features: Mapping[str, Values],
    weights: Mapping[str, Values],
    means: Mapping[str, Values],
    bias: float,
    *,
    pooled: bool = True,
    norm: Sequence[Values] = (),
    epsilon: float = 1e-6,
) -> Contributions:
    """The parts of score = Σ weights · (features − means) + bias.

    `maps` (C, h, w) are by name, `final` and `stage0` …; `features`, `weights` and `means` (C,) by that of
    the part of the vector: `final`, `stage0_mean`, `stage0_std` …. Features that no weights are given for
    count nothing. The final vector is its map's mean where it is `pooled`, normalised over channels with
    `norm` (scale and shift, (C,)) where these are given.
    """
    parts: dict[str, NDArray[np.float64]] = {}
    rest = float(bias)
    for name, part_weights in weights.items():
        place, _, kind = name.partition("_")
        w, mean = np.asarray(part_weights, np.float64), np.asarray(means[name], np.float64)
        f = np.asarray(features[name], np.float64)
        if kind == "" and not pooled:
            rest += float(w @ (f - mean))
            continue
        x = np.asarray(maps[place], np.float64)
        if kind == "std":
            shares = _shares_of_deviation(x, f)
        elif norm and kind == "":
            shares = _normed(x, norm[0], norm[1], epsilon)
        else:
            shares = x / x[0].size
        own = np.tensordot(w, shares, 1) - float(w @ mean) / x[0].size
        parts[place] = parts.get(place, 0) + own
    return Contributions(parts, rest)


def _shares_of_deviation(
    x: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each channel's deviation (C,), divided over places as its variance is, (C, h, w)."""
    square = np.square(x - x.mean(axis=(1, 2), keepdims=True))
    total = square.sum(axis=(1, 2), keepdims=True)
    even = 1 / x[0].size
    share = np.where(total > 0, square / np.maximum(total, 1e-300), even)
    return np.asarray(deviation[:, None, None] * share)


def _normed(
    x: NDArray[np.float64], scale: Values, shift: Values, epsilon: float
) -> NDArray[np.float64]:
    """The normalised mean, divided over places, (C, h, w); the deviation over channels is the mean's."""
    deviation = np.sqrt(x.mean(axis=(1, 2)).var() + epsilon)
    centred = (x - x.mean(axis=0, keepdims=True)) / deviation
    both = np.asarray(scale)[:, None, None] * centred + np.asarray(shift)[:, None, None]
    return np.asarray(both / x[0].size, np.float64)


def spread_onto(side: int, length: int) -> NDArray[np.float64]:
    """How `length` cells of a line lie on `side` others, (side, length); each column's sum is 1.

    A cell spreads as a hat that is as wide as itself, or as a cell of the grid where that is wider.
    """
    width = max(1 / length, 1 / side)
    here = (np.arange(side)[:, None] + 0.5) / side
    there = (np.arange(length)[None] + 0.5) / length
    hat = np.maximum(1 - np.abs(here - there) / width, 0)
    return np.asarray(hat / hat.sum(axis=0))
