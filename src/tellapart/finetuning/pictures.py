"""Training pictures in batches, so that batch s of epoch e is the same whoever asks and whenever.

Order and changes of a picture come from (seed, epoch, picture) alone, not from a generator's past. So a
training that was killed goes on with the very batches that it would have seen.
"""

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tellapart.data.images import decode, read_bytes
from tellapart.errors import DatasetError, ImageError
from tellapart.finetuning.augment import Transforms
from tellapart.model.preprocess import PreprocessSpec

__all__ = ["Pictures", "seed_of"]


def seed_of(*numbers: int) -> int:
    """A seed for torch, 0 ≤ seed < 2⁶³, that tells any two sequences of numbers apart."""
    packed = struct.pack(f"<{len(numbers)}q", *numbers)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


@dataclass(frozen=True)
class Pictures:
    """N pictures and their class numbers. With `transforms` they are changed, anew in each epoch."""

    root: Path
    paths: Sequence[str]
    targets: Sequence[int]
    preprocess: PreprocessSpec
    transforms: Transforms | None = None
    seed: int = 0

    def steps(self, batch: int) -> int:
        """Batches in an epoch; the last short one counts, but one picture alone joins the one before."""
        return len(self.plan(batch, 0))

    def batches(
        self, batch: int, epoch: int = 0, first: int = 0, workers: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(pixels float32 (B, 3, S, S), targets int64 (B,)) of an epoch, from batch `first` on.

        Raises DatasetError where a picture cannot be read any more.
        """
        yield from self.chosen(self.plan(batch, epoch)[first:], epoch, workers)

    def chosen(
        self, plan: Sequence[list[int]], epoch: int = 0, workers: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The same of the pictures at the places in `plan`, none of whose batches is empty."""
        loader = DataLoader(
            _Epoch(self, epoch),
            batch_sampler=plan,
            num_workers=workers,
            worker_init_fn=_one_thread,
        )
        yield from loader

    def plan(self, batch: int, epoch: int) -> list[list[int]]:
        """The places in `paths` of each batch's pictures."""
        count = len(self.paths)
        if self.transforms is None:
            order = list(range(count))
        else:
            generator = torch.Generator().manual_seed(seed_of(self.seed, epoch, -1))
            order = torch.randperm(count, generator=generator).tolist()
        plan = [order[start : start + batch] for start in range(0, count, batch)]
        if len(plan) > 1 and len(plan[-1]) == 1:  # batch normalisation needs two
            plan[-2:] = [plan[-2] + plan[-1]]
        return plan


class _Epoch(Dataset[tuple[Tensor, int]]):
    def __init__(self, pictures: Pictures, epoch: int) -> None:
        self._pictures = pictures
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._pictures.paths)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        p = self._pictures
        path = p.paths[place]
        try:
            content = read_bytes(p.root / path, path)
            image = decode(content, path, shorter_side=p.preprocess.shorter_side)
        except ImageError as error:
            raise DatasetError(
                f"{error}; it was fine before. Train anew: tellapart train"
            ) from None
        if p.transforms is None:
            return torch.from_numpy(p.preprocess.apply(image)[0]), p.targets[place]
        seed = seed_of(p.seed, self._epoch, place)
        return p.transforms.network_input(image, p.preprocess, seed), p.targets[place]


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
