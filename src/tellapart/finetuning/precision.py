"""Short numbers where the CPU computes in them: bfloat16, but for the layers that it slows down.

On a Zen 4, the backward pass of depthwise convolutions of 5 × 5 places, or with a stride, takes three to ten
times as long in bfloat16 as in float32 (torch 2.15); all others gain. Keeping these in float32 makes
a step of tf_efficientnet_lite0 about twice as fast (docs/benchmarks.md).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["autocast", "keep_slow_layers_long"]

_WIDE = 5


def autocast() -> AbstractContextManager[Any]:
    """bfloat16 where the CPU computes in it; elsewhere it would only be slower."""
    if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def keep_slow_layers_long(model: nn.Module) -> int:
    """Let the layers that bfloat16 slows down compute in float32 under `autocast`; how many they are.

    Parameters, names and answers in float32 stay as they are.
    """
    slow = [module for module in model.modules() if _is_slow(module)]
    for module in slow:
        module.__class__ = _in_float32(type(module))  # a copy of the module keeps it
    return len(slow)


def _is_slow(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv2d) or isinstance(module, _Float32) or module.groups == 1:
        return False
    return max(module.kernel_size) >= _WIDE or max(module.stride) > 1


class _Float32:
    """Comes before a layer's own class."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            answer: Tensor = super().forward(x.float())  # type: ignore[misc]
        return answer


def _in_float32(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"{kind.__name__}InFloat32", (_Float32, kind), {})
