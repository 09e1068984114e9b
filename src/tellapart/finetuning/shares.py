"""Who computes what of a step: its pictures in shares, dealt to the processes that train together.

A training has as many shares to a step as it was begun with, and share s is computed by process s mod W of
the W that are there. So each share is the same, what is dropped at random in it too, whoever
computes it: a training of two processes goes on with one, or with three, to the same numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from tellapart.finetuning.group import Group
from tellapart.finetuning.pictures import Pictures, seed_of

__all__ = ["Dealt", "Share", "dealt_steps", "shares_of"]


@dataclass(frozen=True)
class Share:
    """Share `number` of a step: pixels float32 (B, 3, S, S), targets, and the seed of its dropout."""

    number: int
    pixels: Tensor
    targets: Tensor
    seed: int


@dataclass(frozen=True)
class Dealt:
    """What a process has loaded of a step of `count` pictures: those from `start` to `stop` of each share
    in `places`, by its number, in `pixels` and `targets`."""

    count: int
    pixels: Tensor
    targets: Tensor
    places: dict[int, tuple[int, int]]


def dealt_steps(
    pictures: Pictures,
    size: int,
    epoch: int,
    first: int,
    *,
    workers: int,
    pieces: int,
    group: Group,
    whole: bool,
) -> Iterator[Dealt]:
    """An epoch's steps of `size` pictures from step `first` on, cut into `pieces` shares, for one process.

    With `whole` every process loads all pictures of a step, since they are mixed with one another; its
    shares are its own all the same. Raises DatasetError.
    """
    plan = pictures.plan(size, epoch)[first:]
    bounds = [_bounds(len(chosen), pieces) for chosen in plan]
    own = [
        {number: b for number, b in enumerate(step) if number % group.size == group.rank and b[0] < b[1]}
        for step in bounds
    ]  # fmt: skip
    loaded = [
        chosen
        if whole
        else [place for start, stop in mine.values() for place in chosen[start:stop]]
        for chosen, mine in zip(plan, own, strict=True)
    ]
    batches = iter(pictures.chosen([chosen for chosen in loaded if chosen], epoch, workers))
    nothing = torch.empty(0, 3, 1, 1), torch.empty(0, dtype=torch.int64)
    for chosen, mine, places in zip(plan, own, loaded, strict=True):
        pixels, targets = next(batches) if places else nothing
        yield Dealt(len(chosen), pixels, targets, mine if whole else _packed(mine))


def shares_of(
    dealt: Dealt, pixels: Tensor, targets: Tensor, pieces: int, numbers: tuple[int, int, int]
) -> list[Share]:
    """The process' shares, of pixels and targets as they were loaded or mixed.

    `numbers` are the seed, the epoch and the step.
    """
    return [
        Share(
            number, pixels[start:stop], targets[start:stop],
            seed_of(*numbers, 1, *([number] if pieces > 1 else [])),
        )
        for number, (start, stop) in dealt.places.items()
    ]  # fmt: skip


def _bounds(count: int, pieces: int) -> list[tuple[int, int]]:
    """Where each share of so many pictures begins and ends; the largest has one more than the smallest.

    >>> _bounds(7, 3)
    [(0, 2), (2, 4), (4, 7)]
    """
    ends = [count * number // pieces for number in range(pieces + 1)]
    return list(pairwise(ends))


def _packed(places: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """The same one after another, with no other share's pictures between them."""
    packed, at = {}, 0
    for number, (start, stop) in places.items():
        packed[number] = (at, at + stop - start)
        at += stop - start
    return packed
