"""The verb `export`: a run becomes one file that answers everywhere.

It is held against the run before anything is written.
"""

import base64
import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tellapart.data.atomic_file import write_atomically
from tellapart.errors import ModelError, RunError, UsageError
from tellapart.model.backbone import Backbone
from tellapart.ship.export_places import Places
from tellapart.ship.exported import FACTS, REFERENCE, ModelFile
from tellapart.ship.exported_graph import answering_graph, picture_graph, sealed
from tellapart.ship.facts import facts_of
from tellapart.ship.gate import check_parity
from tellapart.ship.model_bytes import MOST_BYTES
from tellapart.ship.model_card import model_card
from tellapart.ship.parity import Parity, Samples
from tellapart.ship.reference import reference_files, verify_file
from tellapart.ship.training_side import TrainingSide
from tellapart.training.run import Run
from tellapart.training.run_pictures import run_pictures

if TYPE_CHECKING:
    from tellapart.ship.int8_gate import Int8Gate

__all__ = ["Exported", "export"]

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
        size = f"{self.file}: {self.bytes / 1e6:.1f} MB"
        if self.int8 is None:
            return f"{size}. {self.parity.sentence()}"
        change = f"a probability changes by {self.int8.largest_change:.2g} at most"
        return f"{size}. In 8 bits, {self.int8.sentence()}; {change}"

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

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence())}</p>"


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
    if not 0 <= max_loss < 1 or pictures < 1:
        raise UsageError(
            f"a loss of {max_loss} and {pictures} pictures: expected 0 ≤ loss < 1, and one picture or more"
        )
    run = run if isinstance(run, Run) else Run.load(run)
    places = Places.of(run.folder, out, batch, web, runtime)
    dataset = run_pictures(run)
    network, tested = run.backbone(), None
    if int8:
        from tellapart.ship.int8_network import int8_network  # quantising loads much

        network, tested = int8_network(run, dataset, max_loss, workers, progress)
    side = TrainingSide(run, network, workers)
    content = _content(run, network, side, tested)
    model = ModelFile(content, str(places.file), workers=workers)
    verify_file(model, str(places.file))
    parity = check_parity(dataset, side, model, count=pictures, progress=progress)
    card = model_card(model.facts, parity, tested, places.file.name, len(content))
    written: dict[Path, bytes | str] = {places.file: content, places.card: card}
    if places.batch is not None:
        written[places.batch] = _batch_content(run, network, tested)
    _write(written)
    if places.web is not None:
        from tellapart.ship.web.site import write_site

        write_site(places.file, places.web, places.runtime)
    return Exported(
        places.file, places.card, parity, len(content), tested, places.batch, places.web
    )


def _write(files: Mapping[Path, bytes | str]) -> None:
    """The model comes first. Raises RunError, which says what is there already."""
    done: list[str] = []
    for path, content in files.items():
        try:
            write_atomically(path, content)
        except OSError as error:
            there = f" {' and '.join(done)} is written already." if done else ""
            raise RunError(
                f"{path} cannot be written: {error.strerror or error}.{there} When that is mended, export "
                "again"
            ) from None
        done.append(str(path))


def _content(run: Run, network: Backbone, side: TrainingSide, int8: "Int8Gate | None") -> bytes:
    novelty = None if run.trust is None else run.trust.novelty
    graph = picture_graph(network.graph, run.preprocess, run.probe, novelty)
    metadata = {FACTS: _json(facts_of(run, int8)), REFERENCE: _json(_reference(side))}
    if graph.ByteSize() > MOST_BYTES - (1 << 24):
        raise ModelError(
            f"the graph of {network.info.name} takes {graph.ByteSize():,} bytes, and one ONNX file has less "
            "than 2 GiB. Train with a smaller backbone"
        )
    return sealed(graph, metadata)


def _batch_content(run: Run, network: Backbone, int8: "Int8Gate | None") -> bytes:
    novelty = None if run.trust is None else run.trust.novelty
    graph = answering_graph(network.graph, run.preprocess, run.probe, novelty)
    return sealed(graph, {FACTS: _json(facts_of(run, int8, takes="pixels"))})


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
