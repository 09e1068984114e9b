"""Losses and learning rates for TensorBoard, whose package is asked for only where it is used."""

from pathlib import Path
from typing import Any

from tellapart.errors import UsageError
from tellapart.finetuning.explanation import Epoch
from tellapart.finetuning.loop import Step

__all__ = ["Scalars"]


class Scalars:
    """Writes a stage's events into `folder`: `step` for each step, `epoch` for each row of the table.

    Where a training goes on that was killed, what the folder has of the steps from there on is hidden.
    Raises UsageError where the package `tensorboard` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                "TensorBoard's package is not installed. Install it with: pip install tensorboard"
            ) from None
        self._open = SummaryWriter
        self._folder = folder
        self._writer: Any = None

    def step(self, step: Step) -> None:
        """step/train_loss, and step/lr/0 … from the first group that learns to the head."""
        if self._writer is None:
            self._writer = self._open(str(self._folder), purge_step=step.done)
        self._writer.add_scalar("step/train_loss", step.loss, step.done)
        for group, lr in enumerate(step.lrs):
            self._writer.add_scalar(f"step/lr/{group}", lr, step.done)

    def epoch(self, row: Epoch) -> None:
        """epoch/train_loss, epoch/valid_loss and epoch/error_rate."""
        if self._writer is None:  # killed after the last step of an epoch
            self._writer = self._open(str(self._folder))
        self._writer.add_scalar("epoch/train_loss", row.train_loss, row.epoch)
        self._writer.add_scalar("epoch/valid_loss", row.valid_loss, row.epoch)
        self._writer.add_scalar("epoch/error_rate", row.errors / row.n, row.epoch)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
