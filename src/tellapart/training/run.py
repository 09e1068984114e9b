"""The run folder: what one training made, complete or resumable at every instant.

    config.json         what was asked for; written first, so that the folder is known to be a run's
    dataset.csv         the pictures that were used: path, label, split, group, sha256
    predictions.csv     path, split, label, predicted, and a column p_CLASS per class
    failures.csv        what was lost, and why
    probe.safetensors   the trained probe, at its temperature
    trust.safetensors   what "none of these" is told by, where it was fitted
    run.json            classes, backbone, preprocess, dataset, seconds, metrics; written last
    history.csv         a row per epoch, where it was trained in epochs
    stages/             what training on made of it: each a run folder of its own, with further

    network.onnx        its own network, where it was fine-tuned, and network.safetensors for going on

Every file is written aside, flushed and renamed. The rows of the training part in `predictions.csv`
are out-of-fold: predicted by a model that had not seen the picture or a copy of it.
"""

import csv
import hashlib
import html
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tellapart.data.atomic_file import write_atomically
from tellapart.data.csv_lines import csv_lines
from tellapart.data.failure import Failure
from tellapart.errors import RunError
from tellapart.evaluation.metrics import Metrics
from tellapart.model.backbone import Backbone, BackboneInfo
from tellapart.model.backbones import reopen_backbone
from tellapart.model.preprocess import PreprocessSpec
from tellapart.training.probe import Probe
from tellapart.training.trust import Trust

__all__ = [
    "Run",
    "Tables",
    "claim_folder",
    "read_config",
    "write_info",
    "write_run",
    "writing",
]

_FILES = (
    "config.json", "dataset.csv", "predictions.csv", "failures.csv", "history.csv",
    "probe.safetensors", "trust.safetensors", "network.onnx", "network.safetensors", "checkpoint.safetensors",
)  # fmt: skip
Tables = dict[str, tuple[Sequence[str], Iterable[Sequence[Any]]]]
"""Header and rows of each CSV file, by its name."""

_KEYS = {
    "backbone",
    "classes",
    "dataset",
    "fit_notes",
    "metrics",
    "notes",
    "options",
    "preprocess",
    "probe",
}


@dataclass(frozen=True)
class Run:
    """A finished training, as its folder holds it. `info` is the content of `run.json`.

    >>> Run.load("no/such/folder")
    Traceback (most recent call last):
    ...
    tellapart.errors.RunError: no/such/folder does not exist. Make a run: tellapart train DATA
    """

    folder: Path
    info: dict[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """Raises RunError where the folder holds no finished run."""
        folder = Path(folder)
        try:
            info = json.loads((folder / "run.json").read_text("utf-8"))
            if not isinstance(info, dict) or not info.keys() >= _KEYS:
                raise ValueError("keys are missing")
        except FileNotFoundError:
            raise RunError(_absent(folder)) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{folder}/run.json cannot be used: {error}. Train again.") from None
        return cls(folder, info)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.info["classes"])

    @property
    def preprocess(self) -> PreprocessSpec:
        return PreprocessSpec.from_json(self.info["preprocess"])

    @property
    def metrics(self) -> dict[str, Metrics]:
        """By split: `out_of_fold`, `valid`, `test`, `held_out` (valid and test), where they exist."""
        return {name: Metrics.from_json(values) for name, values in self.info["metrics"].items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about its pictures, and about how it was trained."""
        return (*self.info["notes"], *self.info["fit_notes"])

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """The inputs that were lost."""
        return tuple(Failure(*row[:3]) for row in self._rows("failures.csv") if len(row) >= 3)

    @cached_property
    def probe(self) -> Probe:
        from safetensors.numpy import load_file

        try:
            arrays = load_file(self.folder / "probe.safetensors")
            return Probe(self.info["probe"]["features"], **arrays)
        except Exception as error:  # safetensors raises its own kinds
            raise RunError(f"{self.folder}/probe.safetensors: {error}. Train again.") from None

    @cached_property
    def trust(self) -> Trust | None:
        """When to believe it; None for a fine-tuned stage and a run of an earlier version."""
        from safetensors.numpy import load_file

        values = self.info.get("trust")
        if values is None:
            return None
        try:
            arrays = load_file(self.folder / "trust.safetensors") if values["novelty"] else {}
            return Trust.from_json(values, arrays)
        except Exception as error:  # safetensors raises its own kinds
            raise RunError(f"{self.folder}/trust.safetensors: {error!r}. Train again.") from None

    def predictions(self) -> list[list[str]]:
        """The rows of `predictions.csv`: path, split, label, predicted, and a probability per class."""
        return self._rows("predictions.csv")

    def backbone(self) -> Backbone:
        """The network that this run's probe belongs to: its own, where it was fine-tuned.

        Raises RunError or ModelError, with the next step, where it is gone.
        """
        facts = self.info["backbone"]
        if "graph" not in facts:
            return reopen_backbone(facts, self.info["options"].get("weights"))
        file = self.folder / facts["graph"]
        try:
            graph = file.read_bytes()
        except OSError as error:
            raise RunError(f"{file}: {error.strerror}. Fine-tune again.") from None
        if hashlib.sha256(graph).hexdigest() != facts["graph_sha256"]:
            raise RunError(f"{file} is not what this run has written. Fine-tune again.")
        layout = tuple((str(name), int(length)) for name, length in facts["layout"])
        info = BackboneInfo.from_json(facts["info"])
        return Backbone(info, graph, facts["graph_sha256"], layout)

    def _rows(self, name: str) -> list[list[str]]:
        try:
            text = (self.folder / name).read_text("utf-8", "surrogateescape")
        except OSError as error:
            raise RunError(f"{self.folder / name}: {error.strerror}. Train again.") from None
        return list(csv.reader(io.StringIO(text, newline="")))[1:]

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name.replace('_', ' '))}</td><td>{m.n}</td>"
            f"<td>{m.accuracy:.2%}</td><td>{html.escape(m.sentence())}</td></tr>"
            for name, m in self.metrics.items()
        )
        title = f"{self.info['backbone']['name']}: {', '.join(self.classes)}"
        return (
            f"<p>{html.escape(title)}</p><table><tr><th>split</th><th>n</th>"
            f"<th>accuracy</th><th></th></tr>{rows}</table>"
        )


def claim_folder(folder: Path, config: dict[str, Any], *, overwrite: bool = False) -> None:
    """Make the folder this run's, before anything is computed.

    It may be new or empty, hold an unfinished run, or a finished one of the same configuration. A
    finished run of another configuration is replaced with `overwrite` alone.

    Raises RunError, with the next step, where it holds anything else, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = {path.name for path in folder.iterdir()}
        if held and "config.json" not in held and not _leftovers_only(held):
            raise RunError(f"{folder} holds other files; choose another --out")
        if "config.json" in held:
            same = read_config(folder) == config
            if not same and not overwrite and "run.json" in held:
                raise RunError(
                    f"{folder} holds a run with other options or data; "
                    "choose another --out, or replace it with --overwrite"
                )
        for name in held:
            if _leftovers_only({name}):
                (folder / name).unlink()
        write_atomically(folder / "config.json", _to_json(config))
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror or error}") from None


def write_run(
    folder: Path,
    info: dict[str, Any],
    probe: Probe,
    tables: Tables,
    trust: Trust | None = None,
) -> Run:
    """Write what training made; `tables` are its CSV files, and `info` holds what of `trust` is JSON.

    Raises RunError where the disk is full or not writable; the folder is resumable then.
    """
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in probe.arrays.items()}
    try:
        (folder / "run.json").unlink(missing_ok=True)  # from here on the folder is unfinished
        before = _hash_if_there(folder / "predictions.csv")
        for name in ("history.csv", "trust.safetensors"):  # not every run has one
            (folder / name).unlink(missing_ok=True)
        for name, (header, rows) in tables.items():
            _write_csv(folder / name, header, rows)
        if before != _hash_if_there(folder / "predictions.csv"):
            (folder / "report.html").unlink(missing_ok=True)  # it is about other answers
        write_atomically(folder / "probe.safetensors", save(arrays))
        if trust is not None and trust.arrays:
            write_atomically(folder / "trust.safetensors", save(trust.arrays))
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror or error}") from None
    return write_info(folder, info)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the disk has against it becomes a RunError with the next step."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written: {error.strerror or error}. When that is mended, the same "
            "command goes on."
        ) from None


def write_info(folder: Path, info: dict[str, Any]) -> Run:
    """Write `run.json`, after all other files; the run is finished then. Raises RunError."""
    with writing(folder):
        write_atomically(folder / "run.json", _to_json(info))
    return Run(folder, info)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file, UTF-8; bytes of file names that are not UTF-8 are kept as they are."""
    write_atomically(path, "".join(csv_lines(chain([header], rows))))


def read_config(folder: Path) -> Any:
    """What the run in `folder` was asked for; None where that is not known."""
    try:
        return json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _hash_if_there(file: Path) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None


def _to_json(values: dict[str, Any]) -> str:
    """Readable where it can be; names that are not valid UTF-8 need escapes."""
    text = json.dumps(values, indent=1, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(values, indent=1)
    return text


def _leftovers_only(names: set[str]) -> bool:
    """Files written aside by a run that was killed before it could rename them."""
    ours = tuple(f".{name}." for name in (*_FILES, "run.json"))
    return all(name.startswith(ours) for name in names)


def _absent(folder: Path) -> str:
    if not folder.exists():
        return f"{folder} does not exist. Make a run: tellapart train DATA"
    if (folder / "config.json").exists():
        return f"{folder} holds a run that was not finished; the same train command completes it"
    return f"{folder} holds no run. Make one: tellapart train DATA --out {folder}"
