"""Answers on new pictures from a trained run: class, probability, and every class's probability."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tellapart.data.images import read_bytes
from tellapart.data.ordered_map import ordered_map
from tellapart.errors import ImageError, RunError
from tellapart.training.embed import Embedder
from tellapart.training.run import Run

__all__ = ["SURE_FROM", "Prediction", "Predictor", "load"]

SURE_FROM = 0.7
"""Below this probability an answer is `not_sure`."""


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture; unpacks as (category, index, probabilities).

    `probabilities` is float32 (K,) in the order of `classes`. Where the picture could not be used,
    `error` says why, `index` is −1 and the category is empty.
    """

    path: str
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    error: str | None = None

    @property
    def index(self) -> int:
        return -1 if self.error is not None else int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        return "" if self.error is not None else self.classes[self.index]

    @property
    def probability(self) -> float | None:
        return None if self.error is not None else float(self.probabilities[self.index])

    @property
    def verdict(self) -> str | None:
        """`sure`, or `not_sure` where the most probable class has less than `SURE_FROM`."""
        if self.probability is None:
            return None
        return "sure" if self.probability >= SURE_FROM else "not_sure"

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities, the most probable first."""
        if self.error is not None:
            return []
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[i], float(self.probabilities[i])) for i in order]

    def __iter__(self) -> Iterator[Any]:
        yield from (self.label, self.index, self.probabilities)

    def to_json(self) -> dict[str, Any]:
        failed = self.error is not None
        by_class = zip(self.classes, self.probabilities.tolist(), strict=True)
        return {
            "path": self.path,
            "label": None if failed else self.label,
            "probability": self.probability,
            "probabilities": None if failed else dict(by_class),
            "verdict": self.verdict,
            "error": self.error,
        }


class Predictor:
    """A run, ready to answer. May be used from several threads.

    >>> predictor = load("runs/art")              # doctest: +SKIP
    >>> category, index, probabilities = predictor.predict("new.jpg")  # doctest: +SKIP
    """

    def __init__(self, run: Run, *, runtime: str | None = None, workers: int | None = None) -> None:
        options = run.info["options"]
        backbone = run.backbone()
        runtime = runtime or options["runtime"]
        self.classes = run.classes
        self._probe = run.probe
        self._embedder = Embedder(backbone, run.preprocess, runtime=runtime, workers=workers)
        if self._probe.weights.shape[1] != len(self.classes):
            raise RunError(f"{run.folder}: the probe does not fit its classes. Train again.")

    def predict(self, source: Any, *, name: str | None = None) -> Prediction:
        """The answer for one picture: a path, a file's bytes, a Pillow image, or uint8 (H, W, 3).

        A picture that cannot be used gives a prediction with its `error` set.
        """
        shown = name if name is not None else _name(source)
        try:
            features = self._embedder.vector(_content(source), shown)
        except ImageError as error:
            text = error.reason + (f" ({error.detail})" if error.detail else "")
            return Prediction(shown, self.classes, np.zeros(len(self.classes), np.float32), text)
        probabilities = self._probe.probabilities(features[None])[0]
        return Prediction(shown, self.classes, probabilities.astype(np.float32))

    def predict_many(self, sources: Iterable[Any]) -> Iterator[Prediction]:
        """Answers in the order asked, as they come; memory does not grow with their number."""
        return ordered_map(self.predict, sources, workers=self._embedder.workers)


def load(model: str | Path, *, runtime: str | None = None, workers: int | None = None) -> Predictor:
    """A predictor from a run folder.

    Raises RunError where there is no finished run.
    """
    return Predictor(Run.load(model), runtime=runtime, workers=workers)


def _name(source: Any) -> str:
    return str(source) if isinstance(source, (str, Path)) else type(source).__name__


def _content(source: Any) -> bytes | Image.Image:
    if isinstance(source, (str, Path)):
        return read_bytes(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise ImageError(
                "array", "not an image", f"{source.dtype} {source.shape}; expected uint8 (H, W, 3)"
            )
        return Image.fromarray(source)
    if not isinstance(source, Image.Image):
        raise ImageError(
            type(source).__name__, "not an image", "give a path, bytes, image or array"
        )
    return source
