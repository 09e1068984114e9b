"""The one loop of unfrozen training, from top to bottom.

AdamW (Loshchilov & Hutter 2019) without decay on norms and biases, a one-cycle schedule with a rate per
layer group, gradients clipped. Every random number comes from (seed, epoch, step), and the checkpoint
holds all else, so a training that was killed ends with the same weights, bit for bit, on one machine
with one number of threads. No validation picture takes part in any choice: where training may end
early, training pictures that were set aside decide.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tellapart.finetuning.averaging import Weights
from tellapart.finetuning.checkpoint import read_checkpoint, write_checkpoint
from tellapart.finetuning.classifier import Classifier
from tellapart.finetuning.explanation import Epoch
from tellapart.finetuning.gradients import (
    Loss,
    fitting_gradients,
    put_gradients,
    weighted_cross_entropy,
)
from tellapart.finetuning.mixing import mixed
from tellapart.finetuning.pictures import Pictures, seed_of
from tellapart.finetuning.schedule import Cycle

__all__ = ["LoopOptions", "Step", "Trained", "new_optimizer", "train_epochs", "train_step"]

_SECONDS_BETWEEN_CHECKPOINTS = 60.0


@dataclass(frozen=True)
class LoopOptions:
    """What the loop needs to know besides model, pictures and schedule.

    A step of the optimiser takes `accumulate` times `batch` pictures, `batch` at a time.
    `class_weights` float32 (K,) or None; `label_smoothing` in [0, 1); `clip` is the largest norm of a
    step's gradient. `mixup` and `cutmix` are alphas, 0 for none; `ema` is the decay of the weights'
    average, 0 for none. Training ends after `patience` epochs without a better one, 0 for never.
    """

    epochs: int
    batch: int = 32
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    clip: float = 1.0
    class_weights: tuple[float, ...] | None = None
    workers: int = 2
    seed: int = 0
    accumulate: int = 1
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    patience: int = 0


@dataclass(frozen=True)
class Step:
    """A step that was made: `done` of `total`, its loss before it, and the rate of each layer group."""

    done: int
    total: int
    loss: float
    lrs: tuple[float, ...]


@dataclass(frozen=True)
class Trained:
    """A row per epoch, and what the user should know about how it went."""

    history: list[Epoch]
    notes: list[str]


@dataclass
class _State:
    """How far it is: the next step of an epoch, what this epoch has summed up, and what is known of
    memory and of the best epoch."""

    piece: int
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    best_epoch: int = -1
    best_loss: float = 0.0
    history: list[Epoch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def train_epochs(
    classifier: Classifier,
    train: Pictures,
    valid: Pictures,
    cycle: Cycle,
    options: LoopOptions,
    checkpoint: Path,
    *,
    aside: Pictures | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Trained:
    """Train what `classifier` lets learn, and measure after each epoch.

    `cycle` has a row of rates per step, with a column per learning group. With `aside` the weights of
    the epoch count whose loss on these pictures is lowest. Where `checkpoint` is there, goes on from
    it; it is written each epoch and each minute, and on an interrupt. Where memory runs out, a step's
    pictures are done fewer at a time, and `on_note` is told.

    Raises RunError where the checkpoint cannot be written or belongs to something else, and where
    memory is too small for one picture.
    """
    classifier.to(memory_format=torch.channels_last)
    optimizer = new_optimizer(classifier, options)
    weights = Weights(classifier, ema=options.ema, keep_best=aside is not None)
    state = _State(piece=options.batch)
    if checkpoint.exists():
        state = _resumed(read_checkpoint(checkpoint, weights, optimizer))
    size = options.batch * options.accumulate
    steps = train.steps(size)
    saved = time.monotonic()
    whole = True  # an interrupt inside a step leaves half of it done: then the last file counts
    try:
        while state.epoch < options.epochs and not _out_of_patience(state, options):
            began = time.monotonic() - state.seconds
            classifier.train()
            for batch in train.batches(size, state.epoch, state.step, options.workers):
                at = state.epoch * steps + state.step
                whole = False
                _set_rates(optimizer, cycle, at)
                loss = _set_gradients(classifier, *batch, options, state, on_note)
                _descend(classifier, optimizer, options)
                weights.follow()
                state.loss += loss * len(batch[0])
                state.seen += len(batch[0])
                state.step += 1
                whole = True
                state.seconds = time.monotonic() - began
                on_step(Step(at + 1, options.epochs * steps, loss, tuple(cycle.lrs[at].tolist())))
                if time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                    write_checkpoint(checkpoint, weights, optimizer, asdict(state))
                    saved = time.monotonic()
            lr = float(np.max(cycle.lrs[state.epoch * steps : (state.epoch + 1) * steps]))
            row = _measured(weights.measured, valid, options, state, lr)
            if aside is not None:
                _compare(weights, aside, options, state)
            state = _next_epoch(state, row)
            write_checkpoint(checkpoint, weights, optimizer, asdict(state))
            on_epoch(row)
    except KeyboardInterrupt:
        if whole:
            write_checkpoint(checkpoint, weights, optimizer, asdict(state))
        raise
    weights.settle()
    ending = [] if aside is None else [_ending(state, options, len(aside.targets))]
    return Trained(state.history, [*state.notes, *ending])


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
    loss = put_gradients(classifier, pixels, targets, _loss(options), options.batch)
    _descend(classifier, optimizer, options)
    return loss


def _set_gradients(
    classifier: Classifier,
    pixels: Tensor,
    targets: Tensor,
    options: LoopOptions,
    state: _State,
    on_note: Callable[[str], None],
) -> float:
    """Those of a step, with fewer pictures at a time from now on if need be; the mean loss."""
    numbers = (options.seed, state.epoch, state.step)
    pixels, targets = mixed(
        pixels, targets, classifier.head.classes,
        mixup=options.mixup, cutmix=options.cutmix, seed=seed_of(*numbers, 3),
    )  # fmt: skip
    loss, piece = fitting_gradients(
        classifier, pixels, targets, _loss(options), state.piece, seed_of(*numbers, 1)
    )
    if piece < state.piece:
        note = (
            f"memory ran out at {min(state.piece, len(pixels))} pictures: from step {state.step} of epoch "
            f"{state.epoch} on they are done {piece} at a time, in the same steps at the same rates"
        )
        state.piece = piece
        state.notes.append(note)
        on_note(note)
    return loss


def _loss(options: LoopOptions) -> Loss:
    return weighted_cross_entropy(options.class_weights, options.label_smoothing)


def _descend(
    classifier: Classifier, optimizer: torch.optim.Optimizer, options: LoopOptions
) -> None:
    learning = [p for p in classifier.parameters() if p.requires_grad]
    nn.utils.clip_grad_norm_(learning, options.clip)
    optimizer.step()


def _measured(
    classifier: Classifier, valid: Pictures, options: LoopOptions, state: _State, lr: float
) -> Epoch:
    loss, guesses = _answers(classifier, valid, state.piece, options.workers)
    targets = np.asarray(valid.targets)
    classes = classifier.head.classes
    return Epoch(
        epoch=state.epoch,
        train_loss=state.loss / max(1, state.seen),
        valid_loss=loss,
        errors=int((guesses != targets).sum()),
        n=len(targets),
        seconds=state.seconds,
        lr=lr,
        predicted_counts=_counts(guesses, classes),
        true_counts=_counts(targets, classes),
    )


def _answers(
    classifier: Classifier, pictures: Pictures, batch: int, workers: int
) -> tuple[float, NDArray[np.int64]]:
    """The mean loss, unweighted, and the class number that each picture is taken for."""
    classifier.eval()
    losses, predicted = [], []
    with torch.inference_mode():  # in float32, as the graph will answer
        for pixels, targets in pictures.batches(batch, workers=workers):
            logits = classifier(pixels.contiguous(memory_format=torch.channels_last)).float()
            losses.append(cross_entropy(logits, targets, reduction="sum"))
            predicted.append(logits.argmax(dim=1))
    guesses: NDArray[np.int64] = torch.cat(predicted).numpy()
    return float(torch.stack(losses).sum()) / len(guesses), guesses


def _compare(weights: Weights, aside: Pictures, options: LoopOptions, state: _State) -> None:
    """Keep the weights of an epoch that is better than all before it."""
    loss, _ = _answers(weights.measured, aside, state.piece, options.workers)
    if state.best_epoch < 0 or loss < state.best_loss or not math.isfinite(state.best_loss):
        weights.keep()
        state.best_epoch, state.best_loss = state.epoch, loss


def _out_of_patience(state: _State, options: LoopOptions) -> bool:
    return options.patience > 0 and state.epoch - state.best_epoch > options.patience


def _next_epoch(state: _State, row: Epoch) -> _State:
    history = [*state.history, row]
    return replace(
        state, epoch=state.epoch + 1, step=0, loss=0.0, seen=0, seconds=0.0, history=history
    )


def _ending(state: _State, options: LoopOptions, count: int) -> str:
    last = state.epoch - 1
    ended = (
        f"training stopped after epoch {last}, {options.patience} after the best"
        if _out_of_patience(state, options)
        else f"training went on to its last epoch, {last}"
    )
    return (
        f"{ended}: the weights of epoch {state.best_epoch} count, since their loss was lowest, "
        f"{state.best_loss:.4g}, on {count} training pictures that were set aside"
    )


def _counts(numbers: Any, classes: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.bincount(numbers, minlength=classes))


def _resumed(facts: dict[str, Any]) -> _State:
    counts = ("predicted_counts", "true_counts")
    rows = [{**row, **{name: tuple(row[name]) for name in counts}} for row in facts["history"]]
    return _State(**{**facts, "history": [Epoch(**row) for row in rows]})
