"""Pictures of which the activation at a cut is kept, so that the frozen layers run no more after that.

Each training picture is changed in a few ways, its views, which take turns by epoch. What the frozen
layers make of them lies in a file without a name, mapped into memory: it goes with the process, and
the next one makes it again from the same batches and so with the same bits.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tellapart.finetuning.classifier import Classifier
from tellapart.finetuning.cut import Cut, find_cut
from tellapart.finetuning.pictures import Pictures
from tellapart.finetuning.precision import autocast

__all__ = ["Kept", "KeptPictures", "kept_below"]

_SAMPLE = 3  # pictures on which a cut is tried
_DISK_SHARE = 0.9  # of what is free


@dataclass(frozen=True, kw_only=True)
class KeptPictures(Pictures):
    """Pictures whose batches hold, in place of pixels, what `Cut.pack` makes of what is kept.

    A row of `rows` has the `activation`, float16, and the `columns`, float32, of a picture's view.
    `places` int64 (V, N) says which row is whose. Epoch e shows view e mod V, in an order of its own.
    """

    rows: NDArray[Any]
    places: NDArray[np.int64]

    def chosen(
        self, plan: Sequence[list[int]], epoch: int = 0, workers: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(packed float32 (B, 1, 1, W), targets int64 (B,)) of the pictures at the places in `plan`."""
        places = self.places[epoch % len(self.places)]
        targets = torch.tensor(self.targets)
        for chosen in plan:
            found = self.rows[places[chosen]]
            activation, columns = (found[name].copy() for name in ("activation", "columns"))
            packed = Cut.pack(torch.from_numpy(activation), torch.from_numpy(columns))
            yield packed, targets[chosen]


class Kept(NamedTuple):
    """Pictures to train on and to measure by; `refusal` says why they are as before, if they are."""

    pictures: list[Pictures]
    refusal: str = ""


@contextmanager
def kept_below(
    classifier: Classifier,
    pictures: Sequence[Pictures],
    batch: int,
    views: int,
    folder: Path,
    *,
    workers: int = 0,
    on_picture: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Kept]:
    """While it lasts, `classifier` starts from what its frozen layers have made of the pictures.

    Kept in `folder`: one row for each picture, and `views` for those that are changed at random. Where
    the network cannot be cut or the disk has no room, all is as before, and is said why.
    """
    cut = _cut(classifier, pictures[0])
    if isinstance(cut, str):
        yield Kept([*pictures], cut)
        return
    kind = np.dtype([("activation", "<f2", cut.shape), ("columns", "<f4", (len(cut.columns),))])
    passes = _Passes(pictures, [views if part.transforms else 1 for part in pictures])
    need, free = passes.total * kind.itemsize, shutil.disk_usage(folder).free
    if need > _DISK_SHARE * free:
        facts = f"{need / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
        yield Kept([*pictures], f"what is to be kept takes {facts}")
        return
    classifier.to(memory_format=torch.channels_last).eval()
    with ExitStack() as opened:
        file = opened.enter_context(tempfile.TemporaryFile(dir=folder))
        trouble = _write(file, kind, cut, passes, batch, workers, on_picture)
        if trouble:
            opened.close()  # its room is needed
            yield Kept([*pictures], trouble)
            return
        rows = np.memmap(file, kind, mode="r", shape=(passes.total,))
        classifier.replay = cut
        try:
            yield Kept(passes.kept(rows, batch))
        finally:
            classifier.replay = None


def _cut(classifier: Classifier, pictures: Pictures) -> Cut | str:
    few = replace(pictures, paths=pictures.paths[:_SAMPLE], targets=pictures.targets[:_SAMPLE])
    if len(few.paths) < 2:
        return "there are no two pictures to try it on"
    pixels, _ = next(few.batches(_SAMPLE))
    return find_cut(classifier, pixels)


@dataclass(frozen=True)
class _Passes:
    """Which views of which pictures go through the frozen layers, one row of the file after another."""

    pictures: Sequence[Pictures]
    counts: Sequence[int]

    @property
    def total(self) -> int:
        return sum(c * len(part.paths) for part, c in zip(self.pictures, self.counts, strict=True))

    def kept(self, rows: NDArray[Any], batch: int) -> list[Pictures]:
        """The same pictures with what was kept of them. The rows of a view are in the order of its epoch."""
        parts: list[Pictures] = []
        start = 0
        for part, count in zip(self.pictures, self.counts, strict=True):
            places = np.empty((count, len(part.paths)), np.int64)
            for view in range(count):
                order = [place for chosen in part.plan(batch, view) for place in chosen]
                places[view, order] = np.arange(start, start + len(order))
                start += len(order)
            own = {field.name: getattr(part, field.name) for field in fields(part)}
            parts.append(KeptPictures(**own, rows=rows, places=places))
        return parts


def _write(
    file: IO[bytes],
    kind: np.dtype[Any],
    cut: Cut,
    passes: _Passes,
    batch: int,
    workers: int,
    on_picture: Callable[[int, int], None],
) -> str:
    """Every pass through the frozen layers; what stopped it, or nothing."""
    done = 0
    for part, count in zip(passes.pictures, passes.counts, strict=True):
        for view in range(count):
            for pixels, _ in part.batches(batch, view, workers=workers):
                with autocast() if part.transforms else nullcontext():  # as they are used
                    answer = cut.below(pixels.contiguous(memory_format=torch.channels_last))
                rows = np.empty(len(pixels), kind)
                rows["activation"], rows["columns"] = answer[0].half(), answer[1]
                if not np.isfinite(rows["activation"]).all():
                    return "an activation is beyond what half precision holds"
                try:
                    file.write(rows.tobytes())
                    file.flush()
                except OSError as error:
                    return f"what is to be kept could not be written ({error.strerror})"
                done += len(pixels)
                on_picture(done, passes.total)
    return ""
