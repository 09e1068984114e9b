"""The model that answers now: loaded, checked on a picture, and exchanged when its file has changed.

The file is looked at every second (device, inode, size, times). One that has changed, and then stayed the
same for a second, is loaded and tried aside, in a thread of its own, and takes over in one step: a request
keeps the model that it began with. A file that cannot be used leaves the old model in its place.

What it does not know: whether another model is a better one, or has other classes than its users expect; the
log and `/v1/model` say which one answers. A run folder is not watched.
"""

import json
import statistics
import threading
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from tellapart.errors import ModelError, TellapartError
from tellapart.ship.predictor import Predictor, load
from tellapart.ship.server.figures import Figures
from tellapart.ship.server.log import Log

__all__ = ["CurrentModel", "Loaded"]

_EACH: Final = 1.0  # seconds between two looks at the file
_WARM_UPS: Final = 4
_SHOWN: Final = ("name", "precision", "preprocess", "metrics", "versions")
_OF_BACKBONE: Final = ("name", "licence", "parameters", "weights_sha256")

Signature = tuple[int, ...]


@dataclass(frozen=True)
class Loaded:
    """A model that has answered: `facts` is what everybody may know of it, `seconds` what a picture took."""

    predictor: Predictor
    facts: dict[str, Any]
    seconds: float


class CurrentModel:
    """Holds `now`, the model to answer with, from the file or run folder `path`.

    `options` go to `tellapart.load`. Raises what that raises, and ModelError where the model gives no
    answer.
    """

    def __init__(
        self, path: str | Path, figures: Figures, log: Log, *, watch: bool = True, **options: Any
    ) -> None:
        self.path = Path(path)
        self._options, self._figures, self._log = options, figures, log
        self._seen = _signature(self.path)
        self.now = self._load()
        self._tell()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        if watch and self.path.is_file():
            self._thread = threading.Thread(target=self._watch, name="tellapart-model", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(5)

    def _watch(self) -> None:
        before = self._seen
        while not self._end.wait(_EACH):
            found = _signature(self.path)
            if found is not None and found != self._seen and found == before:
                self._seen = found
                self._exchange()
            before = found

    def _exchange(self) -> None:
        start = time.monotonic()
        try:
            loaded = self._load()
        except Exception as error:  # whatever it is, the old model goes on
            known = isinstance(error, TellapartError)
            self._figures.reloaded("failed")
            self._log.write(
                "error", "reload_failed", reason=str(error) if known else type(error).__name__
            )
            return
        self.now = loaded
        self._figures.reloaded("ok")
        self._tell(seconds=round(time.monotonic() - start, 3))

    def _load(self) -> Loaded:
        predictor = load(self.path, **self._options)
        seconds = _warm(predictor)
        facts = _public(predictor)
        try:
            json.dumps(facts, allow_nan=False)
        except ValueError:
            raise ModelError(
                f"{self.path}: its metrics hold what is no number. Export it again"
            ) from None
        return Loaded(predictor, facts, seconds)

    def _tell(self, **more: Any) -> None:
        facts = self.now.facts
        named = {
            "name": facts["name"],
            "precision": facts["precision"],
            "classes": len(facts["classes"]),
        }
        self._figures.model({**named, "backbone": facts["backbone"].get("name", "")})
        self._log.write("info", "model_loaded", **named, **more)


def _signature(path: Path) -> Signature | None:
    """What differs when a file has been written or replaced; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _warm(predictor: Predictor) -> float:
    """Answer a few times, as in service; the seconds that it takes. Raises ModelError."""
    rows = np.linspace(0, 255, 480, dtype=np.uint8)[:, None, None]
    pixels = np.broadcast_to(rows, (480, 640, 3)).copy()
    pixels[..., 0] = np.linspace(0, 255, 640, dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    taken = []
    for _ in range(_WARM_UPS):
        start = time.monotonic()
        answer = predictor.predict_beside(file.getvalue(), name="a drawn picture")
        taken.append(time.monotonic() - start)
        total = float(answer.probabilities.sum())
        if answer.error is not None or not abs(total - 1) < 0.01:
            reason = answer.error or f"its probabilities sum to {total:g}"
            raise ModelError(f"the model does not answer: {reason}. Export it again")
    return max(statistics.median(taken[1:]), 1e-4)  # the first one waits for memory


def _public(predictor: Predictor) -> dict[str, Any]:
    """What the answer to /v1/model holds: nothing of where files lie."""
    facts = dict(predictor.facts)
    backbone = facts.get("backbone") or {}
    return {
        "precision": "float32", "metrics": {},
        **{key: facts[key] for key in _SHOWN if key in facts},
        "classes": list(predictor.classes),
        "rule": dict(vars(predictor.rule)),
        "backbone": {key: backbone[key] for key in _OF_BACKBONE if key in backbone},
    }  # fmt: skip
