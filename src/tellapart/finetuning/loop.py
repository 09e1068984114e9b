"""The one loop of unfrozen training, from top to bottom.

AdamW (Loshchilov & Hutter 2019) without decay on norms and biases, a one-cycle schedule with a rate per
layer group, gradients clipped. Every random number comes from (seed, epoch, step), and the checkpoint
holds all else, so a training that was killed ends with the same weights, bit for bit, on one machine
with one number of threads. No validation picture takes part in any choice.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tellapart.finetuning.checkpoint import read_checkpoint, write_checkpoint
from tellapart.finetuning.classifier import Classifier
from tellapart.finetuning.explanation import Epoch
from tellapart.finetuning.pictures import Pictures, seed_of
from tellapart.finetuning.schedule import Cycle

__all__ = ["LoopOptions", "new_optimizer", "train_epochs", "train_step"]

_SECONDS_BETWEEN_CHECKPOINTS = 60.0


@dataclass(frozen=True)
class LoopOptions:
    """What the loop needs to know besides model, pictures and schedule.

    `class_weights` float32 (K,) or None; `label_smoothing` in [0, 1); `clip` is the largest norm of a
    step's gradient.
    """

    epochs: int
    batch: int = 32
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    clip: float = 1.0
    class_weights: tuple[float, ...] | None = None
    workers: int = 2
    seed: int = 0


@dataclass
class _State:
    """How far it is: the next step of an epoch, and what this epoch has summed up."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)


def train_epochs(
    classifier: Classifier,
    train: Pictures,
    valid: Pictures,
    cycle: Cycle,
    options: LoopOptions,
    checkpoint: Path,
    *,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Train what `classifier` lets learn, and measure after each epoch; the history, a row per epoch.

    `cycle` has a row of rates per step, with a column per learning group. Where `checkpoint` is there,
    goes on from it; it is written each epoch and each minute, and on an interrupt.

    Raises RunError where it cannot be written or belongs to something else.
    """
    optimizer = new_optimizer(classifier, options)
    state = _State()
    if checkpoint.exists():
        state = _resumed(read_checkpoint(checkpoint, classifier, optimizer))
    steps = train.steps(options.batch)
    saved = time.monotonic()
    classifier.to(memory_format=torch.channels_last)
    whole = True  # an interrupt inside a step leaves half of it done: then the last file counts
    try:
        while state.epoch < options.epochs:
            began = time.monotonic() - state.seconds
            classifier.train()
            batches = train.batches(options.batch, state.epoch, state.step, options.workers)
            for pixels, targets in batches:
                at = state.epoch * steps + state.step
                whole = False
                _set_rates(optimizer, cycle, at)
                torch.manual_seed(seed_of(options.seed, state.epoch, state.step, 1))  # for dropout
                loss = train_step(classifier, optimizer, pixels, targets, options)
                state.loss += loss * len(targets)
                state.seen += len(targets)
                state.step += 1
                whole = True
                state.seconds = time.monotonic() - began
                on_step(at + 1, options.epochs * steps)
                if time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                    write_checkpoint(checkpoint, classifier, optimizer, asdict(state))
                    saved = time.monotonic()
            lr = float(np.max(cycle.lrs[state.epoch * steps : (state.epoch + 1) * steps]))
            row = _measured(classifier, valid, options, state, lr)
            state = _State(state.epoch + 1, history=[*state.history, row])
            write_checkpoint(checkpoint, classifier, optimizer, asdict(state))
            on_epoch(row)
    except KeyboardInterrupt:
        if whole:
            write_checkpoint(checkpoint, classifier, optimizer, asdict(state))
        raise
    return state.history


def new_optimizer(classifier: Classifier, options: LoopOptions) -> torch.optim.AdamW:
    """Two parameter groups for each layer group, with decay and without; in that order."""
    groups = []
    for place, group in enumerate(classifier.learning_groups()):
        decayed = [p for _, p in group if p.ndim > 1]
        plain = [p for _, p in group if p.ndim <= 1]  # norms and biases
        groups.append({"params": decayed, "weight_decay": options.weight_decay, "place": place})
        groups.append({"params": plain, "weight_decay": 0.0, "place": place})
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.95, 0.99), eps=1e-5)


def _set_rates(optimizer: torch.optim.Optimizer, cycle: Cycle, at: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = float(cycle.lrs[at, group["place"]])
        group["betas"] = (float(cycle.momenta[at]), 0.99)


def train_step(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    pixels: Tensor,
    targets: Tensor,
    options: LoopOptions,
) -> float:
    """One step of the optimiser; the mean loss of its pictures before it."""
    weights = None if options.class_weights is None else torch.tensor(options.class_weights)
    with _autocast():
        logits = classifier(pixels.contiguous(memory_format=torch.channels_last))
    loss = cross_entropy(
        logits.float(), targets, weight=weights, label_smoothing=options.label_smoothing
    )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    learning = [p for p in classifier.parameters() if p.requires_grad]
    nn.utils.clip_grad_norm_(learning, options.clip)
    optimizer.step()
    return float(loss.detach())


def _autocast() -> AbstractContextManager[Any]:
    """bfloat16 where the CPU computes in it; elsewhere it would only be slower."""
    if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def _measured(
    classifier: Classifier, valid: Pictures, options: LoopOptions, state: _State, lr: float
) -> Epoch:
    classifier.eval()
    losses, predicted = [], []
    with torch.inference_mode():  # in float32, as the graph will answer
        for pixels, targets in valid.batches(options.batch, workers=options.workers):
            logits = classifier(pixels.contiguous(memory_format=torch.channels_last)).float()
            losses.append(cross_entropy(logits, targets, reduction="sum"))
            predicted.append(logits.argmax(dim=1))
    guesses = torch.cat(predicted).numpy()
    targets = np.asarray(valid.targets)
    classes = classifier.head.out_features
    return Epoch(
        epoch=state.epoch,
        train_loss=state.loss / max(1, state.seen),
        valid_loss=float(torch.stack(losses).sum()) / len(targets),
        errors=int((guesses != targets).sum()),
        n=len(targets),
        seconds=state.seconds,
        lr=lr,
        predicted_counts=_counts(guesses, classes),
        true_counts=_counts(targets, classes),
    )


def _counts(numbers: Any, classes: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.bincount(numbers, minlength=classes))


def _resumed(facts: dict[str, Any]) -> _State:
    counts = ("predicted_counts", "true_counts")
    rows = [{**row, **{name: tuple(row[name]) for name in counts}} for row in facts["history"]]
    return _State(**{**facts, "history": [Epoch(**row) for row in rows]})
