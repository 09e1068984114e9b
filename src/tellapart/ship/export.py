"""The verb `export`: a run becomes one file that answers everywhere.

It is held against the run before anything is written.
"""

import base64
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from tellapart.data.atomic_file import write_atomically
from tellapart.errors import ModelError, RunError, UsageError
from tellapart.model.backbone import Backbone
from tellapart.ship.exported import FACTS, FORMAT, REFERENCE, ModelFile
from tellapart.ship.exported_graph import answering_graph, picture_graph, sealed
from tellapart.ship.gate import check_parity
from tellapart.ship.model_bytes import MOST_BYTES
from tellapart.ship.model_card import model_card
from tellapart.ship.parity import Parity, Samples
from tellapart.ship.predictor import rule_of
from tellapart.ship.reference import reference_files, verify_file
from tellapart.ship.training_side import TrainingSide
from tellapart.training.run import Run
from tellapart.training.run_pictures import run_pictures

if TYPE_CHECKING:
    from tellapart.ship.int8_gate import Int8Gate

__all__ = ["Exported", "export", "verify_export"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Exported:
    """What was written: the model, its card, and where asked for the batch variant and the folder of a page.

    `parity` says how well it agrees with the run, `int8` what the smaller numbers cost, if it has them.
    """

    file: Path
    card: Path
    parity: Parity
    bytes: int
    int8: "Int8Gate | None" = None
    batch: Path | None = None
    web: Path | None = None

    def sentence(self) -> str:
        """In one line."""
        return f"{self.file}: {self.bytes / 1e6:.1f} MB. {self.parity.sentence()}"

    def to_json(self) -> dict[str, Any]:
        return {
            "file": str(self.file),
            "card": str(self.card),
            "bytes": self.bytes,
            "parity": self.parity.to_json(),
            "int8": None if self.int8 is None else self.int8.to_json(),
            "batch": None if self.batch is None else str(self.batch),
            "web": None if self.web is None else str(self.web),
        }


def export(
    run: Run | str | Path,
    out: str | Path | None = None,
    *,
    int8: bool = False,
    max_loss: float = 0.01,
    batch: str | Path | None = None,
    web: str | Path | None = None,
    runtime: str | Path | None = None,
    pictures: int = 100,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a run or stage as one ONNX file: pixels in, calibrated probabilities out. Needs no torch.

    `out` is by default `model.onnx` in the run's folder, or in that of the page; a model that was exported
    there before is replaced. `pictures` files made of held-out pictures must get the run's answer from it.
    With `int8` the network computes in 8 bits; it may lose `max_loss` of the accuracy, a share in [0, 1),
    on the validation pictures. `batch` writes a second file that takes prepared pictures (B, 3, S, S).
    `web` is a folder for a page that runs the model in the browser, with the files of onnxruntime-web
    from the folder `runtime`, or from the web where that is None.

    Raises ParityError where the file would answer otherwise, ModelError where 8 bits lose too much or the
    graph cannot be made, RunError, DatasetError where the pictures are gone, and UsageError.

    >>> export("runs/art", "art.onnx").parity.largest         # doctest: +SKIP
    0.0009
    """
    run = run if isinstance(run, Run) else Run.load(run)
    if not 0 <= max_loss < 1 or pictures < 1:
        raise UsageError(
            f"a loss of {max_loss} and {pictures} pictures: expected 0 ≤ loss < 1, and one picture or more"
        )
    if runtime is not None and web is None:
        raise UsageError("runtime names files for the page; say its folder too (--web DIR)")
    file = Path(out) if out is not None else Path(web or run.folder) / "model.onnx"
    for path in (file, *([] if batch is None else [Path(batch)])):
        _check_place(path)
    dataset = run_pictures(run)
    network, tested = run.backbone(), None
    if int8:
        from tellapart.ship.int8_network import int8_network  # quantising loads much

        network, tested = int8_network(run, dataset, max_loss, workers, progress)
    side = TrainingSide(run, network, workers)
    content = _content(run, network, side, tested)
    model = ModelFile(content, str(file), workers=workers)
    verify_file(model, str(file))
    parity = check_parity(dataset, side, model, count=pictures, progress=progress)
    card = file.with_suffix(".md")
    written: dict[Path, bytes | str] = {file: content}
    written[card] = model_card(model.facts, parity, tested, file.name, len(content))
    if batch is not None:
        written[Path(batch)] = _batch_content(run, network, model)
    try:
        for path, what in written.items():
            write_atomically(path, what)
    except OSError as error:
        raise RunError(
            f"{error.filename or file} cannot be written: {error.strerror or error}"
        ) from None
    site = None
    if web is not None:
        from tellapart.ship.web.site import write_site

        site = write_site(file, Path(web), None if runtime is None else Path(runtime))
    where = None if batch is None else Path(batch)
    return Exported(file, card, parity, len(content), tested, where, site)


def verify_export(
    file: str | Path,
    run: Run | str | Path | None = None,
    *,
    pictures: int = 100,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Parity:
    """Whether an exported file answers here as it did where it was exported; with a run, as that does.

    Without one, the drawings in the file are compared, which any machine with a base install can do.
    Raises ParityError where the answers part, with the step, and ModelError for a file that is none.
    """
    model = ModelFile.open(file, workers=workers)
    parity = verify_file(model, str(file), workers=workers or 1)
    if run is None:
        return parity
    run = run if isinstance(run, Run) else Run.load(run)
    if model.facts["precision"] != "float32":
        raise UsageError(
            f"{file} computes in {model.facts['precision']}, the run does not. Verify it without the run"
        )
    side = TrainingSide(run, workers=workers)
    return check_parity(run_pictures(run), side, model, count=pictures, progress=progress)


def _content(run: Run, network: Backbone, side: TrainingSide, int8: "Int8Gate | None") -> bytes:
    novelty = None if run.trust is None else run.trust.novelty
    graph = picture_graph(network.graph, run.preprocess, run.probe, novelty)
    metadata = {FACTS: _json(_facts(run, int8)), REFERENCE: _json(_reference(side))}
    if graph.ByteSize() > MOST_BYTES - (1 << 20):
        raise ModelError(
            f"the graph of {network.info.name} takes {graph.ByteSize():,} bytes, and one ONNX file has less "
            "than 2 GiB. Train with a smaller backbone"
        )
    return sealed(graph, metadata)


def _batch_content(run: Run, network: Backbone, model: ModelFile) -> bytes:
    novelty = None if run.trust is None else run.trust.novelty
    graph = answering_graph(network.graph, run.preprocess, run.probe, novelty)
    return sealed(graph, {FACTS: model.metadata[FACTS]})


def _facts(run: Run, int8: "Int8Gate | None") -> dict[str, Any]:
    """What the file says of itself. No date and no path, so that the same run gives the same file."""
    info, trust = run.info, run.trust
    backbone = {
        key: info["backbone"].get(key)
        for key in ("name", "licence", "source", "parameters", "weights_sha256", "graph_sha256")
    }
    data = {key: info["dataset"][key] for key in ("fingerprint", "counts")}
    return {
        "format": FORMAT,
        "name": run.folder.resolve().name,
        "classes": info["classes"],
        "preprocess": info["preprocess"],
        "rule": asdict(rule_of(run)),
        "curve": None if trust is None else trust.curve.to_json(),
        "metrics": info["metrics"],
        "backbone": backbone,
        "dataset": data,
        "precision": "float32" if int8 is None else "int8",
        "int8": None if int8 is None else int8.to_json(),
        "versions": {
            "tellapart": version("tellapart"),
            "onnx": onnx.__version__,
            **_trained_with(info),
        },
    }


def _trained_with(info: dict[str, Any]) -> dict[str, str]:
    return {f"trained with {name}": version for name, version in info.get("versions", {}).items()}


def _reference(side: TrainingSide) -> list[dict[str, Any]]:
    """What the training side makes of tellapart's own drawings, at each step."""
    found = []
    for kind, content in reference_files().items():
        samples = Samples.of(side.steps(content, kind), side.embedder.preprocess)
        file = base64.b64encode(content).decode("ascii")
        found.append({"kind": kind, "file": file, **samples.to_json()})
    return found


def _json(values: Any) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def _check_place(file: Path) -> None:
    """A file of the user's is not replaced. Raises UsageError."""
    if not os.path.lexists(file):
        return
    try:
        ModelFile.open(file)
    except ModelError:
        raise UsageError(
            f"{file} is there already, and no model that tellapart has exported; choose another -o"
        ) from None
