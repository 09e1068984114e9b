"""How to fine-tune: the dials of the verb `finetune`, checked when they are set."""

from dataclasses import dataclass, field

from tellapart.errors import UsageError
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.classifier import Unfreeze
from tellapart.finetuning.schedule import check_dials, parse_lr

__all__ = ["FinetuneOptions"]

_HIGHEST_ALPHA = 100


@dataclass(frozen=True)
class FinetuneOptions:
    """How to fine-tune. `lr` as text: one rate, or `1e-5..1e-4`, geometric from stem to head.

    `unfreeze` says how many of the network's last layer groups learn: `all`, `last` or a number.
    `accumulate` times `batch` pictures make one step of the optimiser, `batch` at a time. `mixup` and
    `cutmix` are the alphas of each, from 0 (none) to 100; `ema` in [0, 1) is the decay of the weights'
    moving average, 0 for none. With `patience` above 0 a tenth of the training pictures is set
    aside, training ends after so many epochs without a lower loss on them, and the best epoch counts.
    Where a part learns, the frozen layers run once for each of `views` changed views of a picture,
    which take turns by epoch; with 0 they run in each epoch, each time on another view. The rates
    rise from `lr / div` over a share of `pct_start` of the steps, by default as in fastai's
    fine_tune. A step's pictures are cut into `pieces` shares, at least as many as there are processes
    when a stage is begun; it keeps their number. Raises UsageError.
    """

    epochs: int = 2
    lr: str = "1e-5..1e-4"
    unfreeze: str = "all"
    batch: int = 32
    transforms: Transforms = field(default_factory=Transforms)
    label_smoothing: float = 0.0
    weight_decay: float = 0.01
    seed: int = 0
    accumulate: int = 1
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    patience: int = 0
    views: int = 4
    div: float = 5.0
    pct_start: float = 0.3
    pieces: int = 1

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2:
            raise UsageError(f"epochs {self.epochs}, batch {self.batch}; expected 1 and 2 at least")
        if not 0 <= self.seed < 1 << 62:
            raise UsageError(
                f"the seed is {self.seed}; expected 0 or more, and below 2 to the 62nd"
            )
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"label_smoothing is {self.label_smoothing}; expected 0 ≤ value < 1")
        if self.accumulate < 1 or self.patience < 0:
            raise UsageError(
                f"accumulate {self.accumulate}, patience {self.patience}; expected 1 and 0 at least"
            )
        for name, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            if not 0 <= alpha <= _HIGHEST_ALPHA:
                raise UsageError(f"{name} is {alpha}; expected an alpha from 0 to {_HIGHEST_ALPHA}")
        if self.pieces < 1:
            raise UsageError(f"pieces is {self.pieces}; expected 1 at least")
        if self.views < 0:
            raise UsageError(f"views is {self.views}; expected 0 or more")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema is {self.ema}; expected a decay, 0 ≤ value < 1")
        check_dials(self.div, self.pct_start, self.weight_decay)
        parse_lr(self.lr)
        _ = self.groups

    @property
    def groups(self) -> Unfreeze:
        """`unfreeze` as `Classifier.unfreeze` takes it."""
        if self.unfreeze in ("all", "last"):
            return self.unfreeze  # type: ignore[return-value]
        if not self.unfreeze.isdecimal():
            raise UsageError(f"unfreeze is {self.unfreeze!r}; expected all, last or a number")
        return int(self.unfreeze)
