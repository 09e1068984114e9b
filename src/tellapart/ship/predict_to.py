"""Predictions on any number of pictures, into files: resumable, on this machine or on a cluster."""

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tellapart.data.ordered_map import ordered_map
from tellapart.data.places import as_url, is_url
from tellapart.data.prompt_map import prompt_map
from tellapart.data.stored_file import StoredFolder
from tellapart.errors import UsageError
from tellapart.ship.answer_shards import Part, Receipt, Shards, check_format, cut
from tellapart.ship.input_table import (
    TABLES,
    Input,
    as_inputs,
    inputs_of_table,
    rows_of_table,
)
from tellapart.ship.inputs import find_pictures
from tellapart.ship.prediction import Prediction
from tellapart.ship.predictor import Predictor, load

__all__ = ["Answered", "Progress", "answers_to", "predict_to"]

Progress = Callable[[str, int, int], None]
"""Called as `progress("predict", done, total)`; a total of 0 is not known."""

_RAY: Final = "tellapart.scale.ray_predict"  # on a floor above, and imported where it is asked for


@dataclass(frozen=True)
class Answered:
    """A finished job: how many `rows` lie in `parts` files of the folder `out`, how many of them `failed`,
    how many have each label, and how many rows were `kept` from before."""

    out: str
    rows: int
    failed: int
    labels: Mapping[str, int]
    parts: int
    kept: int


def predict_to(
    model: str | Path | Predictor,
    sources: str | Path | Iterable[str | Path | Input],
    out: str | Path,
    *,
    format: str = "jsonl",
    rows: int = 1024,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    runtime: str | None = None,
    target_error: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Answered:
    """Answers of a run or an exported file into files of `rows` rows in the folder or URL `out`: exactly
    one row per input, in their order, with the error in it where a picture cannot be used.

    `sources` are paths or URLs, in a list or as they come; or a CSV or Parquet table; or a folder.
    `format` is `jsonl`, the lines of `predict --json`, or `parquet`, with a column `p_CLASS` per class.
    Memory does not grow with their number. Called again after an interruption, it does what is missing.

    `engine` `ray` sends parts to the cluster at `address`, `workers` at a time; all nodes must see `out`
    and the pictures.

    Raises UsageError for arguments that do not go together and where `out` holds something else
    (`overwrite` begins another job anew), DatasetError where a table cannot be read or `out` cannot
    be written, EngineError where the cluster gives up; and what `load` raises.

    >>> tellapart.predict_to("model.onnx", "pictures.parquet", "answers").rows  # doctest: +SKIP
    1000000
    """
    if rows < 1:
        raise UsageError(f"{rows} rows a file; expected 1 or more")
    work = _engine(engine, address)
    check_format(format)
    predictor = model
    if not isinstance(predictor, Predictor):
        predictor = load(predictor, runtime=runtime, workers=workers, target_error=target_error)
    inputs, total = _inputs(sources)
    facts = {
        "model": predictor.identity, "classes": list(predictor.classes), "rule": asdict(predictor.rule),
        "rows": rows, "format": format,
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode("ascii")).hexdigest()
    shards = Shards(StoredFolder(_place(out)), format, predictor.classes, key)
    shards = shards.claim(facts, overwrite=overwrite)
    parts = shards.checked(cut(inputs, rows))
    tally = _Tally(progress or (lambda stage, done, total: None), total)
    if work is None:
        _answer_here(predictor, shards, parts, tally)
    else:
        where = {"address": address, "workers": workers}
        with closing(work.answer_parts(predictor, shards, cut(inputs, rows), **where)) as receipts:
            for receipt in receipts:
                tally.add(receipt)
    return tally.finish(shards)


def answers_to(
    predictor: Predictor,
    sources: str | Path | Iterable[str | Path | Input],
    *,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    prompt: bool = False,
) -> Iterator[Prediction]:
    """Answers in the order asked, as they come, from this machine or a cluster; `predict_many` on either,
    for `sources` as `predict_to` takes them. With `prompt` sources may come slowly: an answer does not wait
    for the next of them, on this machine.

    On a cluster they come back through it, so that no folder need be shared but that of the pictures.
    Raises UsageError, and EngineError where the cluster gives up.
    """
    work = _engine(engine, address)
    inputs, _ = _inputs(sources)
    if work is not None:
        yield from work.stream_answers(predictor, inputs, address=address, workers=workers)
        return
    through = prompt_map if prompt else ordered_map
    yield from through(_answering(predictor), inputs, workers=predictor.workers)


class _Tally:
    """What is there so far."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._labels: Counter[str] = Counter()
        self._files: set[str] = set()
        self._rows = self._failed = self._kept = 0

    def add(self, receipt: Receipt) -> None:
        self._files.add(receipt.file)
        self._labels.update(receipt.labels)
        self._rows += receipt.rows
        self._failed += receipt.failed
        self._kept += receipt.rows if receipt.kept else 0
        self.show()

    def show(self, more: int = 0) -> None:
        """`more` rows are answered and in no file yet."""
        self._progress("predict", self._rows + more, self._total)

    def finish(self, shards: Shards) -> Answered:
        labels = {label: self._labels[label] for label in shards.classes}
        counts = {
            "rows": self._rows, "failed": self._failed, "labels": labels, "parts": len(self._files),
        }  # fmt: skip
        shards.finish(self._files, counts)
        return Answered(
            shards.folder.place, self._rows, self._failed, MappingProxyType(labels),
            len(self._files), self._kept,
        )  # fmt: skip


def _answer_here(
    predictor: Predictor, shards: Shards, parts: Iterator[Part], tally: _Tally
) -> None:
    """One stream over all parts, so that no CPU waits at the end of each."""
    waiting: deque[Part] = deque()

    def inputs() -> Iterator[Input]:
        for part in parts:
            if (receipt := shards.kept(part)) is not None:
                tally.add(receipt)
                continue
            waiting.append(part)
            yield from part.inputs

    held: list[Prediction] = []
    for answer in ordered_map(_answering(predictor), inputs(), workers=predictor.workers):
        held.append(answer)
        if len(held) == len(waiting[0].inputs):
            tally.add(shards.write(waiting.popleft(), held))
            held = []
        elif not len(held) % 16:
            tally.show(len(held))


def _answering(predictor: Predictor) -> Callable[[Input], Prediction]:
    return lambda given: predictor.predict_beside(given.place, name=given.name)


def _inputs(
    sources: str | Path | Iterable[str | Path | Input],
) -> tuple[Iterator[Input], int]:
    """The inputs, and how many they are; 0 where that is not known."""
    if not isinstance(sources, str | Path):
        total = len(sources) if isinstance(sources, list | tuple) else 0
        return as_inputs(sources), total
    text = as_url(sources) or str(sources)
    if text.lower().endswith(TABLES):
        return inputs_of_table(text), rows_of_table(text) or 0
    return as_inputs(find_pictures([text])), 0


def _engine(name: str, address: str | None) -> Any:
    """The module of a cluster's engine; None for this machine. Raises UsageError."""
    if name == "local" and address is None:
        return None  # a base install has no more
    from tellapart.training.engine import open_engine

    open_engine(name, address=address)
    return import_module(_RAY)


def _place(out: str | Path) -> str:
    """A folder as all processes of this machine find it, or a URL."""
    text = (as_url(out) or str(out)).removeprefix("file://")
    return text.rstrip("/") if is_url(text) else str(Path(text).absolute())
