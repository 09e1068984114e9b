"""What a Learner's fits leave to look at: rates and momenta by step, losses by epoch, the finder's curve."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from tellapart.errors import UsageError
from tellapart.evaluation.figures import row_of_axes
from tellapart.finetuning.explanation import Epoch
from tellapart.finetuning.lr_finder import Suggestions, Sweep
from tellapart.finetuning.lr_finder_plot import draw
from tellapart.finetuning.stages import read_history
from tellapart.training.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Fit", "Recorder"]


@dataclass(frozen=True)
class Fit:
    """One call of `fit_one_cycle`: its rates (steps, groups) and momenta at some `step`s, a row per epoch."""

    name: str
    step: Sequence[int]
    lr: Sequence[Sequence[float]]
    momentum: Sequence[float]
    history: tuple[Epoch, ...]

    @classmethod
    def of(cls, stage: Run) -> Self:
        """From a stage's own files."""
        return cls(stage.info["stage"], **stage.info["cycle"], history=tuple(read_history(stage)))


@dataclass
class Recorder:
    """The fits in their order, and the last sweep of the learning-rate finder.

    >>> Recorder().fits
    []
    """

    fits: list[Fit] = field(default_factory=list)
    found: tuple[Sweep, Suggestions] | None = None

    @property
    def values(self) -> list[list[float]]:
        """train_loss, valid_loss and error rate of every epoch, as fastai's recorder has them."""
        rows = [row for fit in self.fits for row in fit.history]
        return [[row.train_loss, row.valid_loss, row.errors / row.n] for row in rows]

    def plot_lr(self) -> "Figure":
        """Rates and momenta of the last fit over its steps; a line per layer group."""
        fit = self._last()
        figure, (left, right) = row_of_axes(2)
        rates = np.asarray(fit.lr)
        for group, column in enumerate(rates.T):
            left.plot(
                fit.step, column, color="#08519c", alpha=0.35 + 0.65 * (group + 1) / rates.shape[1]
            )
        left.set_ylabel("learning rate")
        if rates.shape[1] > 1 and len(np.unique(rates)) > 1:
            left.set_yscale("log")
        right.plot(fit.step, fit.momentum, color="#cb181d")
        right.set_ylabel("momentum")
        for axes in (left, right):
            axes.set_xlabel("step")
        return figure

    def plot_losses(self) -> "Figure":
        """Training and validation loss of every epoch; a dotted line where a fit begins."""
        self._last()
        figure, (axes,) = row_of_axes(1)
        rows = [row for fit in self.fits for row in fit.history]
        epochs = np.arange(1, len(rows) + 1)
        axes.plot(epochs, [row.train_loss for row in rows], "o-", color="#08519c", label="train")
        axes.plot(epochs, [row.valid_loss for row in rows], "o-", color="#cb181d", label="valid")
        for end in np.cumsum([len(fit.history) for fit in self.fits])[:-1]:
            axes.axvline(float(end) + 0.5, color="#999999", linestyle=":")
        axes.set_xlabel("epoch, over all fits")
        axes.set_ylabel("loss (nats)")
        axes.set_xticks(epochs, minor=False)
        axes.legend()
        return figure

    def plot(self) -> "Figure":
        """The learning-rate finder's curve with its suggestions."""
        if self.found is None:
            raise UsageError("there is no curve yet; call learn.lr_find() first")
        return draw(*self.found)

    def _last(self) -> Fit:
        if not self.fits:
            raise UsageError("nothing was trained yet; call learn.fit_one_cycle(4) first")
        return self.fits[-1]
