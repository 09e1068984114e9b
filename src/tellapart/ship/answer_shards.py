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
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final, Self
from zlib import compress, decompress

import numpy as np

from tellapart.data.stored_file import StoredFolder
from tellapart.errors import EngineError, MissingExtra, UsageError
from tellapart.ship.answer_folder import names_in, remove
from tellapart.ship.input_table import Input
from tellapart.ship.prediction import Prediction

__all__ = ["DONE", "FORMATS", "JOB", "Part", "Receipt", "Shards", "cut"]

JOB: Final = "job.json"
DONE: Final = "done.json"
FORMATS: Final = ("jsonl", "parquet")
_MINE: Final = (JOB, DONE, "part-")
_DIGITS: Final = 16  # of the digest: 64 bits, against accidents


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
    """The folder of a job. `key` is the digest of what was asked, `classes` are the model's."""

    folder: StoredFolder
    form: str
    classes: tuple[str, ...]
    key: str

    def file_of(self, part: Part) -> str:
        text = f"{self.key}\n{json.dumps(part.inputs)}"
        digest = hashlib.sha256(text.encode("ascii")).hexdigest()[:_DIGITS]
        return f"part-{part.number:07d}-{digest}.{self.form}"

    def kept(self, part: Part) -> Receipt | None:
        """What is there of the part from before; None where it is absent, or no part of that many rows.
        Raises DatasetError where it cannot be read."""
        file = self.file_of(part)
        content = self.folder.read(file)
        if content is None:
            return None
        labels = _labels(content, self.form)
        if labels is None or labels.total() != len(part.inputs):
            return None
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

    def claim(self, facts: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Make the folder this job's, or go on with it; `facts` are what was asked, for people.

        Raises UsageError where it holds another job or other files, DatasetError where it cannot be
        read or written.
        """
        names = names_in(self.folder.place)
        strange = [name for name in names if not name.lstrip(".").startswith(_MINE)]
        if strange and JOB not in names:
            raise UsageError(f"{self.folder.place} holds other files; choose another --out")
        before = _read_json(self.folder, JOB) if JOB in names else {"key": self.key}
        if before.get("key") != self.key and not overwrite:
            other = [name for name in facts if before.get(name) != facts[name]]
            raise UsageError(
                f"{self.folder.place} holds answers of another job ({', '.join(other) or JOB}); choose "
                "another --out, or begin anew with --overwrite"
            )
        for name in names:
            aside = name.startswith(".") and name[1:].startswith(_MINE)  # of a job that was killed
            if aside or name == DONE or (overwrite and name.startswith("part-")):
                remove(self.folder.place, name)
        text = json.dumps({"key": self.key, **facts}, indent=1)
        self.folder.write(JOB, text.encode("ascii"))

    def finish(self, files: set[str], counts: Mapping[str, Any]) -> None:
        """Say that all is there, once it is; parts of other inputs go. Raises EngineError where it is not."""
        names = {name for name in names_in(self.folder.place) if name.startswith("part-")}
        if missing := sorted(files - names):
            raise EngineError(
                f"{self.folder.place}: {len(missing)} parts are gone, such as {missing[0]}. Choose an --out "
                "that all nodes see; the same command again does the rest."
            )
        for name in names - files:
            remove(self.folder.place, name)
        self.folder.write(DONE, json.dumps(counts, indent=1).encode("ascii"))


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


def _labels(content: bytes, form: str) -> Counter[str | None] | None:
    """How many rows have each label, None those that failed; None where it is no part."""
    try:
        if form == "parquet":
            table = _arrow().parquet.read_table(io.BytesIO(content), columns=["label"])
            return Counter(table.column("label").to_pylist())
        return Counter(json.loads(line)["label"] for line in content.splitlines())
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
