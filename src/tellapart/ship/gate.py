"""The gate that every export passes: held-out pictures, as files of every kind, get the run's answer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from tellapart.data.dataset import Dataset
from tellapart.data.images import decode, read_bytes
from tellapart.data.ordered_map import ordered_map
from tellapart.errors import DatasetError, ImageError, ParityError
from tellapart.ship.exported import ModelFile
from tellapart.ship.parity import Compared, Parity, Samples, compare_steps, judge
from tellapart.ship.picture_kinds import KINDS, as_kind
from tellapart.ship.training_side import TrainingSide

__all__ = ["check_parity", "held_out_rows"]

_LARGEST = 1200  # px, of a picture that is written anew
_AS_IT_IS: Final = "file as it is"


def held_out_rows(dataset: Dataset, count: int) -> list[int]:
    """At most `count` rows: those of validation and test, or of the training part where there are none;
    evenly over them, so that every class is there."""
    rows = np.concatenate([dataset.rows_of("valid"), dataset.rows_of("test")])
    if not len(rows):
        rows = dataset.rows_of("train")
    chosen = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
    return [int(rows[i]) for i in chosen]


def check_parity(
    dataset: Dataset,
    side: TrainingSide,
    model: ModelFile,
    *,
    count: int = 100,
    progress: Callable[[str, int, int], None] | None = None,
) -> Parity:
    """Hold an exported model against the training side, on `count` files made of the run's held-out pictures.

    Each is taken as it is or written anew as one of `KINDS`, in turn; where there are fewer pictures than
    `count`, each is taken as several kinds. Pictures that cannot be used any more are left out. A network
    in 8 bits may turn one grey level at a few places into hundredths of a probability; so there each
    step is held against the training side's with the same input.

    Raises ParityError where the answers part, naming the worst picture and the step, and DatasetError
    where no picture can be used.
    """
    rows = held_out_rows(dataset, count)
    coarse = model.facts["precision"] != "float32"
    report = progress or (lambda stage, done, total: None)

    def compared(number: int) -> Compared | None:
        path = dataset.paths[rows[number % len(rows)]]
        try:
            name, content = _file(dataset.root / path, path, number)
            side.embedder.picture(content, name)
        except ImageError:
            return None
        try:
            found = model.steps(content, name)
        except ImageError as error:
            raise ParityError(
                f"{error}: the exported model cannot use a picture that the run can. They part at the "
                "step decode",
                name,
                "decode",
            ) from None
        expected = side.steps(content, name, found.pixels if coarse else None)
        samples = (Samples.of(steps, model.preprocess) for steps in (expected, found))
        return compare_steps(name, *samples, strict=coarse)

    def every() -> Iterator[Compared]:
        answers = ordered_map(compared, range(count), workers=side.embedder.workers)
        for done, answer in enumerate(answers, 1):
            report("gate", done, count)
            if answer is not None:
                yield answer

    answers = list(every()) if rows else []
    if not answers:
        raise DatasetError(
            f"{dataset.root}: none of the pictures that the run was measured on can be used any more, so "
            "that nothing can be compared. Put them back"
        )
    kinds = min(count, len(KINDS) + 1)
    return judge(
        answers, kinds=kinds, where="files of held-out pictures",
        next_step="Nothing was exported. Train again with this version of tellapart",
    )  # fmt: skip


def _file(path: Path, name: str, number: int) -> tuple[str, bytes]:
    """What the file is called in messages, and its bytes."""
    content = read_bytes(path, name)
    kinds = [_AS_IT_IS, *KINDS]
    kind = kinds[number % len(kinds)]
    if kind == _AS_IT_IS:
        return name, content
    picture = decode(content, name, shorter_side=_LARGEST // 2)
    picture.thumbnail((_LARGEST, _LARGEST))
    return f"{name} as {kind}", as_kind(picture, kind, number // len(kinds))
