"""One forward pass per picture, ever: from files to feature vectors, kept by content.

First every file is hashed; what the cache knows is read from it. Only the others are decoded and sent
through the network, by as many workers as there are CPUs, each decoding and computing one picture at
a time. So an answer depends on nothing but the picture, and memory on the workers, but for about 0.4 kB
of hashes and rows a picture: many vectors rest in a scratch file (`data/scratch_array.py`).
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tellapart.data.cpus import cpu_count
from tellapart.data.failure import Failure
from tellapart.data.hashing import sha256_of_files
from tellapart.data.images import MOST_PIXELS, read_bytes
from tellapart.data.ordered_map import ordered_map
from tellapart.data.picture_facts import FACT, picture_facts
from tellapart.data.places import is_url
from tellapart.data.scratch_array import scratch_array
from tellapart.errors import DatasetError, ImageError
from tellapart.model.backbone import Backbone
from tellapart.model.backbones import cache_folder
from tellapart.model.looked_at import decoded, looked_at
from tellapart.model.preprocess import PreprocessSpec
from tellapart.model.runtime import open_session
from tellapart.training.feature_cache import FeatureCache, as_stored

if TYPE_CHECKING:
    from tellapart.data.dataset import Dataset  # it needs pandas, which a base install has not

__all__ = ["Embedder", "Features", "Progress", "View", "embed", "embed_again"]

Progress = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)`, often; stages are `read` and `embed`."""

_PIXELS = 3  # to be raised when data/images.py or model/preprocess.py give other pixels
_URLS = 64  # of them at a time; data/kept_bytes.py keeps two megabytes of each
_FLUSH_SECONDS = 1.0
_FLUSH_VECTORS = 64


@dataclass(frozen=True)
class Features:
    """What the network saw in N pictures.

    `values` is float32 (N, D), a row per picture; rows of `failures` are zeros. Above 64 MiB they lie
    in a mapped file that is gone with the array. `facts` (N,) are records of `FACT`
    (data/picture_facts.py), zeros likewise; there are none of views. `sha256` holds the hash of each
    file's bytes (64 hexadecimal digits, empty where it could not be read). `computed` counts the
    forward passes; the rest came from the cache.
    """

    values: NDArray[np.float32]
    facts: NDArray[np.void]
    sha256: tuple[str, ...]
    failures: dict[int, Failure]
    computed: int


class View(Protocol):
    """A way to look at pictures other than plainly: changed, but always in the same way."""

    @property
    def key(self) -> str:
        """What tells it from other views; a part of the cache's key."""
        ...

    def pixels(
        self, image: Image.Image, preprocess: PreprocessSpec, sha256: str
    ) -> NDArray[np.float32]:
        """The network's input, float32 (1, 3, S, S), from an RGB image; from several threads at once.

        All that is random in it comes from `sha256`, the hash of the picture's bytes.
        """
        ...


class Embedder:
    """A backbone, a preprocessing and a runtime, ready to turn pictures into vectors.

    >>> from io import BytesIO
    >>> from PIL import Image
    >>> from tellapart.model.backbones import open_backbone
    >>> file = BytesIO()
    >>> Image.new("RGB", (300, 200), "orange").save(file, "PNG")
    >>> Embedder(open_backbone("tf_efficientnet_lite0")).vector(file.getvalue(), "orange").shape
    (2848,)
    """

    def __init__(
        self,
        backbone: Backbone,
        preprocess: PreprocessSpec | None = None,
        *,
        runtime: str = "onnxruntime",
        workers: int | None = None,
        most_pixels: int = MOST_PIXELS,
    ) -> None:
        self.backbone = backbone
        self._most_pixels, self._runtime = most_pixels, runtime
        self.preprocess = preprocess or backbone.info.preprocess
        self.workers = workers or cpu_count()
        self._session = open_session(backbone.graph, runtime, self.workers)
        self._view: View | None = None
        self.precision = self._session.precision

    def seen_as(self, view: View) -> Self:
        """The same one, which looks at pictures in another way; both share their session."""
        other = copy(self)
        other._view = view
        return other

    def on_one_cpu(self) -> Self:
        """The same one for a worker of a cluster, each of which has a CPU: it is opened anew there."""
        other = copy(self)
        other.workers = 1
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        options = {"runtime": self._runtime, "workers": self.workers}
        options |= {"most_pixels": self._most_pixels}
        return _opened, (type(self), self.backbone, self.preprocess, options, self._view)

    @property
    def space(self) -> str:
        """Hexadecimal hash of all but the picture that a vector depends on; the cache's key."""
        facts = {
            "graph": self.backbone.graph_hash,
            "preprocess": self.preprocess.to_json(),
            "precision": self.precision,
            "view": self._view.key if self._view else "plain",
            "pixels": _PIXELS,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def is_plain(self) -> bool:
        """Whether it looks at pictures as they are, and not in another view."""
        return self._view is None

    def vector(self, content: bytes | Image.Image, name: str) -> NDArray[np.float32]:
        """The features of one picture, float32 (D,), as the cache would keep them.

        `content` is a file's bytes, or an image that Pillow has opened or made.

        Raises ImageError, with `name` in it, where the bytes are no usable picture.
        """
        return _kept(self.network_output(content, name), name)

    def network_output(self, content: bytes | Image.Image, name: str) -> NDArray[np.float32]:
        """The same before it is rounded for the cache."""
        image = self.picture(content, name)
        return self._features_of(image, content if isinstance(content, bytes) else image.tobytes())

    def picture(self, content: bytes | Image.Image, name: str) -> Image.Image:
        """The upright RGB picture that is looked at, before preprocessing. Raises ImageError."""
        return looked_at(content, name, self.preprocess, self._most_pixels)

    def outputs(self, pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """All that the graph gives for a preprocessed picture (1, 3, S, S), by name."""
        return self._session.run(pixels)

    def vector_and_facts(
        self, content: bytes, name: str, *, known: bool = False
    ) -> tuple[NDArray[np.float32] | None, np.void]:
        """Both from one decoding: the features as `vector` gives them, and a record of `FACT`.

        With `known` the features are there already, and the network is not asked. Raises ImageError.
        """
        picture = decoded(content, name, self.preprocess)
        vector = None if known else _kept(self._features_of(picture.pixels, content), name)
        return vector, picture_facts(content, picture)

    def _features_of(self, image: Image.Image, content: bytes) -> NDArray[np.float32]:
        if self._view is None:
            pixels = self.preprocess.apply(image)
        else:
            own = hashlib.sha256(content).hexdigest()
            pixels = self._view.pixels(image, self.preprocess, own)
        return self.outputs(pixels)["features"][0]


def _opened(
    kind: type[Embedder],
    backbone: Backbone,
    preprocess: PreprocessSpec,
    options: dict[str, Any],
    view: View | None,
) -> Embedder:
    """As it was, in another process of a cluster; a session cannot be sent there."""
    embedder = kind(backbone, preprocess, **options)
    return embedder if view is None else embedder.seen_as(view)


def _kept(vector: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """As the cache would keep it. Raises ImageError for numbers that are none."""
    if not np.isfinite(vector).all():
        raise ImageError(name, "no features", "the network's answer is not a finite number")
    return as_stored(vector)


def embed(
    root: Path,
    paths: Sequence[str],
    embedder: Embedder,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Features:
    """The features of the pictures at `paths` below `root`; a failed one stops no other.

    `cache` is the folder in which vectors are kept (default: tellapart's cache folder). Interrupted
    or killed, what was computed until about a second before is kept there.

    Raises DatasetError where the folder has no room for the vectors of very many pictures.
    """
    folder = cache or cache_folder()
    values = scratch_array((len(paths), embedder.backbone.dimensions["all"]), folder)
    facts = scratch_array((len(paths) if embedder.is_plain else 0,), folder, FACT)
    hashes: list[str] = []
    failures: dict[int, Failure] = {}
    computed = 0
    with FeatureCache(folder, embedder.space, values.shape[1]) as kept:
        for part in _turns(paths):
            work = _Work(root, paths[part], embedder, values[part], facts[part])
            own, lost, count = work.done(kept, _reporting(progress, part, len(paths)))
            hashes += own
            failures |= {part.start + row: failure for row, failure in lost.items()}
            computed += count
    return Features(values, facts, tuple(hashes), failures, computed)


def _turns(paths: Sequence[str]) -> Iterator[slice]:
    """All at once; of URLs some, so that what was hashed is still in memory when it is decoded."""
    step = _URLS if any(map(is_url, paths)) else max(1, len(paths))
    for start in range(0, len(paths), step):
        yield slice(start, min(start + step, len(paths)))


def _reporting(progress: Progress | None, part: slice, count: int) -> Progress:
    """`progress`, as told of a part of all pictures."""
    if progress is None:
        return lambda stage, done, total: None
    if part.stop - part.start == count:
        return progress
    return lambda stage, done, total: progress(stage, min(part.start + done, count), count)


def embed_again(
    dataset: "Dataset",
    rows: Sequence[int] | NDArray[np.intp],
    embedder: Embedder,
    view: View | None = None,
    *,
    progress: Progress | None = None,
    look: Callable[..., Features] = embed,
) -> Features:
    """The features of rows of a dataset whose pictures were all fine before, plainly or in a view.

    `look` is `embed`, or that of an engine. Raises DatasetError where one cannot be used any more.
    """
    looking = embedder if view is None else embedder.seen_as(view)
    paths = [dataset.paths[row] for row in rows]
    features = look(dataset.root, paths, looking, progress=progress)
    if features.failures:
        first = next(iter(features.failures.values()))
        raise DatasetError(f"{dataset.place}: a picture changed while it was used: {first}")
    return features


@dataclass(frozen=True)
class _Work:
    """What is to be filled: `values` and `facts` by row; `rows` gives the rows of each content's hash."""

    root: Path
    paths: Sequence[str]
    embedder: Embedder
    values: NDArray[np.float32]
    facts: NDArray[np.void]
    rows: dict[str, list[int]] = field(default_factory=dict)

    def done(
        self, kept: FeatureCache, report: Progress
    ) -> tuple[list[str], dict[int, Failure], int]:
        """Do it all; the hash of each file, the failures by row, and the count of forward passes."""
        failures: dict[int, Failure] = {}
        hashes: list[str] = []
        workers, read = self.embedder.workers, partial(report, "read")
        answers = sha256_of_files(self.root, self.paths, workers=workers, progress=read)
        for row, answer in enumerate(answers):
            if isinstance(answer, ImageError):
                failures[row] = Failure.of(self.paths[row], answer)
            hashes.append("" if isinstance(answer, ImageError) else answer)
            if hashes[row]:
                self.rows.setdefault(hashes[row], []).append(row)
        missing = self.fill_known(kept)
        failed = self.compute(missing, kept, report)
        for sha256, error in failed.items():
            for row in self.rows[sha256]:
                failures[row] = Failure.of(self.paths[row], error)
        computed = sum(not known for sha256, known in missing.items() if sha256 not in failed)
        return hashes, dict(sorted(failures.items())), computed

    def fill_known(self, kept: FeatureCache) -> dict[str, bool]:
        """Read what the cache knows; what it does not know all of, and whether the features are known."""
        missing: dict[str, bool] = {}
        every = list(self.rows)
        for start in range(0, len(every), 1000):
            names = every[start : start + 1000]
            vectors = kept.get(names)
            facts = kept.get_facts(names) if self.embedder.is_plain else {}
            self._fill_all(self.values, vectors)
            self._fill_all(self.facts, facts)
            for sha256 in names:
                if sha256 not in vectors or (self.embedder.is_plain and sha256 not in facts):
                    missing[sha256] = sha256 in vectors
        return missing

    def _fill_all(self, array: NDArray[Any], found: Mapping[str, Any]) -> None:
        pairs = [(row, value) for sha256, value in found.items() for row in self.rows[sha256]]
        if pairs:
            array[[row for row, _ in pairs]] = np.array([value for _, value in pairs], array.dtype)

    def fill(self, sha256: str, vector: NDArray[np.float32] | None, facts: np.void | None) -> None:
        rows = self.rows[sha256]
        if vector is not None:
            self.values[rows] = vector
        if facts is not None:
            self.facts[rows] = facts

    def compute(
        self, missing: dict[str, bool], kept: FeatureCache, report: Progress
    ) -> dict[str, ImageError]:
        """Look at the pictures that are missing, keep what is found, and return what failed."""

        def answer(sha256: str) -> _Answer | ImageError:
            try:
                return self._look(sha256, missing[sha256])
            except ImageError as error:
                return error

        failed: dict[str, ImageError] = {}
        vectors: dict[str, NDArray[np.float32]] = {}
        facts: dict[str, np.void] = {}
        flushed = time.monotonic()
        answers = ordered_map(answer, missing, workers=self.embedder.workers)
        try:
            for done, (sha256, result) in enumerate(zip(missing, answers, strict=True), 1):
                if isinstance(result, ImageError):
                    failed[sha256] = result
                else:
                    self.fill(sha256, *result)
                    if result[0] is not None:
                        vectors[sha256] = result[0]
                    if result[1] is not None:
                        facts[sha256] = result[1]
                late = time.monotonic() - flushed > _FLUSH_SECONDS
                if late or max(len(vectors), len(facts)) >= _FLUSH_VECTORS:
                    kept.put(vectors, facts)
                    vectors, facts, flushed = {}, {}, time.monotonic()
                report("embed", done, len(missing))
        finally:
            kept.put(vectors, facts)
        return failed

    def _look(self, sha256: str, known: bool) -> "_Answer":
        path = self.paths[self.rows[sha256][0]]
        content = read_bytes(self.root / path, path, take=True)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ImageError(path, "changed", "the file changed while it was read; run again")
        if not self.embedder.is_plain:
            return self.embedder.vector(content, path), None
        return self.embedder.vector_and_facts(content, path, known=known)


_Answer = tuple[NDArray[np.float32] | None, np.void | None]
