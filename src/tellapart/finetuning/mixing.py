"""Pictures mixed with one another within a batch, and their labels by the same shares.

mixup (Zhang et al. 2018, arXiv:1710.09412) blends two pictures; CutMix (Yun et al. 2019,
arXiv:1905.04899) puts a rectangle of one into the other. Both are torchvision's.
"""

import torch
from torch import Tensor
from torchvision.transforms import v2

__all__ = ["mixed"]


def mixed(
    pixels: Tensor, targets: Tensor, classes: int, *, mixup: float, cutmix: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Each picture with the one before it: pixels (B, 3, S, S), and shares float32 (B, K).

    `mixup` and `cutmix` are the alphas of Beta(alpha, alpha), which the share comes from; 0 for never.
    With both, one of them is drawn for the batch. All randomness comes from `seed`.

    >>> pixels, shares = mixed(
    ...     torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 1, 2]), 3, mixup=0.4, cutmix=0, seed=1
    ... )
    >>> shares.shape, shares.sum(dim=1).round(decimals=3)
    (torch.Size([4, 3]), tensor([1., 1., 1., 1.]))
    """
    kinds: list[v2.Transform] = []
    if mixup:
        kinds.append(v2.MixUp(alpha=mixup, num_classes=classes))
    if cutmix:
        kinds.append(v2.CutMix(alpha=cutmix, num_classes=classes))
    if not kinds:
        return pixels, targets
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blended, shares = v2.RandomChoice(kinds)(pixels, targets)
    return blended, shares.float()
