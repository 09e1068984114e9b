"""An exported file, opened: checked as bytes, read, and ready to answer. Needs no part of the run.

The file is data. Its digest, its structure and what it says of itself are checked before a runtime sees
it; see `model_bytes.py` for what that can tell, and what not.
"""

import hashlib
import json
import math
import stat
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tellapart.data.cpus import cpu_count
from tellapart.data.images import MOST_PIXELS
from tellapart.errors import ImageError, ModelError, UsageError
from tellapart.model.looked_at import looked_at
from tellapart.model.preprocess import PreprocessSpec
from tellapart.model.runtime import Session, load_onnxruntime, open_session
from tellapart.ship.model_bytes import MOST_BYTES, check_seal, metadata_of
from tellapart.ship.prediction import Rule

__all__ = ["FACTS", "FORMAT", "REFERENCE", "ModelFile", "Steps", "step_of"]

FORMAT: Final = 1
FACTS: Final = "tellapart"
"""The key of what the file says of itself, as JSON, in its metadata."""

REFERENCE: Final = "tellapart_reference"
"""The key of the pictures and answers that `export --verify` compares with."""

_MOST_CLASSES = 100_000
_FAILED: Final = "cannot be computed"
_NO_ANSWER: Final = "no features"
_SUM = 1.001  # of probabilities, in float32
_NONE: Final = np.zeros((), np.float32)


@dataclass(frozen=True)
class Steps:
    """What one picture becomes on its way: `decoded` uint8 (H, W, 3), `pixels` float32 (1, 3, S, S),
    `features` float32 (D,), `probabilities` float32 (K,), and `novelty` where there is such a score."""

    decoded: NDArray[np.uint8]
    pixels: NDArray[np.float32]
    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    novelty: float | None


class ModelFile:
    """An exported model. May be used from several threads; each call computes with one.

    >>> model = ModelFile.open("model.onnx")                  # doctest: +SKIP
    >>> model.classes                                         # doctest: +SKIP
    ('anime', 'cartoon')
    """

    def __init__(
        self,
        content: bytes,
        name: str = "the model",
        *,
        runtime: str = "onnxruntime",
        workers: int | None = None,
        most_pixels: int = MOST_PIXELS,
        checked: bool = False,
    ) -> None:
        """`content` is that of the file `name`; `checked` says that its digest was looked at. Raises
        ModelError, RuntimeUnavailable and UsageError."""
        if not checked:
            check_seal(content, name)
        self.metadata = metadata_of(content, name)
        try:
            self.facts: dict[str, Any] = json.loads(self.metadata[FACTS])
            if self.facts["format"] != FORMAT:
                raise ValueError(f"its format is {self.facts['format']}, not {FORMAT}")
            self.classes = _classes(self.facts["classes"])
            self.preprocess = PreprocessSpec.from_json(self.facts["preprocess"])
            self.rule = _rule(self.facts["rule"])
            if self.facts["precision"] not in ("float32", "int8"):
                raise ValueError("its precision is unknown")
            takes = self.facts["takes"]
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise ModelError(
                f"{name}: what it says of itself cannot be used ({error}). Export it again, with this "
                "version of tellapart"
            ) from None
        except (RecursionError, UsageError) as error:
            raise ModelError(f"{name}: what it says of itself is refused ({error})") from None
        if takes != "image":
            raise ModelError(
                f"{name} takes prepared pictures, for programs of your own. Take the model that was exported "
                "beside it"
            )
        self._most_pixels = most_pixels
        self.name = name
        self._content, self._options = content, {"runtime": runtime, "workers": workers}
        self._open = partial(open_session, content, runtime, workers)
        self._session = self._open()
        self._wide: Session | None = None
        self._names = ["probabilities"]
        if self.rule.strange_from is not None:
            self._names.append("novelty")
        missing = {*self._names, "pixels", "features"} - set(self._session.outputs)
        if self._session.input != "image" or missing:
            raise ModelError(f"{name} is no graph that tellapart has made. Export it again")

    @classmethod
    def open(cls, path: str | Path, **options: Any) -> Self:
        """The same from a file. Raises ModelError where it cannot be read."""
        with ThreadPoolExecutor(1) as beside:  # both take a while, and neither needs the other
            reading = beside.submit(_read, Path(path))
            load_onnxruntime()
            content = reading.result()
        return cls(content, str(path), checked=True, **options)

    def on_one_cpu(self) -> Self:
        """The same one for a worker of a cluster, each of which has a CPU: it is opened anew there."""
        other = copy(self)
        other._options = {**self._options, "workers": 1}
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        options = {**self._options, "most_pixels": self._most_pixels}
        return _reopened, (type(self), self._content, self.name, options)

    @cached_property
    def identity(self) -> str:
        """Hexadecimal hash of all that its answers depend on but the picture."""
        digest = hashlib.sha256(self._content)
        digest.update(f"{self._options['runtime']} {self._most_pixels}".encode("ascii"))
        return digest.hexdigest()

    def picture(self, content: bytes | Image.Image, name: str) -> Image.Image:
        """The upright RGB picture that the graph takes. Raises ImageError."""
        return looked_at(content, name, self.preprocess, self._most_pixels)

    def answer(
        self, content: bytes | Image.Image, name: str, *, alone: bool = False
    ) -> tuple[NDArray[np.float32], float | None]:
        """Probabilities (K,) and novelty of one picture: a file's bytes, or an image. `alone` says that no
        other picture is looked at meanwhile, so that all CPUs compute this one. Raises ImageError."""
        values = self._run(self.picture(content, name), self._names, name, alone)
        return values["probabilities"], _number(values.get("novelty"))

    def steps(self, content: bytes | Image.Image, name: str) -> Steps:
        """The same with all that lies between. Raises ImageError."""
        picture = self.picture(content, name)
        values = self._run(picture, [*self._names, "pixels", "features"], name)
        novelty = _number(values.pop("novelty", None))
        return Steps(np.asarray(picture), novelty=novelty, **values)

    def _widest(self) -> Session:
        """A session that computes with all CPUs; made when it is first wanted."""
        if self._wide is None:
            self._wide = self._open(threads=cpu_count())
        return self._wide

    def _run(
        self, picture: Image.Image, names: list[str], name: str, alone: bool = False
    ) -> dict[str, NDArray[np.float32]]:
        try:
            session = self._widest() if alone else self._session
            values = session.run(np.asarray(picture), names)
        except Exception as error:  # of a runtime, such as for want of memory
            raise ImageError(name, _FAILED, str(error).strip()) from None
        probabilities, novelty = values["probabilities"], values.get("novelty", _NONE)
        if probabilities.shape != (len(self.classes),) or novelty.size != 1:
            raise ImageError(name, _NO_ANSWER, f"{probabilities.shape} numbers are no answer")
        if not (np.isfinite(probabilities).all() and np.isfinite(novelty).all()):
            raise ImageError(name, _NO_ANSWER, "the network's answer is not a finite number")
        if not (probabilities.min() >= 0 and probabilities.sum() <= _SUM):
            raise ImageError(name, _NO_ANSWER, "its numbers are no probabilities")
        return values


def _reopened(
    kind: type[ModelFile], content: bytes, name: str, options: dict[str, Any]
) -> ModelFile:
    """As it was, in another process of a cluster; a session cannot be sent there."""
    return kind(content, name, checked=True, **options)


def step_of(error: ImageError) -> str:
    """The step at which a model had no answer: decode, or network."""
    return "network" if error.reason in (_FAILED, _NO_ANSWER) else "decode"


def _read(file: Path) -> bytes:
    """Raises ModelError."""
    try:
        info = file.stat()
        if not stat.S_ISREG(info.st_mode) or info.st_size > MOST_BYTES:
            raise ModelError(
                f"{file} is no file of a model, or too large for one; is the path right?"
            )
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{file} cannot be read: {error.strerror}. Make one: tellapart export RUN -o {file}"
        ) from None
    check_seal(content, str(file))
    return content


def _number(value: NDArray[np.float32] | None) -> float | None:
    return None if value is None else float(value.reshape(()))


def _classes(values: Any) -> tuple[str, ...]:
    classes = tuple(values)
    if len(set(classes)) < len(classes):
        raise ValueError("two of its classes have one name")
    if not 1 <= len(classes) <= _MOST_CLASSES or not all(isinstance(c, str) for c in classes):
        raise ValueError("its classes are no list of names")
    return classes


def _rule(values: dict[str, Any]) -> Rule:
    rule = Rule(**values)
    numbers = [value for value in vars(rule).values() if value is not None]
    if rule.sure_from is None or not all(
        isinstance(value, int | float) and math.isfinite(value) for value in numbers
    ):
        raise ValueError("its thresholds are no numbers")
    return rule
