"""The verb `lr_find`: which rates a run may be trained on with, measured on its own pictures.

Each restart begins with the same weights and takes other minibatches; the weights that were there are
put back exactly, and nothing of the run is changed. A run whose probe is at its optimum has little to
fall: then the curve is flat and rises, and the finder says so and suggests nothing.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from tellapart.finetuning.classifier import Classifier
from tellapart.finetuning.finetune import (
    new_classifier,
    split_pictures,
    weights_of_classes,
)
from tellapart.finetuning.finetune_options import FinetuneOptions
from tellapart.finetuning.frozen import FrozenOptions, Vectors, head_optimizer, head_step
from tellapart.finetuning.frozen_stage import frozen_data, new_head
from tellapart.finetuning.heads import Head
from tellapart.finetuning.loop import LoopOptions, new_optimizer, train_step
from tellapart.finetuning.lr_finder import Suggestions, Sweep, matched_steps, suggest, sweep
from tellapart.finetuning.one_cycle import OneCycle
from tellapart.finetuning.pictures import Pictures, seed_of
from tellapart.finetuning.stages import base_stage, run_dataset
from tellapart.training.embed import Progress
from tellapart.training.run import Run

__all__ = ["lr_find", "lr_find_frozen"]

_EPOCHS_OF_A_RESTART = 1000  # so that no two restarts see the same order
_MOST_STEPS = 10_000  # of a sweep of the head; beyond, it goes less far than the training
_HEAD_SMOOTHING = 0.6  # more would lag: a short training's sweep comes down within thirty steps
_TOP_MOMENTUM = 0.85  # of one cycle at its highest rate; 0.95 shoots over the bottom as rates rise


def lr_find(
    run: Run | str | Path,
    options: FinetuneOptions | None = None,
    *,
    start: str | Run | None = None,
    lr_min: float = 1e-7,
    lr_max: float = 1.0,
    steps: int = 60,
    restarts: int = 3,
    workers: int = 2,
    progress: Progress | None = None,
) -> tuple[Sweep, Suggestions]:
    """Sweep the learning rate over minibatches of a run's training pictures, `restarts` times.

    `options` are those of the fine-tuning that is to follow; of these, what learns, batch, transforms,
    weight decay, label smoothing and seed matter here. `suggestions.pair` can be used as its rates.
    Raises like `finetune`.

    >>> found, suggestions = lr_find("runs/mine", FinetuneOptions(batch=16))  # doctest: +SKIP
    >>> print(suggestions.sentence())  # doctest: +SKIP
    """
    run = run if isinstance(run, Run) else Run.load(run)
    options = options or FinetuneOptions(batch=16)
    base = base_stage(run, start)
    classifier = new_classifier(base, options)
    dataset = run_dataset(run)
    pictures = split_pictures(dataset, base, "train", options)
    loop = LoopOptions(
        1, options.batch, options.weight_decay, options.label_smoothing,
        class_weights=weights_of_classes(base, dataset), workers=workers,
    )  # fmt: skip
    stepper = _Stepper(classifier, pictures, loop)
    if progress is not None:
        stepper.on_step = lambda done: progress("lr_find", done, steps * restarts)
    found = sweep(stepper, lr_min=lr_min, lr_max=lr_max, steps=steps, restarts=restarts)
    return found, suggest(found)


def lr_find_frozen(
    run: Run | str | Path,
    options: OneCycle | None = None,
    *,
    fresh: bool = False,
    start: str | Run | None = None,
    lr_min: float = 1e-5,
    lr_max: float = 1.0,
    steps: int | None = None,
    restarts: int = 5,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[Sweep, Suggestions]:
    """The same for the head alone, on cached features: for `train_frozen`. A `fresh` head is untrained.

    The default suggestion is the knee of a sweep that is matched to the training's length, epochs and
    batch of `options`: with as many steps per ratio of rates as make it go as far (`matched_steps`), and
    with the momentum of the cycle's top. fastai's valley is the middle of the fall, and features that
    tell the classes apart let the loss fall at all rates: it is then a constant of the sweep's range.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    options = options or OneCycle()
    base = base_stage(run, start)
    data = frozen_data(run, base, run_dataset(run), options, workers=workers, progress=progress)
    head = new_head(base, data, options, fresh=fresh)
    if steps is None:
        cycle = data.options.cycle(data.train)
        steps = min(_MOST_STEPS, matched_steps(lr_min, lr_max, len(cycle.lrs)))
    found = sweep(
        _HeadStepper(head, data.train, data.options),
        lr_min=lr_min, lr_max=lr_max, steps=steps, restarts=restarts, smoothing=_HEAD_SMOOTHING,
    )  # fmt: skip
    return found, suggest(found, knee=True)


class _HeadStepper:
    """What `sweep` drives where the network is frozen."""

    def __init__(self, head: Head, vectors: Vectors, options: FrozenOptions) -> None:
        self._head, self._vectors, self._options = head, vectors, options

    def begin(self, restart: int) -> None:
        state = self._head.state_dict()
        self._kept = {name: tensor.detach().clone() for name, tensor in state.items()}
        self._optimizer = head_optimizer(self._head, self._options)
        self._rows = self._endless(restart * _EPOCHS_OF_A_RESTART)
        self._head.train()
        self._random = torch.random.fork_rng(devices=[])
        self._random.__enter__()
        torch.manual_seed(seed_of(self._options.seed, restart, 4))

    def step(self, lr: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = lr
            group["betas"] = (_TOP_MOMENTUM, 0.99)
        return head_step(
            self._head, self._optimizer, self._vectors, next(self._rows), self._options
        )

    def end(self) -> None:
        self._random.__exit__(None, None, None)
        self._head.load_state_dict(self._kept)
        self._head.eval()

    def _endless(self, epoch: int) -> Iterator[Tensor]:
        """Without an epoch's last short batch, whose loss would be noisier than the others."""
        while True:
            plan = self._vectors.plan(self._options.batch, seed_of(self._options.seed, epoch))
            yield from [rows for rows in plan if len(rows) >= self._options.batch] or plan
            epoch += 1


class _Stepper:
    """What `sweep` drives: the loop's own step, at the rate that it is given."""

    def __init__(self, classifier: Classifier, pictures: Pictures, options: LoopOptions) -> None:
        self._classifier = classifier
        self._pictures = pictures
        self._options = options
        self._done = 0
        self.on_step: Callable[[int], None] = lambda done: None

    def begin(self, restart: int) -> None:
        state = self._classifier.state_dict()
        self._kept = {name: tensor.detach().clone() for name, tensor in state.items()}
        self._optimizer = new_optimizer(self._classifier, self._options)
        self._batches = self._endless(restart * _EPOCHS_OF_A_RESTART)
        self._classifier.train()
        torch.manual_seed(seed_of(self._pictures.seed, restart, 2))

    def step(self, lr: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        pixels, targets = next(self._batches)
        loss = train_step(self._classifier, self._optimizer, pixels, targets, self._options)
        self._done += 1
        self.on_step(self._done)
        return loss

    def end(self) -> None:
        self._classifier.load_state_dict(self._kept)
        self._batches = iter(())  # ends the loader's processes

    def _endless(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self._pictures.batches(
                self._options.batch, epoch, workers=self._options.workers
            )
            epoch += 1
