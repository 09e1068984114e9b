"""Which weights count in the end: those trained last, their moving average, or an epoch's before.

The average is torch's AveragedModel: after each step it moves by 1 − decay towards the weights that were
trained, beginning with those after the first step.
"""

from copy import deepcopy

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tellapart.finetuning.classifier import Classifier

__all__ = ["Weights"]


class Weights(nn.Module):
    """The classifier that is trained, and copies of it: its average, and the best epoch's.

    `ema` is the average's decay, 0 for none. `keep_best` says whether `keep` will be called. The state
    of all of them is the module's.
    """

    def __init__(
        self, classifier: Classifier, *, ema: float = 0.0, keep_best: bool = False
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.average = (
            AveragedModel(classifier, multi_avg_fn=get_ema_multi_avg_fn(ema)) if ema else None
        )
        self.best = deepcopy(classifier) if keep_best else None

    @property
    def measured(self) -> Classifier:
        """Whose answers count for now: the average, where there is one."""
        found: Classifier = self.classifier if self.average is None else self.average.module
        return found

    def follow(self) -> None:
        """Let the average know that a step has been made."""
        if self.average is not None:
            self.average.update_parameters(self.classifier)

    def keep(self) -> None:
        """These are the best so far."""
        assert self.best is not None
        self.best.load_state_dict(self.measured.state_dict())

    def settle(self) -> None:
        """Put the weights that count into the classifier."""
        final = self.measured if self.best is None else self.best
        self.classifier.load_state_dict(final.state_dict())
