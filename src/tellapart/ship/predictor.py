"""Answers on new pictures from a trained run: class, probability, and every class's probability."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tellapart.data.images import read_bytes
from tellapart.data.ordered_map import ordered_map
from tellapart.errors import ImageError, RunError, UsageError
from tellapart.training.embed import Embedder
from tellapart.training.run import Run

__all__ = [
    "SURE_FROM", "Prediction", "Predictor", "Rule", "content_of", "load", "name_of",
]  # fmt: skip

SURE_FROM = 0.7
"""Below this probability an answer is `not_sure`, where no threshold could be fitted."""

_MISS = 0.05  # how often the right class is not among the possible ones


@dataclass(frozen=True)
class Rule:
    """When an answer is `sure`, and when a picture shows `none_of_these`.

    `sure_from` is a probability; it keeps errors below `target_error`, or promises nothing where that is
    None. Above `strange_from` (a novelty score) a picture is unlike the training pictures, of which
    the share `kept` lies below; None where such a score was not fitted. From `possible_from` on a class
    belongs to those that a picture may be of, a set that holds the right one for 95 % of pictures.
    """

    sure_from: float = SURE_FROM
    target_error: float | None = None
    strange_from: float | None = None
    kept: float | None = None
    possible_from: float | None = None


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture; unpacks as (category, index, probabilities).

    `probabilities` is float32 (K,) in the order of `classes`. Where the picture could not be used,
    `error` says why, `index` is −1 and the category is empty. `novelty` says how strange the picture is
    (about 0 for known kinds, high is strange); `rule` makes the verdict of all that.

    >>> import numpy as np
    >>> answer = Prediction("a.jpg", ("cat", "dog"), np.float32([0.4, 0.6]), rule=Rule(0.81, 0.02))
    >>> answer.verdict, answer.reason
    ('not_sure', '0.600 is below the 0.810 that keeps errors below 2 %')
    """

    path: str
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    error: str | None = None
    novelty: float | None = None
    rule: Rule = Rule()

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
        """`sure`, `not_sure` where the most probable class has too little, or `none_of_these` where
        the picture is unlike all that the run was trained on."""
        if self.probability is None:
            return None
        if self._strange:
            return "none_of_these"
        return "sure" if self.probability >= self.rule.sure_from else "not_sure"

    @property
    def reason(self) -> str | None:
        """Why the verdict is what it is, in words with the numbers; None where there is no verdict."""
        if self.probability is None:
            return None
        rule = self.rule
        if self._strange:
            return (
                f"unlike the training pictures: its novelty of {self.novelty:.2f} is above "
                f"{rule.strange_from:.2f}, and that of {100 * (rule.kept or 0):.3g} % of known pictures "
                "is not"
            )
        side = "is below" if self.verdict == "not_sure" else "reaches"
        if rule.target_error is None:
            return f"{self.probability:.3f} {side} {rule.sure_from:.3f}, which promises nothing"
        return (
            f"{self.probability:.3f} {side} the {rule.sure_from:.3f} that keeps errors below "
            f"{100 * rule.target_error:g} %"
        )

    @property
    def possible(self) -> tuple[str, ...] | None:
        """The classes that the picture may be of, the most probable first: the right one is among them for
        95 % of pictures of these classes (conformal sets, Sadinle, Lei & Wasserman 2019, and never
        empty). None where that is not known, or the picture could not be used."""
        if self.error is not None or self.rule.possible_from is None:
            return None
        every = self.top(len(self.classes))
        least = min(self.rule.possible_from, every[0][1])
        return tuple(name for name, probability in every if probability >= least)

    @property
    def _strange(self) -> bool:
        bound = self.rule.strange_from
        return self.novelty is not None and bound is not None and self.novelty > bound

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
            "reason": self.reason,
            "possible": None if self.possible is None else list(self.possible),
            "error": self.error,
        }


class Predictor:
    """A run, ready to answer. May be used from several threads.

    >>> predictor = load("runs/art")              # doctest: +SKIP
    >>> category, index, probabilities = predictor.predict("new.jpg")  # doctest: +SKIP
    """

    def __init__(
        self,
        run: Run,
        *,
        runtime: str | None = None,
        workers: int | None = None,
        target_error: float | None = None,
    ) -> None:
        self.rule = _rule(run, target_error)
        options = run.info["options"]
        backbone = run.backbone()
        runtime = runtime or options["runtime"]
        self.classes = run.classes
        self._probe = run.probe
        self._novelty = None if run.trust is None else run.trust.novelty
        self._embedder = Embedder(backbone, run.preprocess, runtime=runtime, workers=workers)
        if self._probe.weights.shape[1] != len(self.classes):
            raise RunError(f"{run.folder}: the probe does not fit its classes. Train again.")

    def predict(self, source: Any, *, name: str | None = None) -> Prediction:
        """The answer for one picture: a path, a file's bytes, a Pillow image, or uint8 (H, W, 3).

        A picture that cannot be used gives a prediction with its `error` set.
        """
        shown = name if name is not None else name_of(source)
        try:
            features = self._embedder.vector(content_of(source), shown)
        except ImageError as error:
            text = error.reason + (f" ({error.detail})" if error.detail else "")
            return Prediction(shown, self.classes, np.zeros(len(self.classes), np.float32), text)
        probabilities = self._probe.probabilities(features[None])[0]
        strange = None if self._novelty is None else float(self._novelty.scores(features[None])[0])
        answer = probabilities.astype(np.float32)
        return Prediction(shown, self.classes, answer, novelty=strange, rule=self.rule)

    def predict_many(self, sources: Iterable[Any]) -> Iterator[Prediction]:
        """Answers in the order asked, as they come; memory does not grow with their number."""
        return ordered_map(self.predict, sources, workers=self._embedder.workers)


def load(
    model: str | Path,
    *,
    runtime: str | None = None,
    workers: int | None = None,
    target_error: float | None = None,
) -> Predictor:
    """A predictor from a run folder.

    `target_error`, in (0, 1), is how many of the answers called sure may be wrong; by default that
    which the run was trained for. Raises RunError where there is no finished run, UsageError where its
    pictures cannot promise that error.
    """
    return Predictor(Run.load(model), runtime=runtime, workers=workers, target_error=target_error)


def _rule(run: Run, target_error: float | None) -> Rule:
    """What the run's own pictures say, or the default where they could not say enough."""
    if target_error is not None and not 0 < target_error < 1:
        raise UsageError(f"the target error is {target_error}; expected 0 < share < 1")
    trust = run.trust
    if trust is None:
        if target_error is not None:
            raise UsageError(
                f"{run.folder} has no threshold to choose: it is a fine-tuned stage, or of an earlier "
                "version. Leave the target error out, or train again"
            )
        return Rule()
    found = trust.threshold if target_error is None else trust.threshold_for(target_error)
    if found.value is None and target_error is not None:
        raise UsageError(f"{run.folder}: {found.sentence()}. Choose a larger target error")
    rule = Rule() if found.value is None else Rule(found.value, found.target_error)
    rule = replace(rule, possible_from=trust.sets.get(_MISS))
    if trust.novelty is None:
        return rule
    return replace(rule, strange_from=trust.novelty.threshold, kept=trust.novelty.kept)


def name_of(source: Any) -> str:
    """What a source is called in messages: its path, or what kind of thing it is."""
    return str(source) if isinstance(source, (str, Path)) else type(source).__name__


def content_of(source: Any) -> bytes | Image.Image:
    """The bytes of a path or the like, or a Pillow image of an array uint8 (H, W, 3). Raises ImageError."""
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
