"""`Learner`: training step by step, with the names that fastai's users know.

A Learner is a cursor over stages. Every fit makes one, a run folder that is there whole or not at all, so
a script that is run again finds what was done before, and goes on where it was interrupted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tellapart.data.dataset import Dataset
from tellapart.errors import UsageError
from tellapart.evaluation.metrics import Metrics
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.augmented_answers import AugmentedAnswers, tta
from tellapart.finetuning.epoch_table import check_metric
from tellapart.finetuning.finetune import finetune
from tellapart.finetuning.finetune_options import FinetuneOptions
from tellapart.finetuning.frozen_stage import train_frozen
from tellapart.finetuning.heads import HeadKind
from tellapart.finetuning.live import LiveTable, tell
from tellapart.finetuning.lr_find import lr_find, lr_find_frozen
from tellapart.finetuning.lr_finder import Suggestions
from tellapart.finetuning.one_cycle import OneCycle
from tellapart.finetuning.recorder import Fit, Recorder
from tellapart.finetuning.schedule import FASTAI_2, Rate, fine_tune_plan, format_lr
from tellapart.finetuning.stages import base_stage, copy_stage, needed_stages
from tellapart.ship.export import Exported, export
from tellapart.ship.prediction import Prediction
from tellapart.ship.predictor import Predictor
from tellapart.training.run import Run
from tellapart.training.train import TrainOptions, train

__all__ = ["Learner"]

_LR = 2e-3
_UNFROZEN_LR = slice(1e-5, 1e-4)
_CYCLE = {"div": FASTAI_2["div"], "pct_start": FASTAI_2["pct_start"]}


class Learner:
    """Pictures, a pretrained network and a head, trained in stages below the run folder `out`.

    `data` is a Dataset, a folder or a CSV file; `backbone` one of the embedded networks or of timm's, with
    `weights` from a file. It begins frozen, with an untrained head: `linear`, or `hidden` with 512
    units. `metric` is error_rate or accuracy. `views` are augmented views of each training picture
    for the frozen epochs. Further keywords are those of `TrainOptions`. With `shown` false nothing is
    printed.

    >>> learn = Learner("photos", metric="error_rate", out="runs/photos")  # doctest: +SKIP
    >>> learn.fit_one_cycle(4)                                             # doctest: +SKIP
    >>> learn.save("stage-1")                                              # doctest: +SKIP
    >>> learn.unfreeze()                                                   # doctest: +SKIP
    >>> learn.fit_one_cycle(2, lr=slice(1e-6, 1e-4))                       # doctest: +SKIP
    """

    def __init__(
        self,
        data: Dataset | str | Path,
        backbone: str = "tf_efficientnet_lite0",
        *,
        metric: str = "error_rate",
        out: str | Path | None = None,
        head: HeadKind = "linear",
        views: int = 1,
        transforms: Transforms | None = None,
        seed: int = 0,
        overwrite: bool = False,
        workers: int | None = None,
        shown: bool = True,
        **options: Any,
    ) -> None:
        self.metric = check_metric(metric)
        self.options = TrainOptions(backbone, seed=seed, **options)
        self.recorder = Recorder()
        self._dials: dict[str, Any] = {
            "transforms": transforms or Transforms(), "seed": seed,
        }  # fmt: skip
        self._frozen: dict[str, Any] = {"head": head, "views": views}
        OneCycle(**self._frozen, **self._dials)  # what is wrong with them is said at once
        self._data, self._out, self._overwrite = data, out, overwrite
        self._workers, self._shown = workers, shown
        self._run: Run | None = None
        self._stage: Run | None = None
        self._groups: str | None = None  # None while frozen
        self._fits = 0

    @property
    def run(self) -> Run:
        """The run whose stages these are: the frozen network with a convex probe, made when first used."""
        if self._run is None:
            with LiveTable(self.metric, shown=self._shown) as live:
                self._run = train(
                    self._data, self._out, self.options, overwrite=self._overwrite,
                    workers=self._workers, progress=live.progress,
                )  # fmt: skip
            self._say(f"The probe, to compare with: {self._run.metrics['valid'].sentence()}.")
        return self._run

    @property
    def stage(self) -> Run:
        """Where it stands: the last fit, or what was loaded; the run itself before any."""
        return self._stage or self.run

    def freeze(self) -> None:
        """Train the head alone from now on."""
        self._groups = None

    def unfreeze(self, groups: int | str = "all") -> None:
        """Train the network too, or its last `groups` layer groups: a number, `last` or `all`."""
        FinetuneOptions(unfreeze=str(groups))
        self._groups = str(groups)

    def fit_one_cycle(self, n: int, lr: Rate | None = None, **dials: Any) -> None:
        """Train `n` epochs of one cycle with `lr` as the highest rate; a pair or slice goes by layer.

        By default 2e-3 while frozen and 1e-5 to 1e-4 unfrozen. Further keywords are those of `OneCycle`
        while frozen, of `FinetuneOptions` otherwise. A fit that was finished before with the same data
        and options is taken as it is. Raises what `train` and `finetune` raise.
        """
        lr = (_LR if self._groups is None else _UNFROZEN_LR) if lr is None else lr
        run, name = self.run, self._next_name()
        at: Mapping[str, Any] = {"start": self.stage, "name": name, "overwrite": True}
        dials = {**self._dials, "epochs": n, "lr": format_lr(lr), **_CYCLE, **dials}
        with LiveTable(self.metric, shown=self._shown) as live:
            at = {**at, "progress": live.progress, "on_epoch": live.on_epoch}
            if self._groups is None:
                chosen = OneCycle(**{**self._frozen, **dials})
                fresh = self._stage is None
                stage = train_frozen(run, chosen, fresh=fresh, workers=self._workers, **at)
            else:
                tuning = FinetuneOptions(**{"unfreeze": self._groups, **dials})
                stage = finetune(run, tuning, workers=self._workers or 2, **at)
            fit = Fit.of(stage)
            shown = {row.epoch for row in live.table.rows}
            for row in fit.history:
                if row.epoch not in shown:  # it was there already
                    live.on_epoch(row)
        self._stage = stage
        self.recorder.fits.append(fit)
        for note in stage.info["fit_notes"]:
            self._say(f"{note}.")

    def fine_tune(self, n: int, lr: float = _LR, freeze_epochs: int = 1) -> None:
        """fastai's `fine_tune`: `freeze_epochs` of the head at `lr`, then `n` of everything at half of it."""
        for part in fine_tune_plan(n, lr, frozen_epochs=freeze_epochs):
            if part.frozen:
                self.freeze()
                self.fit_one_cycle(part.epochs, part.lr, pct_start=part.pct_start, div=part.div)
            else:
                self.unfreeze()
                self.fit_one_cycle(part.epochs, part.lr, pct_start=part.pct_start, div=part.div)

    def lr_find(self, epochs: int = 4, batch: int | None = None, **dials: Any) -> Suggestions:
        """Sweep the rate for what is to be trained next; `recorder.plot()` draws the curve.

        While frozen the sweep is matched to a training of `epochs` in batches of `batch` (64 by default;
        16 unfrozen). Further keywords are those of `tellapart.lr_find`. The suggestions' `rate` and
        `pair` can be used as `lr`.
        """
        with LiveTable(self.metric, shown=self._shown) as live:
            if self._groups is None:
                frozen = {**self._frozen, **self._dials, "epochs": epochs, "batch": batch or 64}
                found = lr_find_frozen(
                    self.run, OneCycle(**frozen), fresh=self._stage is None, start=self.stage,
                    workers=self._workers, progress=live.progress, **dials,
                )  # fmt: skip
            else:
                options = FinetuneOptions(unfreeze=self._groups, batch=batch or 16, **self._dials)
                found = lr_find(
                    self.run, options, start=self.stage, workers=self._workers or 2,
                    progress=live.progress, **dials,
                )  # fmt: skip
        self.recorder.found = found
        self._say(found[1].sentence())
        return found[1]

    def save(self, name: str) -> Run:
        """Keep where it stands as the stage `name` of the run; an older one of that name is replaced."""
        saved = copy_stage(self.run, self.stage, name)
        if self._stage is not None:  # else the head is untrained, and stays so
            self._stage = saved
        return saved

    def load(self, name: str) -> Self:
        """Go back to a stage: `learn.load("stage-1")`. Raises UsageError where there is none."""
        self._stage = base_stage(self.run, name)
        return self

    def validate(self, split: str = "valid") -> Metrics:
        """The figures of where it stands. Raises UsageError for a split without pictures."""
        if split not in self.stage.metrics:
            raise UsageError(f"{self.stage.folder} has no figures of split {split!r}")
        return self.stage.metrics[split]

    def get_preds(self, split: str = "valid") -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Probabilities (N, K) and targets (N,) of a split, as the stage's predictions.csv has them."""
        rows = [row for row in self.stage.predictions() if row[1] == split]
        if not rows:
            raise UsageError(f"{self.stage.folder} has no predictions of split {split!r}")
        classes = list(self.run.classes)
        probabilities = np.asarray([[float(p) for p in row[4:]] for row in rows], np.float32)
        return probabilities, np.asarray([classes.index(row[2]) for row in rows], np.intp)

    def tta(self, split: str = "valid", n: int = 4, beta: float = 0.25) -> AugmentedAnswers:
        """Answers averaged over `n` augmented views of each picture, and whether that changes anything."""
        return tta(
            self.stage, split, n=n, beta=beta, transforms=self._dials["transforms"],
            workers=self._workers,
        )  # fmt: skip

    def predict(self, source: Any) -> Prediction:
        """The answer for one picture, as `(category, index, probabilities)`."""
        return Predictor.of_run(self.stage, workers=1).predict(source)

    def export(self, out: str | Path | None = None, **options: Any) -> Exported:
        """The stage as one file, `model.onnx` in its folder by default, that answers everywhere.

        `options` are those of `tellapart.export`, which says what can go wrong.
        """
        return export(self.stage, out, **options)

    def _next_name(self) -> str:
        """fit-1, fit-2, …, so that a script run again finds its own; never one that is still needed."""
        kept = needed_stages(self.run, self.stage)
        self._fits += 1
        while (name := f"fit-{self._fits}") in kept:
            self._fits += 1
        return name

    def _say(self, text: str) -> None:
        if self._shown:
            tell(text)

    def __repr__(self) -> str:
        what = "frozen" if self._groups is None else f"unfrozen ({self._groups})"
        where = "nothing trained yet" if self._run is None else str(self.stage.folder)
        return f"Learner({self.options.backbone}, {what}, {where})"
