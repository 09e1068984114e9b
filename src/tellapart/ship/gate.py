"""The gate that every export passes: held-out pictures, as files of every kind, get the run's answer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from tellapart.data.dataset import Dataset
from tellapart.data.images import decode, read_bytes
from tellapart.data.ordered_map import ordered_map
from tellapart.errors import DatasetError, ImageError, ParityError
from tellapart.ship.exported import ModelFile, step_of
from tellapart.ship.parity import Compared, Parity, Samples, compare_steps, judge
from tellapart.ship.picture_kinds import KINDS, as_kind
from tellapart.ship.training_side import TrainingSide

__all__ = ["check_parity"]

_LARGEST = 1200  # px, of a picture that is written anew
_AS_IT_IS: Final = "file as it is"
_KINDS: Final = (_AS_IT_IS, *KINDS)
_LEAST: Final = 0.5
"""Of the files that were to be compared: with fewer the comparison says too little."""


def check_parity(
    dataset: Dataset,
    side: TrainingSide,
    model: ModelFile,
    *,
    count: int = 100,
    progress: Callable[[str, int, int], None] | None = None,
) -> Parity:
    """Hold an exported model against the training side, on `count` files made of the run's pictures.

    They are those of validation and test, evenly over them, or of the training part where there are no
    others. Each is taken as it is or written anew as one of `KINDS`, in turn; where there are fewer pictures
    than `count`, each is taken as several kinds. A network in 8 bits may turn one grey level at a few
    places into hundredths of a probability; so there each step is held against the training side's with
    the same input.

    Raises ParityError where the answers part, naming the worst picture and the step, and DatasetError
    where more than half of the pictures cannot be used any more.
    """
    rows, where = _rows(dataset)
    files = _files(rows, count)
    coarse = model.facts["precision"] != "float32"
    report = progress or (lambda stage, done, total: None)

    def compared(file: tuple[int, str, int]) -> Compared | None:
        row, kind, turn = file
        path = dataset.paths[row]
        try:
            name, content = _file(dataset.root / path, path, kind, turn)
            expected = None if coarse else side.steps(content, name)
            if coarse:
                side.embedder.picture(content, name)
        except ImageError:
            return None
        try:
            found = model.steps(content, name)
        except ImageError as error:
            step = step_of(error)
            raise ParityError(
                f"{error}: the exported model has no answer where the run has one. They part at the step "
                f"{step}. Nothing was exported",
                name,
                step,
            ) from None
        expected = expected or side.steps(content, name, found.pixels)
        samples = (Samples.of(steps, model.preprocess) for steps in (expected, found))
        return compare_steps(name, *samples, strict=coarse, here=True)

    def every() -> Iterator[tuple[str, Compared]]:
        answers = ordered_map(compared, files, workers=side.embedder.workers)
        for done, (answer, (_, kind, _)) in enumerate(zip(answers, files, strict=True), 1):
            report("gate", done, len(files))
            if answer is not None:
                yield kind, answer

    found = list(every())
    if len(found) < max(1, _LEAST * len(files)):
        raise DatasetError(
            f"{dataset.root}: of {len(files)} files only {len(found)} can be used any more, so that too "
            "little can be compared. Put the pictures back"
        )
    return judge(
        [answer for _, answer in found], kinds=len({kind for kind, _ in found}), where=where,
        left_out=len(files) - len(found),
        next_step="Nothing was exported. Train again with this version of tellapart",
    )  # fmt: skip


def _rows(dataset: Dataset) -> tuple[list[int], str]:
    """The pictures to compare on, and what they are."""
    rows = np.concatenate([dataset.rows_of("valid"), dataset.rows_of("test")])
    if len(rows):
        return rows.tolist(), "made of held-out pictures"
    return dataset.rows_of("train").tolist(), "made of training pictures, there being no others"


def _files(rows: list[int], count: int) -> list[tuple[int, str, int]]:
    """Row, kind and turn of each file; no two are alike, so there may be fewer than `count`."""
    count = min(count, len(rows) * len(_KINDS))
    picked = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
    files = []
    for number in range(count):
        again, place = divmod(number, len(picked))
        kind = _KINDS[(place + again) % len(_KINDS)]
        files.append((rows[picked[place]], kind, number // len(_KINDS)))
    return files


def _file(path: Path, name: str, kind: str, turn: int) -> tuple[str, bytes]:
    """What the file is called in messages, and its bytes."""
    content = read_bytes(path, name)
    if kind == _AS_IT_IS:
        return name, content
    picture = decode(content, name, shorter_side=_LARGEST // 2)
    picture.thumbnail((_LARGEST, _LARGEST))
    return f"{name} as {kind}", as_kind(picture, kind, turn)
