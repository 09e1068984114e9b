"""What was done to a picture to make the copy, in words."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.agreement import Agreement
from tellapart.data.copies.turns import MIRRORED, ROTATED
from tellapart.data.copies.windows import Match

__all__ = ["is_tilted", "name_kinds"]

Indices = NDArray[np.intp]

_AREA: Final = 0.94  # a whole that fills less of the picture around it has been cropped, or framed
_ANGLE: Final = 1.2  # degrees
_PLAIN: Final = 8.0  # levels that a frame's brightness varies by
_MARKED: Final = 0.97  # agreeing share below which a part was changed


def name_kinds(
    match: Match, agreement: Agreement, sizes: NDArray[np.int64]
) -> tuple[Indices, Indices, NDArray[np.object_]]:
    """Copy, original and what was done, (P,) each, of pairs; `sizes` (N, 2) are widths and heights.

    A crop is the copy of what is around it, a framed picture that of what is inside.
    """
    area = np.abs(np.linalg.det(agreement.affine[:, :, :2]))
    framed = (area < _AREA) & (agreement.plain < _PLAIN)
    cropped = (area < _AREA) & ~framed
    around, whole = match.around, match.whole
    pixels = sizes.prod(axis=1)
    later = (pixels[around] < pixels[whole]) | (
        (pixels[around] == pixels[whole]) & (around > whole)
    )
    is_around = framed | (~cropped & later)
    copy, original = np.where(is_around, around, whole), np.where(is_around, whole, around)
    tilted = is_tilted(match, agreement, sizes)
    resized = (np.sort(sizes[copy], axis=1) != np.sort(sizes[original], axis=1)).any(axis=1)
    moved = cropped | framed | tilted  # thumbnails are then sampled anew, and agree less
    told = {
        "mirrored": np.isin(match.turn, MIRRORED),
        "rotated": np.isin(match.turn, ROTATED),
        "tilted": tilted,
        "cropped": cropped,
        "framed": framed,
        "resized": resized & ~moved,
        "changed in part": (agreement.agreeing < _MARKED) & ~moved,
    }
    kinds = [
        ", ".join(word for word, holds in told.items() if holds[row]) or "re-encoded"
        for row in range(len(copy))
    ]
    return copy, original, np.array(kinds, object)


def is_tilted(match: Match, agreement: Agreement, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the whole lies askew in the picture around it, in true proportions, (P,)."""
    whole = sizes[match.whole].astype(float)
    whole = np.where((match.turn & 4).astype(bool)[:, None], whole[:, ::-1], whole)
    around = sizes[match.around].astype(float)
    linear = agreement.affine[:, :, :2] * around[:, :, None] / whole[:, None, :]
    up = linear[:, 1, 0] - linear[:, 0, 1]
    angle = np.arctan2(up, linear[:, 0, 0] + linear[:, 1, 1])
    return np.asarray(np.abs(np.degrees(angle)) > _ANGLE)
