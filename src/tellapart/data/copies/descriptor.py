"""A short description of what a picture looks like from afar, the same for all eight turns of it.

It is what a perceptual hash is made of, the low frequencies of the brightness's cosine transform
(Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010), but not reduced
to bits. Mirroring a picture changes signs alone, and transposing it swaps rows and columns, so that
absolute values, and the sum and the difference of those that swap, stay what they are.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LENGTH", "cosine_basis", "grey", "turnless"]

_FREQUENCIES: Final = 8
LENGTH: Final = _FREQUENCIES * _FREQUENCIES - 1
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)


def grey(thumbnails: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """The brightness of pictures (…, 3), float32 (…), 0 to 255."""
    return thumbnails.astype(np.float32) @ _BRIGHTNESS


def cosine_basis(side: int, frequencies: int) -> NDArray[np.float32]:
    """The first basis vectors of the orthonormal cosine transform (DCT-II), float32 (frequencies, side).

    >>> bool(np.allclose(cosine_basis(4, 4) @ cosine_basis(4, 4).T, np.eye(4), atol=1e-6))
    True
    """
    angles = np.pi * (np.arange(side) + 0.5) / side
    basis = np.cos(np.arange(frequencies)[:, None] * angles) * np.sqrt(2 / side)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)


def turnless(brightness: NDArray[np.float32]) -> NDArray[np.float32]:
    """What N pictures, float32 (N, S, S), look like whichever way they lie: float32 (N, 63), unit length.

    Square roots of the frequencies' absolute values, so that the lowest do not say it all. Zeros for
    a picture of one brightness.
    """
    basis = cosine_basis(brightness.shape[1], _FREQUENCIES)
    values = np.sqrt(np.abs(basis @ brightness @ basis.T))
    upper, lower = np.triu_indices(_FREQUENCIES, 1)
    above, below = values[:, upper, lower], values[:, lower, upper]
    diagonal = np.diagonal(values, axis1=1, axis2=2)[:, 1:]
    parts = [above + below, np.abs(above - below), diagonal * np.sqrt(np.float32(2))]
    joined = np.concatenate(parts, axis=1)
    length = np.linalg.norm(joined, axis=1, keepdims=True)
    return np.asarray(joined / np.maximum(length, 1e-3), np.float32)
