"""`Interpretation`: what a run answers rightly and wrongly, with the names that fastai's users know."""

import html
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tellapart.data.plain_text import plain
from tellapart.errors import RunError, UsageError
from tellapart.evaluation.abstention import RiskCoverage, risk_coverage
from tellapart.evaluation.calibration import Calibration, apply_temperature, calibration
from tellapart.evaluation.metrics import Metrics, evaluate
from tellapart.reporting.classification_report import ClassificationReport, classification_report
from tellapart.reporting.embedding_map import EmbeddingMap, embedding_map
from tellapart.reporting.network_view import NetworkView, Viewer
from tellapart.reporting.picture_plot import Tile, plot_tiles, side_by_side
from tellapart.training.embed import Embedder, Progress, embed
from tellapart.training.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Interpretation", "Split"]

Split = Literal["all", "valid", "test", "held_out", "train"]

_PARTS: Final = {
    "all": ("train", "valid", "test"),
    "held_out": ("valid", "test"),
    "valid": ("valid",),
    "test": ("test",),
    "train": ("train",),
}
_SMALLEST: Final = 5e-9
"""What predictions.csv, with its eight decimals, rounds to 0 is at most this."""

_MOST_DRAWN = 4000  # pictures of an embedding map
_MOST_LOSSES = 100  # pictures of a figure


@dataclass(frozen=True, eq=False, repr=False)
class Interpretation:
    """The answers of a run to N pictures of K classes, none of which its answerer had been trained on.

    `targets` (N,) are the labels as numbers, places in `classes`; `probabilities` are float32 (N, K).
    `splits` says of each picture where it stood: the answers to train pictures are out-of-fold, so
    figures over all of them are honest. A fine-tuned stage has answered valid and test pictures alone;
    its `repr` says which rows there are.

    >>> found = Interpretation.from_run("runs/photos")      # doctest: +SKIP
    >>> losses, rows = found.top_losses(9)                  # doctest: +SKIP
    >>> found.most_confused(min_val=2)                      # doctest: +SKIP
    [('cartoon', 'anime', 11), ('anime', 'cartoon', 9)]
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    root: Path
    splits: tuple[str, ...]
    targets: NDArray[np.intp]
    probabilities: NDArray[np.float32]
    run: Run | None = None

    @classmethod
    def from_run(cls, run: Run | str | Path, split: Split = "all") -> "Interpretation":
        """From the predictions.csv of a run, a stage, or its folder.

        `split` is all, train, valid, test, or held_out (valid and test). Raises UsageError for a split
        without answers, RunError.
        """
        run = run if isinstance(run, Run) else Run.load(run)
        if split not in get_args(Split):
            raise UsageError(
                f"split {split!r} is unknown; choose from {', '.join(get_args(Split))}"
            )
        every = run.predictions()
        rows = [row for row in every if row[1] in _PARTS[split]]
        if not rows:
            there = ", ".join(sorted({row[1] for row in every})) or "none"
            raise UsageError(f"{run.folder} has no answers of split {split!r}; it has {there}")
        places = {name: i for i, name in enumerate(run.classes)}
        try:
            targets = np.asarray([places[row[2]] for row in rows], np.intp)
            probabilities = np.asarray([row[4:] for row in rows], np.float32).reshape(
                -1, len(places)
            )
            if len(probabilities) != len(targets):
                raise ValueError("a row is short")
        except (ValueError, KeyError, IndexError) as error:
            raise RunError(
                f"{run.folder}/predictions.csv cannot be used: {error}. Train again."
            ) from None
        return cls(
            run.classes, tuple(row[0] for row in rows), Path(run.info["dataset"]["root"]),
            tuple(row[1] for row in rows), targets,
            np.maximum(probabilities, np.float32(_SMALLEST)), run,
        )  # fmt: skip

    @classmethod
    def from_learner(cls, learn: Any, split: Split = "all") -> "Interpretation":
        """Of where a `Learner` stands: its last fit or what it has loaded."""
        return cls.from_run(learn.stage, split)

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def metrics(self) -> Metrics:
        """Accuracy, confusions and log loss over these rows."""
        return evaluate(self.probabilities, self.targets, self.classes)

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """The most probable class of each picture, (N,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which answers differ from the label, (N,)."""
        return self.predicted != self.targets

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """−ln p of the label, in nats, (N,)."""
        own = self.probabilities[np.arange(len(self)), self.targets]
        return np.asarray(-np.log(own.astype(np.float64)))

    def top_losses(
        self, k: int | None = None, largest: bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """The `k` largest losses, or the smallest, and their rows, (k,) each; all without a `k`."""
        rows = np.argsort(-self.losses if largest else self.losses, kind="stable")[:k]
        return self.losses[rows], rows

    def confusion_matrix(self) -> NDArray[np.intp]:
        """How often which class, downwards, was taken for which, across; int (K, K)."""
        return self.metrics.matrix.copy()

    def most_confused(self, min_val: int = 1) -> list[tuple[str, str, int]]:
        """(actual, predicted, how often), the most frequent first, at least `min_val` times."""
        return [(c.actual, c.predicted, c.n) for c in self.metrics.most_confused(min_val)]

    def classification_report(self) -> ClassificationReport:
        """Precision, recall and F1 of each class with 95 % intervals."""
        return classification_report(self.metrics)

    def reliability(self) -> Calibration:
        """How far confidences are from accuracies over these rows."""
        return calibration(self.probabilities, self.targets)

    def risk_coverage(self) -> RiskCoverage:
        """The error among the answers, by how many of these rows are answered."""
        return risk_coverage(self.probabilities, self.targets)

    def embedding_map(
        self, *, seed: int = 0, workers: int | None = None, progress: Progress | None = None
    ) -> EmbeddingMap:
        """Where the network sees the pictures: the first two principal components of its features.

        Of more than 4,000 pictures so many are drawn by `seed`; those that cannot be read are left
        out. Features come from the cache where they are known. Raises UsageError without a run,
        ModelError or RunError where its network cannot be opened.
        """
        if self.run is None:
            raise UsageError("an embedding map needs a run; make this with Interpretation.from_run")
        rows = np.arange(len(self))
        if len(rows) > _MOST_DRAWN:
            rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST_DRAWN, replace=False))
        runtime = self.run.info["options"]["runtime"]
        embedder = Embedder(
            self.run.backbone(), self.run.preprocess, runtime=runtime, workers=workers
        )
        features = embed(self.root, [self.paths[i] for i in rows], embedder, progress=progress)
        kept = np.setdiff1d(np.arange(len(rows)), list(features.failures))
        if not len(kept):
            raise UsageError(f"none of the pictures in {self.root} can be read any more")
        width = embedder.backbone.dimensions[self.run.probe.features]
        rows, values = rows[kept], features.values[kept, :width]
        return embedding_map(
            values, self.targets[rows], self.wrong[rows], rows, self.classes, len(self),
            workers=embedder.workers,
        )  # fmt: skip

    def plot_confusion_matrix(self, normalize: bool = False) -> "Figure":
        """The confusion matrix as a figure, with counts or, with `normalize`, percents of each row."""
        from tellapart.reporting.confusion_plot import plot_confusion

        return plot_confusion(self.metrics, normalize=normalize)

    def plot_top_losses(
        self, k: int = 9, heatmap: bool = True, *, largest: bool = True, workers: int | None = None
    ) -> "Figure":
        """The pictures with the largest losses, with predicted and actual class, loss and probability.

        With `heatmap` the places that spoke for the predicted class are shown beside each, where the
        network can be opened. Raises UsageError for `k` outside 1 … 100.
        """
        if not 1 <= k <= _MOST_LOSSES:
            raise UsageError(f"k is {k}; a figure shows 1 to {_MOST_LOSSES} pictures")
        rows = self.top_losses(k, largest)[1]
        viewer = Viewer(self.run, self.root, heat_maps=heatmap, workers=workers)
        views = viewer.views([self.paths[i] for i in rows], self.predicted[rows].tolist())
        tiles = [self._tile(row, view) for row, view in zip(rows.tolist(), views, strict=True)]
        wide = heatmap and not viewer.refusal
        return plot_tiles(
            tiles, min(len(tiles), 3), heading="predicted / actual / loss / probability",
            footnote=f"No heat maps: {viewer.refusal}" if heatmap and viewer.refusal else "", wide=wide,
        )  # fmt: skip

    def _tile(self, row: int, view: NetworkView) -> Tile:
        actual, predicted = self.classes[self.targets[row]], self.classes[self.predicted[row]]
        sure = float(self.probabilities[row].max())
        lines = (f"{predicted} / {actual}", f"{self.losses[row]:.2f} / {sure:.3f}")
        problem = "" if view.failure is None else view.failure.reason
        picture = view.picture
        if picture is not None and view.overlay is not None:
            picture = side_by_side(picture, view.overlay)
        return Tile(picture, lines, problem, wrong=actual != predicted)

    def plot_reliability(self) -> "Figure":
        """Accuracy by confidence, and in grey how it was before the temperature, where one is known."""
        from tellapart.evaluation.trust_plot import plot_reliability

        trust = None if self.run is None else self.run.trust
        if trust is None:
            return plot_reliability(self.reliability())
        plain_answers = apply_temperature(self.probabilities, 1 / trust.temperature)
        return plot_reliability(self.reliability(), calibration(plain_answers, self.targets))

    def plot_risk_coverage(self) -> "Figure":
        """The error among the answers by the share answered, with the run's threshold where it has one."""
        from tellapart.evaluation.trust_plot import plot_risk_coverage

        trust = None if self.run is None else self.run.trust
        return plot_risk_coverage(self.risk_coverage(), None if trust is None else trust.threshold)

    def _counts(self) -> str:
        found = Counter(self.splits)
        names = {"train": "train, out of fold", "valid": "valid", "test": "test"}
        return "; ".join(f"{found[s]:,} {names[s]}" for s in names if found[s])

    def __repr__(self) -> str:
        what = f"{len(self):,} pictures of {len(self.classes)} classes ({self._counts()})"
        return f"<Interpretation of {what}: {self.metrics.sentence()}>"

    def _repr_html_(self) -> str:
        pairs = "".join(
            f"<tr><td>{html.escape(plain(actual))}</td><td>{html.escape(plain(taken))}</td>"
            f"<td>{n}</td></tr>"
            for actual, taken, n in self.most_confused()[:10]
        )
        head = "<tr><th>actual</th><th>predicted</th><th>times</th></tr>"
        table = f"<table><thead>{head}</thead><tbody>{pairs}</tbody></table>" if pairs else ""
        return (
            f"<p>{len(self):,} pictures ({html.escape(self._counts())}): "
            f"{html.escape(self.metrics.sentence())}</p>{table}"
        )
