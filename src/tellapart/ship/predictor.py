"""Answers on new pictures, from a run or from an exported file: class, probability, and every class's.

A base install has all that an exported file needs; a run needs the parts that trained it.
"""

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tellapart.data.cpus import cpu_count
from tellapart.data.images import MOST_PIXELS, read_bytes
from tellapart.data.ordered_map import ordered_map
from tellapart.data.places import as_url, shown
from tellapart.errors import ImageError, ModelError, RunError, UsageError
from tellapart.ship.exported import ModelFile
from tellapart.ship.prediction import Prediction, Rule

if TYPE_CHECKING:
    from tellapart.evaluation.abstention import RiskCoverage
    from tellapart.training.run import Run  # a base install has not what it needs

__all__ = ["Predictor", "content_of", "load", "name_of", "rule_of"]

_MISS: Final = 0.05  # how often the right class is not among the possible ones
_PARTS: Final = ("name", "classes", "backbone", "metrics")


class Model(Protocol):
    """What answers for one picture, from several threads at once; other processes open it anew."""

    classes: tuple[str, ...]

    @property
    def identity(self) -> str:
        """Hexadecimal hash of all that its answers depend on but the picture."""
        ...

    def answer(
        self, content: bytes | Image.Image, name: str, *, alone: bool = False
    ) -> tuple[NDArray[np.float32], float | None]:
        """Probabilities (K,) and the novelty; `alone` where all CPUs may compute it. Raises ImageError."""
        ...

    def on_one_cpu(self) -> "Model":
        """The same one for a worker of a cluster, each of which has a CPU."""
        ...


class Predictor:
    """A run or an exported model, ready to answer. May be used from several threads.

    `facts` is what it says of itself: name, classes, backbone, metrics and more. `workers` is how many
    pictures `predict_many` looks at together.

    >>> predictor = load("model.onnx")                        # doctest: +SKIP
    >>> category, index, probabilities = predictor.predict("new.jpg")  # doctest: +SKIP
    """

    def __init__(
        self, model: Model, rule: Rule, facts: Mapping[str, Any], workers: int | None = None
    ) -> None:
        self.classes, self.rule, self.facts = model.classes, rule, facts
        self.workers = workers or cpu_count()
        self._model = model

    @classmethod
    def of_run(
        cls,
        run: "Run",
        *,
        runtime: str | None = None,
        workers: int | None = None,
        target_error: float | None = None,
        most_pixels: int = MOST_PIXELS,
    ) -> "Predictor":
        """See `load`."""
        rule = rule_of(run, target_error)
        model = _RunModel(run, runtime, workers, most_pixels)
        facts = {"name": run.folder.name, **run.info}
        return cls(model, rule, {name: facts[name] for name in _PARTS}, workers)

    @classmethod
    def of_file(
        cls,
        path: str | Path,
        *,
        runtime: str | None = None,
        workers: int | None = None,
        target_error: float | None = None,
        most_pixels: int = MOST_PIXELS,
    ) -> "Predictor":
        """See `load`."""
        model = ModelFile.open(
            path, runtime=runtime or "onnxruntime", workers=workers, most_pixels=most_pixels
        )
        rule = model.rule
        if target_error is not None:
            rule = _with_target(rule, _curve_of(model, str(path)), target_error, str(path))
        return cls(model, rule, model.facts, workers)

    @property
    def identity(self) -> str:
        """Hexadecimal hash of the model: two of the same give the same probabilities."""
        return self._model.identity

    def on_one_cpu(self) -> "Predictor":
        """The same one for a worker of a cluster, each of which has a CPU; it can be sent there."""
        other = copy(self)
        other.workers, other._model = 1, self._model.on_one_cpu()
        return other

    @overload
    def predict(self, source: list[Any]) -> list[Prediction]: ...

    @overload
    def predict(self, source: Any, *, name: str | None = None) -> Prediction: ...

    def predict(self, source: Any, *, name: str | None = None) -> Prediction | list[Prediction]:
        """The answer for one picture: a path or URL, a file's bytes, a Pillow image, or uint8 (H, W, 3);
        for a list of them a list of answers.

        A picture that cannot be used gives a prediction with its `error` set.
        """
        if isinstance(source, list):
            return list(self.predict_many(source))
        return self._answer(source, name, alone=True)

    def predict_beside(self, source: Any, *, name: str | None = None) -> Prediction:
        """The same answer with one thread, for programs that ask about several pictures at once."""
        return self._answer(source, name)

    def _answer(self, source: Any, name: str | None = None, *, alone: bool = False) -> Prediction:
        known = name_of(source) if name is None else shown(name)
        try:
            probabilities, novelty = self._model.answer(content_of(source), known, alone=alone)
        except ImageError as error:
            text = error.reason + (f" ({error.detail})" if error.detail else "")
            return Prediction(known, self.classes, np.zeros(len(self.classes), np.float32), text)
        answer = probabilities.astype(np.float32, copy=False)
        return Prediction(known, self.classes, answer, novelty=novelty, rule=self.rule)

    def predict_many(self, sources: Iterable[Any]) -> Iterator[Prediction]:
        """Answers in the order asked, as they come; memory does not grow with their number. Raises
        UsageError for a single path or picture in the place of several."""
        if isinstance(sources, (str, bytes, bytearray, Path, np.ndarray, Image.Image)):
            raise UsageError("predict_many takes several pictures; for one there is predict")
        return ordered_map(self._answer, sources, workers=self.workers)


class _RunModel:
    """A run's own network, probe and score."""

    def __init__(
        self, run: "Run", runtime: str | None, workers: int | None, most_pixels: int
    ) -> None:
        from tellapart.training.embed import Embedder

        backbone = run.backbone()
        self.classes = run.classes
        self._probe = run.probe
        self._novelty = None if run.trust is None else run.trust.novelty
        if self._probe.weights.shape[1] != len(self.classes):
            raise RunError(f"{run.folder}: the probe does not fit its classes. Train again.")
        self._embedder = Embedder(
            backbone, run.preprocess, runtime=runtime or run.info["options"]["runtime"],
            workers=workers, most_pixels=most_pixels,
        )  # fmt: skip
        self._most_pixels = most_pixels

    @property
    def identity(self) -> str:
        told = f"{self._embedder.space} {self._most_pixels} {self.classes} {self._probe.features}"
        digest = sha256(ascii(told).encode("ascii"))
        kept = {} if self._novelty is None else self._novelty.arrays
        for name, array in (*self._probe.arrays.items(), *kept.items()):
            digest.update(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes())
        return digest.hexdigest()

    def on_one_cpu(self) -> "_RunModel":
        other = copy(self)
        other._embedder = self._embedder.on_one_cpu()
        return other

    def answer(
        self, content: bytes | Image.Image, name: str, *, alone: bool = False
    ) -> tuple[NDArray[np.float32], float | None]:
        features = self._embedder.vector(content, name)[None]
        strange = None if self._novelty is None else float(self._novelty.scores(features)[0])
        return self._probe.probabilities(features)[0], strange


def load(
    model: str | Path,
    *,
    runtime: str | None = None,
    workers: int | None = None,
    target_error: float | None = None,
    most_pixels: int = MOST_PIXELS,
) -> Predictor:
    """A predictor from a run folder or an exported file.

    `target_error`, in (0, 1), is how many of the answers called sure may be wrong; by default that
    which the run was trained for. Pictures of more than `most_pixels` are not decoded. Raises RunError
    where there is no finished run, ModelError for a file that cannot be used, UsageError where the
    pictures of the training cannot promise that error.
    """
    options: dict[str, Any] = {
        "runtime": runtime, "workers": workers, "target_error": target_error, "most_pixels": most_pixels
    }  # fmt: skip
    path = Path(model)
    if path.is_file() or (path.suffix == ".onnx" and not path.is_dir()):
        return Predictor.of_file(model, **options)
    from tellapart.training.run import Run

    return Predictor.of_run(Run.load(model), **options)


def rule_of(run: "Run", target_error: float | None = None) -> Rule:
    """What the run's own pictures say, or the default where they could not say enough. Raises UsageError."""
    trust = run.trust
    curve = None if trust is None else trust.curve
    rule = Rule()
    if trust is not None:
        if trust.threshold.value is not None:
            rule = Rule(trust.threshold.value, trust.threshold.target_error)
        rule = replace(rule, possible_from=trust.sets.get(_MISS))
        if trust.novelty is not None:
            rule = replace(rule, strange_from=trust.novelty.threshold, kept=trust.novelty.kept)
    if target_error is None:
        return rule
    return _with_target(rule, curve, target_error, str(run.folder))


def _curve_of(model: ModelFile, name: str) -> "RiskCoverage | None":
    from tellapart.evaluation.abstention import RiskCoverage

    values = model.facts.get("curve")
    try:
        return None if values is None else RiskCoverage.from_json(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{name}: its curve cannot be used ({error}). Export it again") from None


def _with_target(rule: Rule, curve: "RiskCoverage | None", target_error: float, name: str) -> Rule:
    from tellapart.evaluation.abstention import threshold_for

    if not isinstance(target_error, int | float) or not 0 < target_error < 1:
        raise UsageError(f"the target error is {target_error}; expected 0 < share < 1")
    if curve is None:
        raise UsageError(
            f"{name} has no threshold to choose: it is a fine-tuned stage, or of an earlier "
            "version. Leave the target error out, or train again"
        )
    found = threshold_for(target_error, curve)
    if found.value is None:
        raise UsageError(f"{name}: {found.sentence()}. Choose a larger target error")
    return replace(rule, sure_from=found.value, target_error=target_error)


def name_of(source: Any) -> str:
    """What a source is called in messages: its path or URL, or what kind of thing it is."""
    if not isinstance(source, (str, Path)):
        return type(source).__name__
    return shown(as_url(source) or source)


def content_of(source: Any) -> bytes | Image.Image:
    """The bytes of a path, a URL or the like, or a Pillow image of an array uint8 (H, W, 3). Raises
    ImageError."""
    if isinstance(source, (str, Path)):
        return read_bytes(Path(source), as_url(source))
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
