"""A network and a head on its features, which begins as the probe and becomes one again."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from tellapart.errors import UsageError
from tellapart.finetuning.heads import Head
from tellapart.finetuning.network import FeatureNetwork
from tellapart.training.probe import Probe

__all__ = ["Classifier", "Unfreeze"]

Unfreeze = int | Literal["all", "last"]


class Classifier(nn.Module):
    """`pixels` float32 (B, 3, S, S) → logits float32 (B, K): the network's features, and a head on them.

    The probe's mean and deviation stay as they are; its layers are trained. With a `replay`
    features come from it in place of the network, and what goes in is not pixels (see `cut`).
    """

    def __init__(self, network: FeatureNetwork, probe: Probe) -> None:
        super().__init__()
        self.network = network
        self.replay: Callable[[Tensor], Tensor] | None = None
        self.head = Head.of(probe)

    def forward(self, pixels: Tensor) -> Tensor:
        seen = self.network(pixels) if self.replay is None else self.replay(pixels)
        logits: Tensor = self.head(seen)
        return logits

    def probe(self) -> Probe:
        """The head as a probe on the features of the network as it is now."""
        return self.head.probe()

    def unfreeze(self, what: Unfreeze) -> int:
        """Let the last `what` layer groups learn, and the head; how many groups that are.

        `all` are all of them, `last` is 1, and 0 leaves the head alone. Raises UsageError.
        """
        groups = self.network.parameter_groups()
        count = {"all": len(groups), "last": 1}.get(what) if isinstance(what, str) else what
        if count is None or not 0 <= count <= len(groups):
            raise UsageError(
                f"unfreeze is {what!r}; expected all, last or a number from 0 to {len(groups)}"
            )
        for place, group in enumerate(groups):
            for _, parameter in group:
                parameter.requires_grad_(place >= len(groups) - count)
        return count

    def train(self, mode: bool = True) -> "Classifier":
        """Like any module's, but what is frozen stays in evaluation mode, and so do all batch norms.

        Their statistics are those of a million pictures. Moved by batches of a few hundred they leave
        the head behind, which was fitted to what they were; their scale and shift learn all the same.
        In a frozen block nothing is dropped at random, so what it makes of a picture stays the same.
        """
        super().train(mode)
        for module in self.network.modules():
            inside = list(module.parameters())
            frozen = inside and not any(parameter.requires_grad for parameter in inside)
            if frozen or isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def learning_groups(self) -> list[list[tuple[str, nn.Parameter]]]:
        """What learns, by layer group from the stem to the head, which is the last."""
        groups = [
            [(name, parameter) for name, parameter in group if parameter.requires_grad]
            for group in self.network.parameter_groups()
        ]
        head = [(f"head.{name}", parameter) for name, parameter in self.head.named_parameters()]
        return [group for group in groups if group] + [head]
