"""How a timm network's final vector comes of its last map: tried on a picture, one way after the other."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tellapart.finetuning.network import FeatureNetwork
from tellapart.model.maps import FinalRule, Form

__all__ = ["final_rule"]

_NORMS = ("fc_norm", "head.norm", "head_norm", "norm")  # as timm calls what may follow the pooling
_MOST_ERROR = 1e-4  # of the largest number of the vector


def final_rule(network: FeatureNetwork) -> tuple[FinalRule, list[NDArray[np.float32]]]:
    """The first rule by which the last map gives the final vector; one without places if none does.

    Beside it the scale and the shift of the normalisation, where there is one.

    The network is in evaluation mode, on the CPU and in float32.
    """
    side = network.info.preprocess.size
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        last, _ = network.maps(pixels)
        final = network.model.forward_head(last, pre_logits=True)
        for rule, norm in _rules(network.model, last):
            found = _vector(last, rule, norm)
            if found.shape == final.shape and _close(found, final):
                return rule, [parameter.numpy() for parameter in norm]
    return FinalRule("tokens" if last.ndim == 3 else "channels_first", pooled=False), []


def _rules(model: nn.Module, last: Tensor) -> Iterator[tuple[FinalRule, list[nn.Parameter]]]:
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    forms: dict[Form, int] = (
        {"tokens": prefix} if last.ndim == 3 else {"channels_first": 0, "channels_last": 0}
    )
    norms = [
        m for name, m in model.named_modules() if isinstance(m, nn.LayerNorm) and name in _NORMS
    ]
    for form, count in forms.items():
        yield FinalRule(form, prefix=count), []
        for norm in norms:
            if norm.weight is not None and norm.bias is not None:
                rule = FinalRule(form, prefix=count, normed=True, epsilon=norm.eps)
                yield rule, [norm.weight, norm.bias]


def _vector(last: Tensor, rule: FinalRule, norm: Sequence[nn.Parameter]) -> Tensor:
    if rule.form == "tokens":
        pooled = last[:, rule.prefix :].mean(dim=1)
    else:
        pooled = last.mean(dim=(2, 3) if rule.form == "channels_first" else (1, 2))
    if not rule.normed:
        return pooled
    scale, shift = norm
    if scale.shape != pooled.shape[1:]:
        return pooled[:, :0]
    return functional.layer_norm(pooled, scale.shape, scale, shift, rule.epsilon)


def _close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= _MOST_ERROR * expected.abs().max())
