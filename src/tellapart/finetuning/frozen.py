"""Epochs of a frozen network: a head is trained on cached features, a row of the table per epoch.

The network has seen every picture, and every augmented view of it, once and for all; an epoch goes over
all of them. So it takes a fraction of a second where a forward pass per picture takes minutes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from tellapart.errors import UsageError
from tellapart.finetuning.explanation import Epoch
from tellapart.finetuning.heads import Head
from tellapart.finetuning.pictures import seed_of
from tellapart.finetuning.schedule import FASTAI_2, Cycle, Rate, layer_rates, one_cycle
from tellapart.training.logistic import Array, Indices

__all__ = ["FrozenOptions", "Vectors", "head_optimizer", "head_step", "train_head"]


@dataclass(frozen=True)
class FrozenOptions:
    """`epochs` of one cycle at the highest rate `lr`, in steps of `batch` vectors.

    `class_weights` float32 (K,) or None; `div` and `pct_start` are those of `one_cycle`.
    """

    epochs: int
    lr: Rate
    batch: int = 64
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    seed: int = 0
    div: float = FASTAI_2["div"]
    pct_start: float = FASTAI_2["pct_start"]

    def cycle(self, train: "Vectors") -> Cycle:
        """Rates (steps, 1) and momenta (steps,) of all epochs."""
        steps = self.epochs * len(train.plan(self.batch, 0))
        return one_cycle(steps, layer_rates(self.lr, 1), div=self.div, pct_start=self.pct_start)


@dataclass(frozen=True)
class Vectors:
    """N pictures in V views: features float32 (V·N, D), all of a view together, and targets (V·N,)."""

    features: Tensor
    targets: Tensor

    @classmethod
    def of(cls, views: Sequence[Array], targets: Indices) -> "Vectors":
        stacked = views[0] if len(views) == 1 else np.concatenate(views)
        repeated = np.tile(np.asarray(targets, np.int64), len(views))
        return cls(torch.from_numpy(np.ascontiguousarray(stacked)), torch.from_numpy(repeated))

    def plan(self, batch: int, seed: int) -> list[Tensor]:
        """The rows of each step of an epoch; a lone last one joins the step before."""
        generator = torch.Generator().manual_seed(seed)
        steps = list(torch.randperm(len(self.targets), generator=generator).split(batch))
        if len(steps) > 1 and len(steps[-1]) == 1:  # batch normalisation needs two
            steps[-2:] = [torch.cat(steps[-2:])]
        return steps


def train_head(
    head: Head,
    train: Vectors,
    options: FrozenOptions,
    valid: Vectors | None = None,
    *,
    on_epoch: Callable[[Epoch], None] = lambda row: None,
) -> list[Epoch]:
    """Train `head` in place; a row per epoch, measured on `valid`, or none where there is none."""
    if len(train.targets) < 2:
        raise UsageError(
            "one training vector is too few for epochs; give more pictures, or --views 1"
        )
    optimizer = head_optimizer(head, options)
    cycle = options.cycle(train)
    steps = len(cycle.lrs) // options.epochs
    history = []
    for epoch in range(options.epochs):
        began, loss, at = time.monotonic(), 0.0, epoch * steps
        head.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(options.seed, epoch, 3))  # for dropout
            for rows in train.plan(options.batch, seed_of(options.seed, epoch)):
                for group in optimizer.param_groups:
                    group["lr"] = float(cycle.lrs[at, 0])
                    group["betas"] = (float(cycle.momenta[at]), 0.99)
                loss += len(rows) * head_step(head, optimizer, train, rows, options)
                at += 1
        head.eval()
        if valid is not None:
            lr = float(cycle.lrs[epoch * steps : at].max())
            mean = loss / len(train.targets)
            history.append(_row(head, valid, epoch, mean, time.monotonic() - began, lr))
            on_epoch(history[-1])
    return history


def head_optimizer(head: Head, options: FrozenOptions) -> torch.optim.AdamW:
    """AdamW without decay on norms and biases."""
    decayed = [p for p in head.parameters() if p.ndim > 1]
    plain = [p for p in head.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=0.0, betas=(0.95, 0.99), eps=1e-5
    )


def head_step(
    head: Head,
    optimizer: torch.optim.Optimizer,
    train: Vectors,
    rows: Tensor,
    options: FrozenOptions,
) -> float:
    """One step over these rows; their mean loss before it."""
    weights = None if options.class_weights is None else torch.tensor(options.class_weights)
    loss = cross_entropy(
        head(train.features[rows]), train.targets[rows],
        weight=weights, label_smoothing=options.label_smoothing,
    )  # fmt: skip
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _row(
    head: Head, valid: Vectors, epoch: int, train_loss: float, seconds: float, lr: float
) -> Epoch:
    with torch.inference_mode():
        logits = head(valid.features)
        loss = float(cross_entropy(logits, valid.targets))
    guesses: NDArray[np.int64] = logits.argmax(dim=1).numpy()
    targets = valid.targets.numpy()
    return Epoch(
        epoch=epoch, train_loss=train_loss, valid_loss=loss,
        errors=int((guesses != targets).sum()), n=len(targets), seconds=seconds, lr=lr,
        predicted_counts=tuple(np.bincount(guesses, minlength=head.classes).tolist()),
        true_counts=tuple(np.bincount(targets, minlength=head.classes).tolist()),
    )  # fmt: skip
