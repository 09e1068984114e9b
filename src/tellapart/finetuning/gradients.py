"""The gradient of a batch, computed in pieces that fit into memory, and by several processes.

A batch's loss is a mean, weighted by class, over all its pictures. Its pieces' gradients add up to its
own whatever their sizes, as batch norms keep their statistics here; so where memory runs out, the pieces
are halved and the same pictures done again, and neither steps nor rates change. For the same reason it
makes no difference which process computes which pictures: sums of gradients, losses and weights are
added up over all of them, and divided once.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tellapart.errors import RunError
from tellapart.finetuning.group import ALONE, Group
from tellapart.finetuning.precision import autocast
from tellapart.finetuning.shares import Share

__all__ = ["Loss", "fitting_gradients", "put_gradients", "weighted_cross_entropy"]

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Of logits (B, K) and targets: the sum of the pictures' losses, and the sum of their weights."""

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


def weighted_cross_entropy(
    class_weights: tuple[float, ...] | None = None, label_smoothing: float = 0.0
) -> Loss:
    """For targets int64 (B,), class numbers, or float32 (B, K), a share of each class that sum to 1.

    A picture of several classes weighs what they do, by their shares.
    """
    weights = None if class_weights is None else torch.tensor(class_weights)

    def loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        total = cross_entropy(
            logits, targets, weight=weights, label_smoothing=label_smoothing, reduction="sum"
        )
        if weights is None:
            return total, torch.tensor(float(len(targets)))
        own = targets @ weights if targets.is_floating_point() else weights[targets]
        return total, own.sum()

    return loss


def put_gradients(
    classifier: nn.Module, pixels: Tensor, targets: Tensor, loss: Loss, piece: int
) -> float:
    """Set the gradients to those of the batch's mean loss, `piece` ≥ 1 pictures at a time; that loss.

    `pixels` float32 (B, 3, S, S), `targets` as `loss` takes them.
    """
    classifier.zero_grad(set_to_none=True)
    total, weight = _add_gradients(classifier, pixels, targets, loss, piece)
    _divide_gradients(classifier, weight)
    return float(total / weight)


def _add_gradients(
    classifier: nn.Module, pixels: Tensor, targets: Tensor, loss: Loss, piece: int
) -> tuple[Tensor, Tensor]:
    """Those of the sum of the pictures' losses, to what is there; that sum, and that of their weights."""
    sums, weights = [], []
    for own_pixels, own_targets in zip(pixels.split(piece), targets.split(piece), strict=True):
        with autocast():
            logits = classifier(own_pixels.contiguous(memory_format=torch.channels_last))
        total, weight = loss(logits.float(), own_targets)
        total.backward()
        sums.append(total.detach())
        weights.append(weight)
    return torch.stack(sums).sum(), torch.stack(weights).sum()


def _divide_gradients(classifier: nn.Module, weight: Tensor) -> None:
    for parameter in classifier.parameters():
        if parameter.grad is not None:
            parameter.grad /= weight


def fitting_gradients(
    classifier: nn.Module,
    shares: Sequence[Share],
    loss: Loss,
    piece: int,
    *,
    pieces: int = 1,
    group: Group = ALONE,
) -> tuple[float, int]:
    """As `put_gradients`, with fewer pictures at a time where memory runs out; the loss and how many.

    The batch is all `pieces` shares of the group's processes, of which `shares` are this one's. Each try
    at a share begins with torch's generator at the share's seed, for dropout. Raises RunError where
    one picture is too much.
    """
    own, piece = _fitting_sums(classifier, shares, loss, piece)
    sums = torch.zeros(
        2, pieces
    )  # each has one summand that is not zero, so their order is nothing
    for share, found in zip(shares, own, strict=True):
        sums[:, share.number] = torch.stack(found)
    sums = group.summed(sums)
    group.sum_gradients(classifier)
    total, weight = sums.sum(dim=1)
    _divide_gradients(classifier, weight)
    return float(total / weight), group.least(piece)


def _fitting_sums(
    classifier: nn.Module, shares: Sequence[Share], loss: Loss, piece: int
) -> tuple[list[tuple[Tensor, Tensor]], int]:
    """The sums of each share's losses and weights, their gradients set, and how many at a time."""
    while True:
        classifier.zero_grad(set_to_none=True)
        sums = []
        try:
            for share in shares:
                torch.manual_seed(share.seed)
                found = _add_gradients(classifier, share.pixels, share.targets, loss, piece)
                sums.append(found)
            return sums, piece
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            reason = f"{error}".partition("\n")[0] or "out of memory"
        # here the error is gone, which kept alive what had been computed
        tried = min(piece, max(len(share.pixels) for share in shares))
        if tried == 1:
            raise RunError(
                f"training does not fit into memory, one picture at a time ({reason}). "
                "Train the run with a smaller --size, or fine-tune it with --unfreeze last."
            )
        piece = tried // 2


def _is_out_of_memory(error: Exception) -> bool:
    """torch tells on a GPU by a type of its own, and on a CPU by words alone."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or any(words in f"{error}" for words in _OUT_OF_MEMORY)
