"""A network and a linear head on its features, which begins as the probe and becomes one again."""

from typing import Literal

import torch
from torch import Tensor, nn

from tellapart.errors import UsageError
from tellapart.finetuning.network import FeatureNetwork
from tellapart.training.probe import Probe

__all__ = ["Classifier", "Unfreeze"]

Unfreeze = int | Literal["all", "last"]


class Classifier(nn.Module):
    """`pixels` float32 (B, 3, S, S) → logits float32 (B, K): features, standardised, times weights.

    The probe's mean and deviation stay as they are; its weights and bias are trained.
    """

    def __init__(self, network: FeatureNetwork, probe: Probe) -> None:
        super().__init__()
        self.network = network
        self.features = probe.features
        self.register_buffer("feature_mean", torch.from_numpy(probe.mean.copy()))
        self.register_buffer("feature_std", torch.from_numpy(probe.std.copy()))
        width, classes = probe.weights.shape
        self.head = nn.Linear(width, classes)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(probe.weights.T.copy()))
            self.head.bias.copy_(torch.from_numpy(probe.bias.copy()))

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.network(pixels)[:, : self.head.in_features].float()
        standard = (features - self.feature_mean) / self.feature_std
        logits: Tensor = self.head(standard)
        return logits

    def probe(self) -> Probe:
        """The head as a probe on the features of the network as it is now."""

        def array(tensor: Tensor) -> "torch.Tensor":
            return tensor.detach().cpu().float().contiguous()

        return Probe(
            self.features, array(self.feature_mean).numpy(), array(self.feature_std).numpy(),
            array(self.head.weight.T).numpy(), array(self.head.bias).numpy(),
        )  # fmt: skip

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
        """
        super().train(mode)
        for module in self.network.modules():
            own = list(module.parameters(recurse=False))
            frozen = own and not any(parameter.requires_grad for parameter in own)
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
