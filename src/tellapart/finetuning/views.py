"""Augmented views: training pictures changed at random, but each always in the same way.

What the network sees in a view is kept like what it sees plainly, so that a head is trained on
augmented pictures without a second forward pass over any of them.
"""

from dataclasses import asdict, dataclass
from hashlib import sha256 as hash_of
from json import dumps

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image

from tellapart.errors import UsageError
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.pictures import seed_of
from tellapart.model.preprocess import PreprocessSpec

__all__ = ["AugmentedView", "augmented_views"]

_MOST = 64
_CHANGES = 1  # to be raised when augment.py changes pictures in another way


@dataclass(frozen=True)
class AugmentedView:
    """The `number`th random look at every picture with these transforms; a `View` of `embed`."""

    number: int
    transforms: Transforms
    seed: int = 0

    @property
    def key(self) -> str:
        """What the pixels depend on beside the picture."""
        dials = dumps(asdict(self.transforms), sort_keys=True)
        code = f"{_CHANGES} {torch.__version__} {torchvision.__version__}"
        return f"augmented {self.number} {self.seed} {hash_of((code + dials).encode()).hexdigest()}"

    def pixels(
        self, image: Image.Image, preprocess: PreprocessSpec, sha256: str
    ) -> NDArray[np.float32]:
        """The network's input, float32 (1, 3, S, S)."""
        seed = seed_of(self.seed, self.number, int(sha256[:15], 16))
        changed: NDArray[np.float32] = self.transforms.network_input(
            image, preprocess, seed
        ).numpy()
        return changed[None]


def augmented_views(
    count: int, transforms: Transforms | None = None, seed: int = 0
) -> tuple[AugmentedView, ...]:
    """`count` views, from 0 to 64. Raises UsageError.

    >>> len(augmented_views(2))
    2
    """
    if not 0 <= count <= _MOST:
        raise UsageError(f"{count} views; expected 0 to {_MOST}")
    return tuple(AugmentedView(i, transforms or Transforms(), seed) for i in range(count))
