"""Answers in files of some hundred rows each: complete or absent, and known to be of what they are of.

    job.json                                what is asked, of which model; written first
    part-0000000-9f86d081884c7d65.jsonl     one row per input, in the order of the inputs
    part-0000001-60303ae22b998861.jsonl
    done.json                               how many rows, failures and labels; written last

Row i of the inputs is row i − k·rows of part k. The digits behind its number are of a digest over the job
and the part's inputs, by their names and places. So the file's name alone tells whether a part that is
there is still what is asked for; that a picture behind the same name has changed, it does not tell.
"""

import hashlib
import io
import json
import re
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Final, Self
from zlib import compress, decompress

import numpy as np

from tellapart.data.failure import PASSING
from tellapart.data.stored_file import StoredFolder
from tellapart.errors import EngineError, MissingExtra, UsageError
from tellapart.ship.answer_folder import names_in, remove
from tellapart.ship.input_table import Input
from tellapart.ship.prediction import Prediction

__all__ = ["DONE", "JOB", "Part", "Receipt", "Shards", "check_format", "cut"]

JOB: Final = "job.json"
DONE: Final = "done.json"
FORMATS: Final = ("jsonl", "parquet")
_DIGITS: Final = 16  # of the digest: 64 bits, against accidents
_PART: Final = re.compile(r"part-(\d{7,})-[0-9a-f]{16}\.(?:jsonl|parquet)")
_ASIDE: Final = re.compile(rf"\.(?:{_PART.pattern}|job\.json|done\.json)\.[0-9a-f]{{16}}")
"""What a killed job leaves: a file that was being written (data/atomic_file.py)."""


@dataclass(frozen=True)
class Part:
    """Some inputs that follow each other: the part of that number."""

    number: int
    inputs: tuple[Input, ...]

    def to_json(self) -> dict[str, Any]:
        """For a worker, packed: millions of names wait for theirs."""
        text = json.dumps(self.inputs).encode("ascii")
        return {"number": self.number, "inputs": b64encode(compress(text, 1)).decode("ascii")}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        rows = json.loads(decompress(b64decode(values["inputs"])))
        return cls(values["number"], tuple(Input(*row) for row in rows))


def cut(inputs: Iterable[Input], rows: int) -> Iterator[Part]:
    """The inputs in parts of `rows`, the last one shorter.

    >>> [len(part.inputs) for part in cut([Input("a", "/a")] * 5, 2)]
    [2, 2, 1]
    """
    waiting, number = iter(inputs), 0
    while some := tuple(islice(waiting, rows)):
        yield Part(number, some)
        number += 1


@dataclass(frozen=True)
class Receipt:
    """What a finished part holds: `labels` by name, of the rows that did not fail; whether it was `kept`
    from before."""

    file: str
    rows: int
    failed: int
    labels: Mapping[str, int]
    kept: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Shards:
    """The folder of a job. `key` is the digest of what was asked, `classes` are the model's. `finished` are
    the parts of a job that was finished before: then those with failures that may pass are done again."""

    folder: StoredFolder
    form: str
    classes: tuple[str, ...]
    key: str
    finished: frozenset[str] = frozenset()

    def file_of(self, part: Part) -> str:
        text = f"{self.key}\n{json.dumps(part.inputs)}"
        digest = hashlib.sha256(text.encode("ascii")).hexdigest()[:_DIGITS]
        return f"part-{part.number:07d}-{digest}.{self.form}"

    def kept(self, part: Part) -> Receipt | None:
        """What is there of the part from before; None where it is absent, no part of that many rows, or to
        be mended. Raises DatasetError where it cannot be read."""
        file = self.file_of(part)
        content = self.folder.read(file)
        if content is None:
            return None
        rows = _rows(content, self.form)
        if rows is None or len(rows) != len(part.inputs):
            return None
        if self.finished and any(error and error.startswith(PASSING) for _, error in rows):
            return None
        labels = Counter(label for label, _ in rows)
        failed = labels.pop(None, 0)
        counts = {f"{label}": n for label, n in labels.items()}
        return Receipt(file, len(part.inputs), failed, counts, kept=True)

    def write(self, part: Part, answers: Sequence[Prediction]) -> Receipt:
        """Put the answers for the part's inputs into its file. Raises DatasetError."""
        encode = _parquet if self.form == "parquet" else _json_lines
        file = self.file_of(part)
        self.folder.write(file, encode(answers, self.classes))
        labels = Counter(answer.label for answer in answers if answer.error is None)
        return Receipt(file, len(answers), len(answers) - labels.total(), dict(labels))

    def check_seen(self, where: str) -> None:
        """Raises EngineError where this process sees another folder than the one that began the job."""
        try:
            seen = json.loads(self.folder.read(JOB) or b"{}").get("key") == self.key
        except ValueError:
            seen = False
        if not seen:
            raise EngineError(
                f"{self.folder.place} is not the same folder on {where}. Choose an --out that all nodes "
                "see: a shared folder, or a URL such as s3://bucket/answers."
            )

    def claim(self, facts: Mapping[str, Any], *, overwrite: bool = False) -> Self:
        """Make the folder this job's, or go on with it; `facts` are what was asked, for people.

        Raises UsageError where it holds another job or other files, which are never touched, and
        DatasetError where it cannot be read or written.
        """
        place = self.folder.place
        names = names_in(place)
        before = _read_json(self.folder, JOB) if JOB in names else {}
        if "key" not in before and any(not _ASIDE.fullmatch(name) for name in names):
            raise UsageError(f"{place} holds other files; choose another --out")
        same = before.get("key", self.key) == self.key
        if not same and not overwrite:
            other = [name for name in facts if before.get(name) != facts[name]]
            raise UsageError(
                f"{place} holds answers of another job ({', '.join(other) or JOB}); choose "
                "another --out, or begin anew with --overwrite"
            )
        done = DONE in names
        anew = overwrite and (done or not same)  # the same command goes on where it was interrupted
        for name in names:
            if _ASIDE.fullmatch(name) or (anew and (name == DONE or _PART.fullmatch(name))):
                remove(place, name)
        text = json.dumps({"key": self.key, **facts}, indent=1)
        self.folder.write(JOB, text.encode("ascii"))
        parts = frozenset(filter(_PART.fullmatch, names)) if done and not anew else frozenset()
        return replace(self, finished=parts)

    def checked(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The parts; raises UsageError for one whose inputs are not those of the finished job."""
        numbers = {int(name.split("-")[1]) for name in self.finished}
        for part in parts:
            if part.number in numbers and self.file_of(part) not in self.finished:
                raise self._of_others()
            yield part

    def _of_others(self) -> UsageError:
        return UsageError(
            f"{self.folder.place} holds the finished answers for other inputs; choose another --out, or "
            "begin anew with --overwrite"
        )

    def finish(self, files: set[str], counts: Mapping[str, Any]) -> None:
        """Say that all is there, once it is; parts of other inputs go, if they were of no finished job.
        Raises EngineError where something is missing, UsageError where there were other inputs."""
        names = {name for name in names_in(self.folder.place) if _PART.fullmatch(name)}
        if missing := sorted(files - names):
            raise EngineError(
                f"{self.folder.place}: {len(missing)} parts are gone, such as {missing[0]}. Choose an --out "
                "that all nodes see; the same command again does the rest."
            )
        if self.finished - files:
            raise self._of_others()
        for name in names - files:
            remove(self.folder.place, name)
        self.folder.write(DONE, json.dumps(counts, indent=1).encode("ascii"))


def check_format(form: str) -> None:
    """Raises UsageError for an unknown one, MissingExtra where it cannot be written."""
    if form not in FORMATS:
        raise UsageError(f"format {form!r} is unknown; choose from {', '.join(FORMATS)}")
    if form == "parquet":
        _arrow()


def _read_json(folder: StoredFolder, name: str) -> dict[str, Any]:
    try:
        values = json.loads(folder.read(name) or b"")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _json_lines(answers: Sequence[Prediction], classes: tuple[str, ...]) -> bytes:
    return "".join(json.dumps(answer.to_json()) + "\n" for answer in answers).encode("ascii")


def _parquet(answers: Sequence[Prediction], classes: tuple[str, ...]) -> bytes:
    arrow = _arrow()
    failed = np.array([answer.error is not None for answer in answers])
    numbers = np.stack([answer.probabilities for answer in answers])
    best = numbers.max(axis=1, initial=0)
    text, floats = arrow.string(), arrow.float32()

    def texts(values: Iterable[str | None]) -> Any:
        return arrow.array([None if value is None else _valid(value) for value in values], text)

    columns = {
        "path": texts(answer.path for answer in answers),
        "label": texts(answer.label if answer.error is None else None for answer in answers),
        "probability": arrow.array(best, floats, mask=failed),
        **{
            f"p_{_valid(name)}": arrow.array(numbers[:, k], floats, mask=failed)
            for k, name in enumerate(classes)
        },
        "verdict": texts(answer.verdict for answer in answers),
        "reason": texts(answer.reason for answer in answers),
        "possible": arrow.array(
            [
                None if answer.possible is None else [_valid(name) for name in answer.possible]
                for answer in answers
            ],
            arrow.list_(text),
        ),
        "error": texts(answer.error for answer in answers),
    }
    file = io.BytesIO()
    arrow.parquet.write_table(arrow.table(columns), file)
    return file.getvalue()


def _rows(content: bytes, form: str) -> list[tuple[str | None, str | None]] | None:
    """Label and error of each row; None where it is no part."""
    try:
        if form == "parquet":
            table = _arrow().parquet.read_table(io.BytesIO(content), columns=["label", "error"])
            columns = (table.column(name).to_pylist() for name in ("label", "error"))
            return list(zip(*columns, strict=True))
        values = (json.loads(line) for line in content.splitlines())
        return [(row["label"], row["error"]) for row in values]
    except (ValueError, KeyError, TypeError, OSError):  # what pyarrow raises are such
        return None


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error) or error from None
    return pyarrow


def _valid(text: str) -> str:
    """Parquet holds UTF-8 alone; other bytes of a file's name are shown by their numbers."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
