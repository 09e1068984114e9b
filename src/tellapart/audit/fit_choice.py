"""Crop, pad or squish: which way of making a picture square lets a probe answer best?

Training and prediction use the same fit, so each fit gets a probe of its own, on the features of the
same sample, and is scored on pictures that the probe has not seen. The fit in use stays unless another
one is surely better (McNemar's exact test, for two comparisons): on a sample, chance alone makes one
of three the best.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tellapart.audit.changed_answers import held_out_classes
from tellapart.audit.finding import Finding
from tellapart.audit.transformations import PER_CLASS, sample_rows
from tellapart.evaluation.paired import mcnemar
from tellapart.model.preprocess import Fit, PreprocessSpec
from tellapart.training.embed import Embedder, Progress, embed_again

if TYPE_CHECKING:
    from tellapart.data.dataset import Dataset  # it needs pandas, which a base install has not

__all__ = ["FitChoice", "FittedView", "choose_fit", "fit_choice", "fit_findings"]

Array = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]

_LEVEL: Final = 0.05
_OTHERS: Final = len(get_args(Fit)) - 1


@dataclass(frozen=True)
class FittedView:
    """Pictures brought into the square in a given way; a `View` of `training/embed.py`.

    What the decoder leaves of a very large JPEG is what the embedder's own fit needs; the others
    scale that, which loses nothing at the network's size.
    """

    fit: Fit

    @property
    def key(self) -> str:
        """What tells it from other views."""
        return f"fit {self.fit}"

    def pixels(
        self, image: Image.Image, preprocess: PreprocessSpec, sha256: str
    ) -> NDArray[np.float32]:
        """The network's input, float32 (1, 3, S, S)."""
        return replace(preprocess, fit=self.fit).apply(image)


@dataclass(frozen=True)
class FitChoice:
    """Held-out `errors` among the same `n` pictures for each fit, and the fit to use: `best`.

    `p` is McNemar's exact one of each other fit against `current`, two-sided.
    """

    n: int
    current: str
    best: str
    errors: Mapping[str, int]
    p: Mapping[str, float]

    @property
    def changes(self) -> bool:
        """Whether another fit than the one in use is recommended."""
        return self.best != self.current

    def sentence(self) -> str:
        """In one line: "keep --fit crop: errors among 300 pictures are crop 12, pad 14, squish 11"."""
        errors = ", ".join(f"{fit} {count}" for fit, count in self.errors.items())
        reason = f"p = {self.p[self.best]:.2g}" if self.changes else "no other fit is surely better"
        verb = "use" if self.changes else "keep"
        return f"{verb} --fit {self.best}: errors among {self.n} pictures are {errors}; {reason}"

    def to_json(self) -> dict[str, Any]:
        return {"n": self.n, "current": self.current, "best": self.best,
                "errors": dict(self.errors), "p": dict(self.p)}  # fmt: skip


def choose_fit(
    dataset: "Dataset",
    embedder: Embedder,
    features: Array,
    *,
    groups: Indices | None = None,
    per_class: int = PER_CLASS,
    seed: int = 0,
    progress: Progress | None = None,
) -> FitChoice:
    """Compare the fits on the sample that `transformation_safety` takes too.

    `features` float32 (N, D) are those of all pictures with the embedder's own fit. Costs two forward
    passes for each picture of the sample, at most 600. Raises DatasetError as `transformation_safety`.
    """
    own = dataset.groups if groups is None else groups
    rows = sample_rows(dataset.targets, own, per_class=per_class, seed=seed)
    current: Fit = embedder.preprocess.fit
    seen: dict[str, Array] = {current: features[rows]}
    fits: Sequence[Fit] = get_args(Fit)
    for fit in fits:
        if fit != current:
            view = FittedView(fit)
            seen[fit] = embed_again(dataset, rows, embedder, view, progress=progress).values
    targets = dataset.targets[rows]
    correct: dict[str, NDArray[np.bool_]] = {
        fit: held_out_classes(seen[fit], targets, len(dataset.classes), own[rows], seed=seed)
        == targets
        for fit in fits
    }
    return fit_choice(correct, current)


def fit_choice(correct: Mapping[str, NDArray[np.bool_]], current: str) -> FitChoice:
    """The choice from who is right with each fit, bool (N,).

    >>> import numpy as np
    >>> right = {"crop": np.arange(100) < 80, "pad": np.arange(100) < 95}
    >>> fit_choice(right, "crop").best
    'pad'
    """
    errors = {fit: int((~right).sum()) for fit, right in correct.items()}
    p = {fit: mcnemar(correct[current], right).p for fit, right in correct.items()}
    del p[current]
    better = [fit for fit in p if errors[fit] < errors[current] and p[fit] * _OTHERS <= _LEVEL]
    best = min(better, key=lambda fit: errors[fit]) if better else current
    return FitChoice(len(correct[current]), current, best, errors, p)


def fit_findings(choice: FitChoice) -> list[Finding]:
    """One finding, `crop`, where another fit is better; `score` is the accuracy with the present one."""
    if not choice.changes:
        return []
    score = 1 - choice.errors[choice.current] / choice.n
    suggestion = f"train with --fit {choice.best}"
    return [Finding("crop", (), score, choice.sentence(), suggestion, choice.to_json())]
