"""The processes that train one model together, and what they tell one another.

They are those of torchrun, those of a cluster, or one alone, for whom nothing here does anything. Only
tensors and JSON go between them. There is no wrapper around the model, as DistributedDataParallel is
one: a step is done in pieces, some of them twice where memory runs out, and weighed by its pictures,
so gradients are summed once, when a step's pieces are done (docs/decisions).
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from tellapart.errors import EngineError

__all__ = ["ALONE", "PATIENCE", "Group", "LostProcess", "joined", "leave"]

PATIENCE = timedelta(days=1)
"""How long a process waits for the others; one that ends is noticed at once, by its connections."""

_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class LostProcess(EngineError):
    """Another process of a training has ended, so this one cannot go on."""


@dataclass(frozen=True)
class Group:
    """`size` processes, of which this one is number `rank`, from 0. The first one writes and prints.

    What is asked of all is asked by all, in the same order. Raises LostProcess where one has ended.

    >>> Group().summed(torch.ones(2))
    tensor([1., 1.])
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, with the same bits in each of them; any shape, floats or int64."""
        if self.size == 1:
            return tensor
        own = tensor.to(_device())
        own = own.clone() if own is tensor else own
        with _others():
            distributed.all_reduce(own)
        return own.to(tensor.device)

    def least(self, number: int) -> int:
        """The smallest of the processes' numbers."""
        if self.size == 1:
            return number
        own = torch.tensor(number, device=_device())
        with _others():
            distributed.all_reduce(own, distributed.ReduceOp.MIN)
        return int(own)

    def told(self, facts: Any) -> Any:
        """What the first process says, to all; it is what JSON can hold. What the others say is nothing."""
        if self.size == 1:
            return facts
        raw = json.dumps(facts).encode() if self.first else b""
        length = torch.tensor(len(raw), device=_device())
        with _others():
            distributed.broadcast(length, 0)
            content = torch.zeros(int(length), dtype=torch.uint8, device=_device())
            if self.first:
                content.copy_(torch.frombuffer(bytearray(raw), dtype=torch.uint8))
            distributed.broadcast(content, 0)
        return json.loads(bytes(content.cpu().numpy()))

    def tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the first process, to all, one after another."""
        if self.size == 1:
            return dict(tensors)
        kinds = self.told({n: [str(t.dtype)[6:], list(t.shape)] for n, t in tensors.items()})
        found = {}
        for name, (dtype, shape) in kinds.items():
            empty = torch.empty(shape, dtype=getattr(torch, dtype))
            own = (tensors[name] if self.first else empty).contiguous().to(_device())
            with _others():
                distributed.broadcast(own, 0)
            found[name] = own.cpu()
        return found

    def sum_gradients(self, model: nn.Module) -> None:
        """Make each gradient the sum over all processes. None stays None where no process has one.

        All go in one tensor, so that a step waits for one exchange. A process without pictures counts
        as zeros.
        """
        if self.size == 1:
            return
        learning = [p for p in model.parameters() if p.requires_grad]
        there = torch.tensor([float(p.grad is not None) for p in learning])
        parts = [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in learning]
        device = learning[0].device
        whole = self.summed(torch.cat([part.to(device) for part in (*parts, there)]))
        at = 0
        for parameter, known in zip(learning, whole[-len(learning) :].tolist(), strict=True):
            own = whole[at : at + parameter.numel()].view(parameter.shape)
            at += parameter.numel()
            if known and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if known and parameter.grad is not None:
                parameter.grad.copy_(own)

    def wait(self) -> None:
        """Until all are here."""
        self.least(0)


ALONE = Group()


@contextmanager
def joined() -> Iterator[Group]:
    """The processes that this one belongs to, while it lasts: those that are connected already, those
    that torchrun has started, or itself alone."""
    if distributed.is_available() and distributed.is_initialized():
        yield Group(distributed.get_rank(), distributed.get_world_size())
        return
    if any(name not in os.environ for name in _OF_TORCHRUN) or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    with _others():
        distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def leave() -> None:
    """End the connections to the others, who notice it at once; nothing where there are none."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _device() -> str:
    """Where tensors must lie to be sent: NCCL knows graphics cards alone."""
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"


@contextmanager
def _others() -> Iterator[None]:
    """torch raises plain RuntimeErrors, or kinds of them, where a connection ends."""
    try:
        yield
    except RuntimeError as error:
        reason = f"{error}".partition("\n")[0]
        raise LostProcess(
            "another process of this training has ended; its own message says why. The same command "
            f"goes on from the last checkpoint ({reason})."
        ) from None
