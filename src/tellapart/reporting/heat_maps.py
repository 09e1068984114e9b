"""What a run looks at in a picture: the exact parts of a class's score, place by place.

One pass of the very graph that embeds, with its feature maps given out, and arithmetic
(`evaluation/contributions.py`). No torch, no gradients. The map lies over the square that the network saw:
what a crop has cut away had no say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tellapart.data.ordered_map import ordered_map
from tellapart.errors import ImageError, UsageError
from tellapart.evaluation.contributions import Contributions, contributions
from tellapart.ship.predictor import content_of, name_of
from tellapart.training.embed import Embedder

if TYPE_CHECKING:
    from tellapart.training.probe import Probe
    from tellapart.training.run import Run

__all__ = ["Explainer", "HeatMap"]

_GRID = 56
_STRONG = 99.0  # percentile of |values| that is shown at full strength
_FOR, _AGAINST = (232, 93, 4), (40, 96, 200)  # colours of what speaks for the class, and against it
_MOST_OPAQUE = 0.72


@dataclass(frozen=True, eq=False)
class HeatMap:
    """What each place of a picture adds to the logit of one class.

    `picture` is the RGB square that the network saw, `target` the class that is explained and `logit`
    its score; `values` float32 (56, 56), which with `rest` add up to it. `probabilities` float32 (K,).
    `by_stage` holds the same at each map's own size.
    """

    picture: Image.Image
    classes: tuple[str, ...]
    target: int
    logit: float
    values: NDArray[np.float32]
    rest: float
    probabilities: NDArray[np.float32]
    by_stage: Contributions

    @property
    def label(self) -> str:
        """The class that is explained."""
        return self.classes[self.target]

    def sentence(self) -> str:
        """In one line, for those who cannot see the map."""
        rows = ("top", "middle", "bottom")
        columns = ("left", "centre", "right")
        thirds = np.array_split(np.arange(_GRID), 3)
        sums = [[self.values[np.ix_(a, b)].sum() for b in thirds] for a in thirds]
        row, column = divmod(int(np.argmax(sums)), 3)
        place = "centre" if row == column == 1 else f"{rows[row]} {columns[column]}"
        return f"what speaks most for {self.label!r} lies at the {place}"

    def overlay(self, side: int | None = None) -> Image.Image:
        """The picture, `side` px wide and high, with the map over it: orange speaks for the class, blue
        against it."""
        side = side or self.picture.width
        grey = self.picture.convert("L").convert("RGB").resize((side, side))
        smooth = Image.fromarray(self._strength).resize((side, side), Image.Resampling.BICUBIC)
        strength = np.clip(np.asarray(smooth), -1, 1)[..., None]
        colour = np.where(strength > 0, _FOR, _AGAINST).astype(np.float32)
        opacity = _MOST_OPAQUE * np.abs(strength)
        pixels = (1 - opacity) * np.asarray(grey, np.float32) + opacity * colour
        return Image.fromarray(np.rint(pixels).astype(np.uint8))

    @cached_property
    def _strength(self) -> NDArray[np.float32]:
        strong = float(np.percentile(np.abs(self.values), _STRONG))
        return np.clip(self.values / max(strong, 1e-12), -1, 1).astype(np.float32)

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        raw = BytesIO()
        self.overlay().save(raw, "PNG")
        return raw.getvalue()


class Explainer:
    """A run, or a stage of one, ready to show what it looks at. May be used from several threads.

    Raises ModelError for a network that does not say where its maps are, MissingExtra without onnx,
    RunError.

    >>> heat = Explainer(run).explain("new.jpg")          # doctest: +SKIP
    >>> heat.logit - heat.rest - heat.values.sum() < 1e-4  # doctest: +SKIP
    True
    """

    def __init__(self, run: "Run", workers: int | None = None) -> None:
        from tellapart.model.maps import open_maps

        backbone = run.backbone()
        self.classes, self._probe = run.classes, run.probe
        self._maps = open_maps(backbone.graph)
        with_maps = replace(backbone, graph=self._maps.graph)
        self._embedder = Embedder(with_maps, run.preprocess, workers=workers)
        ends = list(accumulate(length for _, length in backbone.layout))
        width = len(self._probe.mean)
        self._columns = {
            name: slice(end - length, end)
            for (name, length), end in zip(backbone.layout, ends, strict=True)
            if end <= width
        }

    def explain(
        self, source: Any, target: int | str | None = None, probe: "Probe | None" = None
    ) -> HeatMap:
        """The map of one picture for a class, by its number or name; by default that which is predicted.

        `probe` answers in the place of the run's own, such as one that has not seen the picture
        (`training/left_out.py`). `source` is a path, a file's bytes, a Pillow image or uint8 (H, W, 3).
        Raises ImageError for a picture that cannot be used, UsageError for an unknown class.
        """
        preprocess = self._embedder.preprocess
        square = preprocess.resize(self._embedder.picture(content_of(source), name_of(source)))
        out = self._embedder.outputs(preprocess.normalise(square))
        features = out["features"][0]
        probe = probe or self._probe
        probabilities = probe.probabilities(features[None])[0].astype(np.float32)
        number = self._number(target, probabilities)
        found = self._contributions(out, features, number, probe)
        return HeatMap(
            square, self.classes, number, float(probe.logits(features[None])[0, number]),
            found.on_grid(_GRID).astype(np.float32), found.rest, probabilities, found,
        )  # fmt: skip

    def explain_many(
        self,
        sources: Sequence[Any],
        targets: Sequence[int | str | None],
        probes: "Sequence[Probe | None] | None" = None,
    ) -> Iterator[HeatMap | ImageError]:
        """Maps in the order asked; of a picture that cannot be used, why."""

        def one(asked: "tuple[Any, int | str | None, Probe | None]") -> HeatMap | ImageError:
            try:
                return self.explain(*asked)
            except ImageError as error:
                return error

        every = zip(sources, targets, probes or [None] * len(sources), strict=True)
        return ordered_map(one, every, workers=self._embedder.workers)

    def _number(self, target: int | str | None, probabilities: NDArray[np.float32]) -> int:
        if target is None:
            return int(probabilities.argmax())
        if isinstance(target, str) and target in self.classes:
            return self.classes.index(target)
        if isinstance(target, str) or not 0 <= target < len(self.classes):
            known = ", ".join(map(repr, self.classes[:5]))
            raise UsageError(f"the class {target!r} is unknown; the run tells apart {known} …")
        return int(target)

    def _contributions(
        self,
        out: dict[str, NDArray[np.float32]],
        features: NDArray[np.float32],
        number: int,
        probe: "Probe",
    ) -> Contributions:
        weights, bias = probe.linear_at(features)
        rule = self._maps.final
        maps = {name: _channels_first(out[f"map_{name}"][0]) for name in self._maps.names[1:]}
        if rule.pooled:
            maps["final"] = _channels_first(out["map_final"][0], rule.form, rule.prefix)
        named = self._columns
        return contributions(
            maps,
            {name: features[part] for name, part in named.items()},
            {name: weights[part, number] for name, part in named.items()},
            {name: probe.mean[part] for name, part in named.items()},
            float(bias[number]),
            pooled=rule.pooled, norm=self._maps.norm, epsilon=rule.epsilon,
        )  # fmt: skip


def _channels_first(
    values: NDArray[np.float32], form: str = "channels_first", prefix: int = 0
) -> NDArray[np.float32]:
    """A map as (C, h, w)."""
    if form == "channels_last":
        return values.transpose(2, 0, 1)
    if form == "tokens":
        tokens = values[prefix:].T
        side = round(tokens.shape[1] ** 0.5)
        return tokens.reshape(len(tokens), side, -1)
    return values
