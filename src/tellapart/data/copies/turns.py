"""The eight ways to lay a square picture: four turns, and each of them mirrored.

A turn is a number t from 0 to 7: transposed where t has 4, then its rows reversed where t has 2, then
its columns where t has 1.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIRRORED", "ROTATED", "TURNS", "turn_order", "turned"]

TURNS: Final = 8
MIRRORED: Final = (1, 2, 4, 7)
ROTATED: Final = (3, 5, 6)


def turned(pictures: NDArray[np.generic], turn: int) -> NDArray[np.generic]:
    """Square pictures (N, S, S) laid that way; a view.

    >>> turned(np.array([[[1, 2], [3, 4]]]), 1).tolist()
    [[[2, 1], [4, 3]]]
    """
    laid = pictures.swapaxes(1, 2) if turn & 4 else pictures
    laid = laid[:, ::-1] if turn & 2 else laid
    return laid[:, :, ::-1] if turn & 1 else laid


def turn_order(side: int) -> NDArray[np.intp]:
    """For each turn the pixels of a flattened picture in their new order, (8, side²).

    >>> turn_order(2)[3].tolist()
    [3, 2, 1, 0]
    """
    pixels = np.arange(side * side).reshape(1, side, side)
    return np.stack([turned(pixels, turn).reshape(-1) for turn in range(TURNS)])
