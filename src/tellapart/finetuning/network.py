"""A timm network without classifier, whose output is the feature vector of the Backbone contract.

The vector is the final pooled one, then the mean and the standard deviation over places of every
stage's output (Head2Toe, Evci et al. 2022), as in `model/efficientnet_lite.py`. What a stage is, and
how the layers are grouped from the stem to the last stage, is asked of timm.
"""

import difflib
import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import group_modules, group_parameters
from torch import Tensor, nn

from tellapart.errors import ModelError, UsageError, WeightsError
from tellapart.finetuning.weight_files import load_file
from tellapart.model.backbone import BackboneInfo, Layout, Origin
from tellapart.model.embedded import BACKBONES, embedded_weights
from tellapart.model.preprocess import Fit, PreprocessSpec

__all__ = ["FeatureNetwork", "load_network", "tensors_hash"]

_DEPTHS = 4
_LEAST_VARIANCE = 1e-12  # so that the gradient of the root stays finite where a map is constant
_FITS: dict[str, Fit] = {"center": "crop", "squash": "squish", "border": "pad"}
_INTERPOLATIONS = ("bicubic", "bilinear", "lanczos")


class FeatureNetwork(nn.Module):
    """`pixels` float32 (B, 3, H, W) → features float32 (B, D).

    `model` is the timm network, `info` what is known of it and of its weights, `layout` the parts of
    a feature vector with their lengths, in order. A new one is in evaluation mode.

    >>> network = load_network("test_resnet", pretrained=False)  # doctest: +SKIP
    >>> network.layout[0]                                        # doctest: +SKIP
    ('final', 96)
    """

    def __init__(self, model: nn.Module, info: BackboneInfo) -> None:
        super().__init__()
        self.model = model.eval()
        self.info = info
        self._stages = _stage_arguments(model, info.name)
        self.layout = self._measured_layout()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.features_of(*self.maps(pixels))

    def maps(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last map as timm's `forward_features` gives it, and every stage's, (B, C, h, w)."""
        last, stages = self.model.forward_intermediates(pixels, output_fmt="NCHW", **self._stages)
        return last, stages

    def features_of(self, last: Tensor, stages: list[Tensor]) -> Tensor:
        """The feature vectors, float32 (B, D), of what `maps` gives."""
        final = self.model.forward_head(last, pre_logits=True).float()
        pooled = [_mean_and_deviation(stage.float()) for stage in stages]
        return torch.cat([final, *(p[0] for p in pooled), *(p[1] for p in pooled)], dim=1)

    def groups(self) -> list[list[nn.Module]]:
        """Modules with parameters of their own, in timm's layer groups from the stem to the end.

        A module stands in one group, and no module contains another of the list but for those
        that hold a parameter beside their children.
        """
        if not hasattr(self.model, "group_matcher"):
            return [[self.model]]
        found = group_modules(self.model, self.model.group_matcher(coarse=True), return_values=True)
        return [found[number] for number in sorted(found)]

    def parameter_groups(self) -> list[list[tuple[str, nn.Parameter]]]:
        """Names (as in `model`) and parameters in the same groups; each parameter stands in one.

        Also those that belong to no layer, such as a position embedding, which is in the stem's.
        """
        parameters = dict(self.model.named_parameters())
        if not hasattr(self.model, "group_matcher"):
            return [list(parameters.items())]
        found = group_parameters(self.model, self.model.group_matcher(coarse=True))
        return [[(name, parameters[name]) for name in found[i]] for i in sorted(found)]

    def _measured_layout(self) -> Layout:
        size = self.info.preprocess.size
        with torch.inference_mode():
            last, stages = self.maps(torch.zeros(1, 3, size, size))
            final = self.model.forward_head(last, pre_logits=True)
        if final.ndim != 2 or any(stage.ndim != 4 for stage in stages):
            raise ModelError(
                f"timm's {self.info.name} gives no feature vector; use another network"
            )
        channels = [(f"stage{i}", stage.shape[1]) for i, stage in enumerate(stages)]
        means = [(f"{name}_mean", n) for name, n in channels]
        deviations = [(f"{name}_std", n) for name, n in channels]
        return (("final", final.shape[1]), *means, *deviations)


def load_network(
    name: str, weights: Path | None = None, *, pretrained: bool = True
) -> FeatureNetwork:
    """A network by timm's name, with its weights, in evaluation mode on the CPU.

    The weights are those in the file `weights`; without a file those of the pip package for the
    embedded names, and timm's own from the Hugging Face hub for all others. With `pretrained=False`
    they are random, for tests.

    Raises UsageError for an unknown name, WeightsError where the weights cannot be had or do not fit,
    ModelError for a network that cannot be a backbone.
    """
    if not timm.is_model(name):
        raise UsageError(_unknown(name))
    if weights is not None:
        model = _created(name)
        loaded = _Loaded(*load_file(model, weights, name), origin="file")
    elif not pretrained:
        model = _created(name)
        loaded = _Loaded("random numbers", tensors_hash(model), "random")
    elif name in BACKBONES:
        model = _created(name)
        _load_embedded(model, name)
        info = BACKBONES[name]
        loaded = _Loaded(info.source, info.weights_sha256, info.origin, info.licence)
    else:
        model = _from_hub(name)
        facts = model.pretrained_cfg
        source = f"{facts.get('hf_hub_id') or facts.get('url')}, by way of timm"
        loaded = _Loaded(source, tensors_hash(model), "hub", facts.get("license") or "unknown")
    return FeatureNetwork(model, _info(name, model, loaded))


def tensors_hash(module: nn.Module) -> str:
    """SHA-256, 64 hexadecimal digits, of names, shapes and numbers of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(memoryview(raw.numpy()))
    return digest.hexdigest()


class _Loaded(NamedTuple):
    """Where weights came from. A file says nothing of its licence, so that is not known."""

    source: str
    sha256: str
    origin: Origin
    licence: str = "unknown"


def _created(name: str, *, pretrained: bool = False) -> Any:
    return timm.create_model(name, pretrained=pretrained, num_classes=0)


def _from_hub(name: str) -> Any:
    """timm reads safetensors, or torch files with `weights_only=True`; nothing is unpickled."""
    try:
        return _created(name, pretrained=True)
    except Exception as error:  # of the hub, of the connection, of timm: there is no common kind
        reason = str(error).strip().splitlines()
        raise WeightsError(
            f"the weights of {name} could not be had from the Hugging Face hub "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'}). "
            "Give a file of weights: --weights FILE"
        ) from error


def _load_embedded(model: nn.Module, name: str) -> None:
    """The package names its tensors differently, but they stand in the order of timm's."""
    kept = [
        torch.tensor(tensor)
        for key, tensor in embedded_weights(name).items()
        if not key.startswith("_fc.")
    ]
    state = {
        key: tensor.reshape(own.shape)
        for (key, own), tensor in zip(model.state_dict().items(), kept, strict=True)
    }
    model.load_state_dict(state)


def _info(name: str, model: Any, loaded: _Loaded) -> BackboneInfo:
    return BackboneInfo(
        name=name,
        licence=loaded.licence,
        source=loaded.source,
        origin=loaded.origin,
        weights_sha256=loaded.sha256,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        preprocess=_preprocess(name, model),
        any_size=not model.pretrained_cfg.get("fixed_input_size", False),
    )


def _preprocess(name: str, model: Any) -> PreprocessSpec:
    """What timm evaluates with, as far as a PreprocessSpec can say it.

    A few networks (20 of 3,394 in timm 1.0) are evaluated on the middle of a squished picture; they
    see all of it here. Nine are evaluated on a picture padded with its mean; here it is white.
    """
    if name in BACKBONES:
        return BACKBONES[name].preprocess
    config = resolve_model_data_config(model)
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        raise ModelError(
            f"{name} takes {config['input_size']}; expected three channels and a square"
        )
    known = config["interpolation"] in _INTERPOLATIONS
    spec = PreprocessSpec(
        size=height,
        fit=_FITS.get(config["crop_mode"], "crop"),
        crop_pct=min(1.0, config["crop_pct"]),
        interpolation=config["interpolation"] if known else "bicubic",
        mean=_three(config["mean"]),
        std=_three(config["std"]),
    )
    return replace(spec, crop_pct=1.0) if spec.fit != "crop" else spec


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def _stage_arguments(model: Any, name: str) -> dict[str, Any]:
    """Which intermediate maps to ask timm for."""
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "forward_head"):
        raise ModelError(f"timm gives no stages of {name}; use another network")
    if "extra_blocks" in inspect.signature(model.forward_intermediates).parameters:
        # timm counts a stage only where the map shrinks next; the embedded graphs have all of them.
        return {"indices": list(range(1, len(model.blocks) + 1)), "extra_blocks": True}
    facts = list(getattr(model.feature_info, "info", model.feature_info))
    if len({(fact["num_chs"], fact["reduction"]) for fact in facts}) == 1 < _DEPTHS < len(facts):
        # Blocks of one kind, as in a ViT: four of them, evenly spaced, the last one included.
        return {"indices": [len(facts) * i // _DEPTHS - 1 for i in range(1, _DEPTHS + 1)]}
    return {"indices": None}


def _mean_and_deviation(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Over places: (B, C, h, w) → twice (B, C)."""
    mean = maps.mean(dim=(2, 3), keepdim=True)
    variance = (maps - mean).square().mean(dim=(2, 3))
    return mean.flatten(1), variance.clamp_min(_LEAST_VARIANCE).sqrt()


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, [*BACKBONES, *timm.list_models()], n=5)
    hint = f"did you mean {', '.join(close)}?" if close else f"embedded are {', '.join(BACKBONES)}"
    return f"backbone {name!r} is unknown to timm {timm.__version__}; {hint}"
