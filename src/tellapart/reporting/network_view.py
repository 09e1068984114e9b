"""What the network saw of a picture, and which places of it spoke for an answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tellapart.data.cpus import cpu_count
from tellapart.data.failure import Failure
from tellapart.data.images import decode, read_bytes
from tellapart.data.ordered_map import ordered_map
from tellapart.data.places import is_url
from tellapart.errors import ImageError, TellapartError
from tellapart.model.preprocess import PreprocessSpec
from tellapart.training.left_out import left_out_probes
from tellapart.training.run import Run

if TYPE_CHECKING:
    from tellapart.reporting.heat_maps import Explainer
    from tellapart.training.probe import Probe

__all__ = ["NetworkView", "Viewer", "network_picture"]

WHOLE = PreprocessSpec(size=224, fit="pad")
"""How a picture is shown where no network is known."""


@dataclass(frozen=True)
class NetworkView:
    """The square that the network saw, RGB, and the same with the heat map over it.

    `overlay` is None where there is no heat map, else `sentence` says what it shows, and `says` is the
    class number that the finished model names, where the map is of that one. `failure` is why there
    is no picture either.
    """

    picture: Image.Image | None = None
    overlay: Image.Image | None = None
    sentence: str = ""
    says: int | None = None
    failure: Failure | None = None


class Viewer:
    """Shows pictures below `root` as the network of `run` sees them.

    Maps of training pictures are those of a probe that has not learned from them, where one can be
    had: the finished one would tell what it has learned. `refusal` is why there are no heat maps, or "".
    """

    _explainer: "Explainer | None"

    def __init__(
        self,
        run: Run | None,
        root: Path,
        *,
        heat_maps: bool = True,
        workers: int | None = None,
    ) -> None:
        self.root, self.workers, self.refusal = root, workers or cpu_count(), ""
        self.preprocess = WHOLE if run is None else run.preprocess
        self._explainer = None
        if not heat_maps or run is None:
            self.refusal = "none were asked for" if run is not None else "no run is known"
            return
        self._run = run
        try:
            from tellapart.reporting.heat_maps import Explainer

            self._explainer = Explainer(run, workers=self.workers)
        except TellapartError as error:
            self.refusal = str(error)

    def views(self, paths: Sequence[str], targets: Sequence[int]) -> Iterator[NetworkView]:
        """A view of each picture, with a heat map of its target, a class number, where one can be made."""
        if self._explainer is None:
            yield from ordered_map(self._plain, paths, workers=self.workers)
            return
        unseen = self._left_out(paths)
        files = [path if is_url(path) else self.root / path for path in paths]
        found = self._explainer.explain_many(files, targets, [unseen.get(path) for path in paths])
        for path, answer in zip(paths, found, strict=True):
            if isinstance(answer, ImageError):
                yield NetworkView(failure=Failure.of(path, answer))
            else:
                says = None if path in unseen else int(answer.probabilities.argmax())
                yield NetworkView(answer.picture, answer.overlay(), answer.sentence(), says)

    def _left_out(self, paths: Sequence[str]) -> "Mapping[str, Probe]":
        try:
            return left_out_probes(self._run, set(paths), workers=self.workers)
        except TellapartError:  # the data has changed; the finished probe can be asked all the same
            return {}

    def _plain(self, path: str) -> NetworkView:
        try:
            image = network_picture(self.root, path, self.preprocess)
        except ImageError as error:
            return NetworkView(failure=Failure.of(path, error))
        return NetworkView(self.preprocess.resize(image))


def network_picture(root: Path, path: str, preprocess: PreprocessSpec) -> Image.Image:
    """The picture at `path` below `root`, RGB, large enough for the preprocessing. Raises ImageError."""
    return decode(read_bytes(root / path, path), path, shorter_side=preprocess.shorter_side)
