"""The answer as training gives it, taken apart into steps: what an exported file is held against."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tellapart.model.backbone import Backbone
from tellapart.ship.exported import Steps
from tellapart.training.embed import Embedder
from tellapart.training.feature_cache import as_stored
from tellapart.training.run import Run

__all__ = ["TrainingSide"]


class TrainingSide:
    """A run's own decoder, preprocessing, network, probe and score; `backbone` in the place of its own
    network, such as one of another precision."""

    def __init__(
        self, run: Run, backbone: Backbone | None = None, workers: int | None = None
    ) -> None:
        self.embedder = Embedder(backbone or run.backbone(), run.preprocess, workers=workers)
        self._probe, self._trust = run.probe, run.trust

    def steps(
        self,
        content: bytes | Image.Image,
        name: str,
        seen: NDArray[np.float32] | None = None,
    ) -> Steps:
        """What becomes of one picture. With `seen`, float32 (1, 3, S, S), the network looks at that, and not
        at what was prepared here. Raises ImageError."""
        picture = self.embedder.picture(content, name)
        pixels = self.embedder.preprocess.apply(picture)
        features = self.embedder.outputs(pixels if seen is None else seen)["features"][0]
        kept = as_stored(features)[None]
        novelty = None if self._trust is None else self._trust.novelty
        return Steps(
            np.asarray(picture), pixels, features,
            self._probe.probabilities(kept)[0].astype(np.float32),
            None if novelty is None else float(novelty.scores(kept)[0]),
        )  # fmt: skip
