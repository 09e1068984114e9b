"""The one loop of unfrozen training, from top to bottom.

AdamW (Loshchilov & Hutter 2019) without decay on norms and biases, a one-cycle schedule with a rate per
layer group, gradients clipped. Every random number comes from (seed, epoch, step), and the checkpoint
holds all else, so a training that was killed ends with the same weights, bit for bit, on one machine
with one number of threads. No validation picture takes part in any choice: where training may end
early, training pictures that were set aside decide.

Several processes train as one does: each computes some of the shares that a step is cut into and measures
some of the batches, sums are exchanged, and all make the same step (see `shares`, `group`).
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tellapart.errors import RunError
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
from tellapart.finetuning.group import ALONE, Group, LostProcess
from tellapart.finetuning.mixing import mixed
from tellapart.finetuning.pictures import Pictures, seed_of
from tellapart.finetuning.schedule import Cycle
from tellapart.finetuning.shares import Dealt, dealt_steps, shares_of

__all__ = ["LoopOptions", "Step", "Trained", "new_optimizer", "train_epochs", "train_step"]

_SECONDS_BETWEEN_CHECKPOINTS = 60.0


@dataclass(frozen=True)
class LoopOptions:
    """What the loop needs to know besides model, pictures and schedule.

    A step of the optimiser takes `accumulate` times `batch` pictures, `batch` at a time.
    `class_weights` float32 (K,) or None; `label_smoothing` in [0, 1); `clip` is the largest norm of a
    step's gradient. `mixup` and `cutmix` are alphas, 0 for none; `ema` is the decay of the weights'
    average, 0 for none. Training ends after `patience` epochs without a better one, 0 for never. A
    step is cut into `pieces` shares, for as many processes at most; what is dropped at random is
    drawn for each of them.
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
    pieces: int = 1


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
    memory and of the best epoch. `piece` pictures are done at a time, in `pieces` shares of a step."""

    piece: int
    pieces: int = 1
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
    group: Group = ALONE,
) -> Trained:
    """Train what `classifier` lets learn, and measure after each epoch.

    `cycle` has a row of rates per step, with a column per learning group. With `aside` the weights of
    the epoch count whose loss on these pictures is lowest. Where `checkpoint` is there, goes on from
    it; it is written each epoch and each minute, and on an interrupt. Where memory runs out, a step's
    pictures are done fewer at a time, and `on_note` is told. Of a `group` each process calls this
    with the same arguments; the first writes the file, and all end with the same weights.

    Raises RunError where the checkpoint cannot be written or belongs to something else, and where
    memory is too small for one picture; LostProcess where another process has ended.
    """
    classifier.to(memory_format=torch.channels_last)
    optimizer = new_optimizer(classifier, options)
    weights = Weights(classifier, ema=options.ema, keep_best=aside is not None)
    file = _File(checkpoint, weights, optimizer, group)
    state = file.state() or _State(piece=options.batch, pieces=options.pieces)
    size = options.batch * options.accumulate
    steps = train.steps(size)
    whole = True  # an interrupt inside a step leaves half of it done: then the last file counts
    try:
        while state.epoch < options.epochs and not _out_of_patience(state, options):
            began = time.monotonic() - state.seconds
            classifier.train()
            for dealt in _steps(train, size, options, state, group):
                at = state.epoch * steps + state.step
                _set_rates(optimizer, cycle, at)
                loss = _set_gradients(classifier, dealt, options, state, on_note, group)
                whole = False
                _descend(classifier, optimizer, options)
                weights.follow()
                state.loss += loss * dealt.count
                state.seen += dealt.count
                state.step += 1
                whole = True
                state.seconds = time.monotonic() - began
                on_step(Step(at + 1, options.epochs * steps, loss, tuple(cycle.lrs[at].tolist())))
                file.write(state, since=_SECONDS_BETWEEN_CHECKPOINTS)
            lr = float(np.max(cycle.lrs[state.epoch * steps : (state.epoch + 1) * steps]))
            row = _measured(weights.measured, valid, options, state, lr, group)
            if aside is not None:
                _compare(weights, aside, options, state, group)
            state = _next_epoch(state, row)
            file.write(state)
            on_epoch(row)
    except (KeyboardInterrupt, LostProcess):
        if whole:
            file.write(state)
        raise
    weights.settle()
    ending = [] if aside is None else [_ending(state, options, len(aside.targets))]
    return Trained(state.history, [*state.notes, *ending])


@dataclass
class _File:
    """The checkpoint, which the first process of the group reads and writes."""

    path: Path
    weights: Weights
    optimizer: torch.optim.Optimizer
    group: Group
    written: float = field(default_factory=time.monotonic)

    def state(self) -> _State | None:
        """Where training was, with everything put back; None where there is no file."""
        if not self.group.told(self.path.exists()):
            return None
        return _resumed(read_checkpoint(self.path, self.weights, self.optimizer, self.group))

    def write(self, state: _State, since: float = 0.0) -> None:
        """If so many seconds have passed since it was written."""
        if self.group.first and time.monotonic() - self.written >= since:
            write_checkpoint(self.path, self.weights, self.optimizer, asdict(state))
            self.written = time.monotonic()


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


def _steps(
    train: Pictures, size: int, options: LoopOptions, state: _State, group: Group
) -> Iterator[Dealt]:
    return dealt_steps(
        train, size, state.epoch, state.step, workers=options.workers, pieces=state.pieces,
        group=group, whole=bool(options.mixup or options.cutmix),
    )  # fmt: skip


def _set_gradients(
    classifier: Classifier,
    dealt: Dealt,
    options: LoopOptions,
    state: _State,
    on_note: Callable[[str], None],
    group: Group,
) -> float:
    """Those of a step, with fewer pictures at a time from now on if need be; the mean loss."""
    numbers = (options.seed, state.epoch, state.step)
    pixels, targets = mixed(
        dealt.pixels, dealt.targets, classifier.head.classes,
        mixup=options.mixup, cutmix=options.cutmix, seed=seed_of(*numbers, 3),
    )  # fmt: skip
    loss, piece = fitting_gradients(
        classifier, shares_of(dealt, pixels, targets, state.pieces, numbers), _loss(options),
        state.piece, pieces=state.pieces, group=group,
    )  # fmt: skip
    if piece < state.piece:
        share = -(-dealt.count // state.pieces)
        note = (
            f"memory ran out at {min(state.piece, share)} pictures: from step {state.step} of epoch "
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
    classifier: Classifier,
    valid: Pictures,
    options: LoopOptions,
    state: _State,
    lr: float,
    group: Group,
) -> Epoch:
    batch = _at_once(valid, state)
    loss, guesses = _answers(classifier, valid, batch, options.workers, group)
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


def _at_once(pictures: Pictures, state: _State) -> int:
    """How many to measure at a time, so that there is something for each process to measure."""
    return min(state.piece, -(-len(pictures.paths) // state.pieces))


def _answers(
    classifier: Classifier, pictures: Pictures, batch: int, workers: int, group: Group = ALONE
) -> tuple[float, NDArray[np.int64]]:
    """The mean loss, unweighted, and the class number that each picture is taken for.

    Process r of W measures batches r, r + W, … Each number is one process' alone, so that their sums
    over the processes are the same for any W.
    """
    classifier.eval()
    plan = pictures.plan(batch, 0)
    losses = torch.zeros(len(plan))
    guesses = torch.full((len(pictures.paths),), -1)
    own = range(group.rank, len(plan), group.size)
    with torch.inference_mode():  # in float32, as the graph will answer
        answered = pictures.chosen([plan[number] for number in own], 0, workers)
        for number, (pixels, targets) in zip(own, answered, strict=True):
            logits = classifier(pixels.contiguous(memory_format=torch.channels_last)).float()
            losses[number] = cross_entropy(logits, targets, reduction="sum")
            guesses[plan[number]] = logits.argmax(dim=1)
    losses, guesses = group.summed(losses), group.summed(guesses + 1) - 1
    if (guesses < 0).any():
        raise RunError("a picture was measured by no process")
    return float(losses.sum()) / len(guesses), guesses.numpy()


def _compare(
    weights: Weights, aside: Pictures, options: LoopOptions, state: _State, group: Group
) -> None:
    """Keep the weights of an epoch that is better than all before it."""
    batch = _at_once(aside, state)
    loss, _ = _answers(weights.measured, aside, batch, options.workers, group)
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
