"""The gradient of a batch, computed in pieces that fit into memory.

A batch's loss is a mean, weighted by class, over all its pictures. Its pieces' gradients add up to its
own whatever their sizes, as batch norms keep their statistics here; so where memory runs out, the pieces
are halved and the same pictures done again, and neither steps nor rates change.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tellapart.errors import RunError
from tellapart.finetuning.precision import autocast

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
    sums, weights = [], []
    for own_pixels, own_targets in zip(pixels.split(piece), targets.split(piece), strict=True):
        with autocast():
            logits = classifier(own_pixels.contiguous(memory_format=torch.channels_last))
        total, weight = loss(logits.float(), own_targets)
        total.backward()
        sums.append(total.detach())
        weights.append(weight)
    whole = torch.stack(weights).sum()
    for parameter in classifier.parameters():
        if parameter.grad is not None:
            parameter.grad /= whole
    return float(torch.stack(sums).sum() / whole)


def fitting_gradients(
    classifier: nn.Module, pixels: Tensor, targets: Tensor, loss: Loss, piece: int, seed: int
) -> tuple[float, int]:
    """As `put_gradients`, with fewer pictures at a time where memory runs out; the loss and how many.

    Each try begins with torch's generator at `seed`, for dropout. Raises RunError where one picture
    is too much.
    """
    while True:
        torch.manual_seed(seed)
        try:
            return put_gradients(classifier, pixels, targets, loss, piece), piece
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            reason = f"{error}".partition("\n")[0] or "out of memory"
        # here the error is gone, which kept alive what had been computed
        tried = min(piece, len(pixels))
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
