"""Sheets: some pictures of every class as the network sees them, or the same ones changed in several ways."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tellapart.data.cpus import cpu_count
from tellapart.data.dataset import Dataset
from tellapart.data.failure import Failure
from tellapart.data.ordered_map import ordered_map
from tellapart.errors import DatasetError, ImageError, UsageError
from tellapart.evaluation.figures import png
from tellapart.model.embedded import BACKBONES
from tellapart.model.preprocess import PreprocessSpec
from tellapart.reporting.network_view import network_picture
from tellapart.reporting.picture_plot import Tile, plot_tiles
from tellapart.training.train import open_dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SEEN", "Augmentation", "Sheet", "show"]

_MOST_ROWS, _MOST_COLUMNS = 40, 24
_FEW, _MANY = 8, 12  # columns by default: as many as go with the classes, up to these
SEEN: Final = BACKBONES["tf_efficientnet_lite0"].preprocess
"""How the default network sees pictures."""


class Augmentation(Protocol):
    """What changes a picture at random; `tellapart.Transforms` is one."""

    def network_input(self, image: Image.Image, preprocess: PreprocessSpec, seed: int) -> Any:
        """The network's input, float32 (3, S, S), normalised; the same for the same seed."""
        ...


@dataclass(frozen=True)
class Sheet:
    """Places in rows of `columns`, in reading order, and what of them could not be read.

    `note` says what the sheet does not show.
    """

    tiles: tuple[Tile, ...]
    columns: int
    failures: tuple[Failure, ...] = ()
    note: str = ""

    def plot(self) -> "Figure":
        """As a figure; raises MissingExtra without matplotlib."""
        return plot_tiles(self.tiles, self.columns, footnote=self.note)

    def __repr__(self) -> str:
        return f"<Sheet of {len(self.tiles)} places, {len(self.failures)} of them unreadable>"

    def _repr_png_(self) -> bytes:
        return png(self.plot())


def show(
    data: Dataset | str | Path,
    rows: int = 3,
    columns: int | None = None,
    *,
    seed: int = 0,
    transforms: Augmentation | None = None,
    preprocess: PreprocessSpec | None = None,
    workers: int | None = None,
) -> Sheet:
    """Pictures of every class, dealt evenly, drawn by `seed`, each cut to the square a network sees.

    With `transforms` each row shows one picture: as it is, and then as training would change it.
    `preprocess` says how a picture becomes square, by default as for the default network. A picture
    that cannot be read leaves an empty place and is among the sheet's `failures`. Where there are more
    classes than places, the note says so.

    Raises UsageError for more than 40 rows or 24 columns, DatasetError where there is no picture.

    >>> show("photos", rows=2)  # doctest: +SKIP
    <Sheet of 16 places, 0 of them unreadable>
    """
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    columns = _columns(len(dataset.classes), rows, transforms) if columns is None else columns
    if not (1 <= rows <= _MOST_ROWS and 1 <= columns <= _MOST_COLUMNS):
        raise UsageError(
            f"a sheet of {rows} rows and {columns} columns; expected 1 to {_MOST_ROWS} and 1 to "
            f"{_MOST_COLUMNS}"
        )
    if not len(dataset):
        raise DatasetError(f"{dataset.root}: there are no pictures to show")
    places = rows if transforms is not None else rows * columns
    chosen = _dealt(dataset, places, seed)
    spec = preprocess or SEEN
    paths, labels = dataset.paths, dataset.labels

    def places_of(row: int) -> list[Tile] | Failure:
        path, versions = paths[row], columns if transforms is not None else 1
        try:
            image = network_picture(dataset.root, path, spec)
        except ImageError as error:
            return Failure.of(path, error)
        first = Tile(spec.resize(image), (labels[row],))
        return [first, *_changed(image, transforms, spec, range(seed, seed + versions - 1))]

    tiles: list[Tile] = []
    failures: list[Failure] = []
    for row, found in zip(
        chosen, ordered_map(places_of, chosen, workers=workers or cpu_count()), strict=True
    ):
        if isinstance(found, Failure):
            failures.append(found)
            empty = Tile(None, (labels[row],), found.reason)
            found = [empty] * (1 if transforms is None else columns)
        tiles += found
    shown = len({labels[row] for row in chosen})
    some = shown < len(dataset.classes) and transforms is None
    note = f"{shown:,} of {len(dataset.classes):,} classes" if some else ""
    return Sheet(tuple(tiles), min(columns, len(tiles)), tuple(failures), note)


def _columns(classes: int, rows: int, transforms: Augmentation | None) -> int:
    """So many that each class has the same number of places, where the classes are few."""
    if transforms is not None:
        return 6
    if classes <= _FEW:
        return max(classes, 1) * (_FEW // max(classes, 1))
    return min(max(-(-classes // rows), _FEW), _MANY)


def _dealt(dataset: Dataset, count: int, seed: int) -> list[int]:
    """Rows of so many pictures, a class after the other in turn; each class's at random."""
    generator = np.random.default_rng(seed)
    own = [generator.permutation(np.flatnonzero(dataset.targets == k)) for k in _classes(dataset)]
    if count < len(own):
        own = [own[k] for k in np.sort(generator.choice(len(own), count, replace=False))]
    turns = _in_turn(own)
    return [row for _, row in zip(range(count), turns, strict=False)]


def _classes(dataset: Dataset) -> list[int]:
    return np.unique(dataset.targets).tolist()


def _in_turn(parts: Sequence[NDArray[np.intp]]) -> Iterator[int]:
    for place in range(max(map(len, parts))):
        yield from (int(part[place]) for part in parts if place < len(part))


def _changed(
    image: Image.Image, transforms: Augmentation | None, spec: PreprocessSpec, seeds: range
) -> Iterator[Tile]:
    """The picture changed by each of the seeds."""
    if transforms is None:
        return
    mean, std = (np.asarray(values)[:, None, None] for values in (spec.mean, spec.std))
    for seed in seeds:
        pixels = np.asarray(transforms.network_input(image, spec, seed), np.float32)
        values = np.clip(np.rint(255 * (pixels * std + mean)), 0, 255).astype(np.uint8)
        yield Tile(Image.fromarray(values.transpose(1, 2, 0)), ("changed",))
