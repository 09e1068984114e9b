"""From a torch network to a graph of the Backbone contract, held against torch before it is used.

torch's older exporter is used (see docs/decisions, 16), which traces the network once.
"""

import copy
import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tellapart.errors import ModelError
from tellapart.finetuning.final_rule import final_rule
from tellapart.finetuning.network import FeatureNetwork, load_network
from tellapart.model.backbone import Backbone, BackboneInfo
from tellapart.model.backbones import keep_conversion
from tellapart.model.maps import FinalRule, name_maps
from tellapart.model.runtime import open_session

__all__ = ["MOST_ERROR", "as_backbone", "convert"]

MOST_ERROR = 1e-4
"""The largest difference between the graph and torch, relative to the largest feature."""

_OPSET = 18
_MOST_PARAMETERS = 500_000_000  # an ONNX graph in one piece has less than 2 GiB


def convert(name: str, weights: Path | None = None) -> Backbone:
    """The backbone `name`, converted and kept in the cache, where `open_backbone` finds it.

    Raises what `load_network` and `as_backbone` raise.
    """
    backbone = as_backbone(load_network(name, weights))
    keep_conversion(backbone)
    return backbone


def as_backbone(network: FeatureNetwork, info: BackboneInfo | None = None) -> Backbone:
    """The network as an ONNX graph, in evaluation mode and float32; the network is left as it is.

    `info` replaces the network's own, for instance after training. A network that takes any size
    gives a graph that does, where that can be traced.

    Raises ModelError where the network cannot be exported or the graph disagrees with it.
    """
    info = info or network.info
    if info.parameters > _MOST_PARAMETERS:
        raise ModelError(
            f"{info.name} has {info.parameters:,} parameters; at most {_MOST_PARAMETERS:,} fit into "
            "a graph"
        )
    plain = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    try:
        graph = _checked(plain, info)
    except ModelError:
        if not info.any_size:
            raise
        info = replace(info, any_size=False)
        graph = _checked(plain, info)
    return Backbone(info, graph, hashlib.sha256(graph).hexdigest(), network.layout)


def _checked(network: FeatureNetwork, info: BackboneInfo) -> bytes:
    graph = _exported(network, info)
    size = info.preprocess.size
    shapes = [(1, size), (2, size), *([(1, size + 33)] if info.any_size else [])]
    session = open_session(graph, workers=1)
    generator = torch.Generator().manual_seed(0)
    for count, side in shapes:
        pixels = torch.randn(count, 3, side, side, generator=generator)
        try:
            with torch.inference_mode():
                expected = network(pixels).numpy()
            found = session.run(pixels.numpy())["features"]
        except Exception as error:  # of a network that takes only some sizes, or of ONNX Runtime
            raise ModelError(f"{info.name} does not run on {count} × {side} px: {error}") from None
        if not np.isfinite(expected).all():
            raise ModelError(
                f"{info.name} gives features that are no finite numbers; are its weights damaged?"
            )
        difference = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))
        if found.shape != expected.shape or not difference <= MOST_ERROR:
            raise ModelError(
                f"the graph of {info.name} disagrees with torch: at {count} × {side} px by {difference:.1e} "
                f"of the largest feature; at most {MOST_ERROR:.0e} is accepted. Use another network"
            )
    return graph


class _WithMaps(nn.Module):
    """The network with its maps beside its features, so that the exporter names them."""

    def __init__(self, network: FeatureNetwork) -> None:
        super().__init__()
        self.model, self.network = network.model, network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        last, stages = self.network.maps(pixels)
        return self.network.features_of(last, stages), last, *stages


def _exported(network: FeatureNetwork, info: BackboneInfo) -> bytes:
    """The serialised graph; the count of pictures is free, and the size where `any_size` says so."""
    size = info.preprocess.size
    free = {0: "B", 2: "H", 3: "W"} if info.any_size else {0: "B"}
    count = sum(name.endswith("_mean") for name, _ in network.layout)
    names = ["final", *(f"stage{i}" for i in range(count))]
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            # That the exporter is the older one is known; where tracing went wrong, the check tells.
            for kind in (DeprecationWarning, UserWarning, torch.jit.TracerWarning):
                warnings.simplefilter("ignore", kind)
            torch.onnx.export(
                _WithMaps(network).eval(),
                (torch.randn(2, 3, size, size),),
                file,
                dynamo=False,
                opset_version=_OPSET,
                input_names=["pixels"],
                output_names=["features", *(f"of_{name}" for name in names)],
                dynamic_axes={"pixels": free, "features": {0: "B"}},
            )
    except Exception as error:  # the exporter has many kinds
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{info.name} cannot be exported: {lines[0]}") from error
    return _with_named_maps(onnx.load_from_string(file.getvalue()), names, *final_rule(network))


def _with_named_maps(
    model: onnx.ModelProto,
    names: Sequence[str],
    rule: FinalRule,
    norm: Sequence[NDArray[np.float32]],
) -> bytes:
    """The maps are named in the graph, and are no outputs of it."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    values = {}
    for name in names:
        values[name] = f"of_{name}"
        while (node := made_by[values[name]]).op_type == "Identity":
            values[name] = node.input[0]
            model.graph.node.remove(node)
    del model.graph.output[1:]
    name_maps(model, values, rule, norm)
    return model.SerializeToString(deterministic=True)
