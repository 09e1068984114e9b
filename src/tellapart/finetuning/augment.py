"""Random changes to training pictures, in the terms that fastai's users know, done by torchvision.

`Transforms` has the dials of fastai's `get_transforms`, with its defaults: flip, rotation, zoom, warp
(perspective) and lighting (brightness and contrast). Turned corners are filled with the picture's own
reflection. Whether a flip keeps the class is for the user to know; it does not for text or hands.
"""

import threading
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from tellapart.errors import UsageError
from tellapart.model.preprocess import PreprocessSpec

__all__ = ["Transforms"]

_GENERATOR = threading.Lock()  # torch has one for all threads
_BILINEAR = v2.InterpolationMode.BILINEAR


@dataclass(frozen=True)
class Transforms:
    """How training pictures are changed, each differently in every epoch.

    `max_rotate` in degrees, `max_zoom` at least 1, `max_lighting` and `max_warp` shares in [0, 1).
    `p_affine` and `p_lighting` are the probabilities of each kind, in [0, 1].

    >>> import torch
    >>> Transforms(do_flip=False)(torch.zeros(3, 64, 64, dtype=torch.uint8)).shape
    torch.Size([3, 64, 64])
    """

    do_flip: bool = True
    flip_vert: bool = False
    max_rotate: float = 10.0
    max_zoom: float = 1.1
    max_lighting: float = 0.2
    max_warp: float = 0.2
    p_affine: float = 0.75
    p_lighting: float = 0.75

    def __post_init__(self) -> None:
        ranges = {
            "max_rotate": (0.0, 180.0), "max_zoom": (1.0, 10.0), "max_lighting": (0.0, 0.99),
            "max_warp": (0.0, 0.99), "p_affine": (0.0, 1.0), "p_lighting": (0.0, 1.0),
        }  # fmt: skip
        for name, (lowest, highest) in ranges.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise UsageError(f"{name} is {value}; expected {lowest:g} to {highest:g}")

    def __call__(self, pixels: Tensor) -> Tensor:
        """A changed picture, uint8 (3, S, S), of one; the randomness is torch's own."""
        changed: Tensor = _composed(self, pixels.shape[-1])(pixels)
        return changed

    def network_input(self, image: Image.Image, preprocess: PreprocessSpec, seed: int) -> Tensor:
        """What the network sees of a changed picture: float32 (3, S, S), the same for the same seed.

        May be called from several threads; torch's own generator stays as it is.
        """
        square = np.array(preprocess.resize(image)).transpose(2, 0, 1)
        pixels = torch.from_numpy(np.ascontiguousarray(square))
        with _GENERATOR, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            changed = self(pixels)
        mean = 255 * torch.tensor(preprocess.mean)[:, None, None]
        std = 255 * torch.tensor(preprocess.std)[:, None, None]
        return (changed.float() - mean) / std


@cache
def _composed(transforms: Transforms, side: int) -> v2.Compose:
    margin = side // 4  # reflected around the picture before it is turned, cut off afterwards
    turn = [
        v2.Pad(margin, padding_mode="reflect"),
        v2.RandomAffine(
            transforms.max_rotate, scale=(1.0, transforms.max_zoom), interpolation=_BILINEAR
        ),
        v2.RandomPerspective(transforms.max_warp, p=1.0, interpolation=_BILINEAR),
        v2.CenterCrop(side),
    ]
    light = v2.ColorJitter(brightness=transforms.max_lighting, contrast=transforms.max_lighting)
    return v2.Compose([
        v2.RandomHorizontalFlip(0.5 if transforms.do_flip else 0.0),
        v2.RandomVerticalFlip(0.5 if transforms.flip_vert else 0.0),
        v2.RandomApply(turn, transforms.p_affine),
        v2.RandomApply([light], transforms.p_lighting),
    ])  # fmt: skip
