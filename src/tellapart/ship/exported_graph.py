"""The graph of an exported model: preparation, the network that embedded, and the answers, joined.

Nothing is traced and nothing computed: the network's nodes and weights are those of its graph, byte for
byte, with nodes put before and behind.
"""

from collections.abc import Mapping
from typing import Final

from onnx import ModelProto, TensorProto, ValueInfoProto
from onnx.helper import (
    make_graph,
    make_model,
    make_opsetid,
    make_tensor_value_info,
    set_model_props,
)

from tellapart.evaluation.novelty import Novelty
from tellapart.model.nodes import Nodes
from tellapart.model.prepare_graph import add_preparation
from tellapart.model.preprocess import PreprocessSpec
from tellapart.ship.answer_graph import add_novelty, add_probabilities
from tellapart.ship.model_bytes import NO_SEAL, SEAL, seal
from tellapart.training.probe import Probe

__all__ = ["answering_graph", "picture_graph", "sealed"]

_OPSET: Final = 18
_BODY: Final = "tellapart/network/features"


def picture_graph(
    network: bytes, spec: PreprocessSpec, probe: Probe, novelty: Novelty | None
) -> ModelProto:
    """`image`, uint8 (H, W, 3) of any size → `probabilities` float32 (K,), `novelty` float32 (),
    `pixels` float32 (1, 3, S, S), what the network sees, and `features` float32 (D,).

    `network` is a serialised backbone graph. `novelty` is no output where there is no such score.
    Raises ModelError where the preprocessing cannot be part of a graph.
    """
    before, behind = Nodes("tellapart/prepare/"), Nodes("tellapart/answer/")
    add_preparation(before, "image", spec, "pixels")
    zero = behind.constant([0])
    rows = {"probabilities": add_probabilities(behind, _BODY, probe, "tellapart/probabilities")}
    if novelty is not None:
        rows["novelty"] = add_novelty(behind, _BODY, novelty, "tellapart/novelty")
    for name, row in {**rows, "features": _BODY}.items():
        behind.add("Squeeze", row, zero, output=name)
    shapes: dict[str, list[int | str]] = {
        "probabilities": [probe.weights.shape[1]], "novelty": [], "pixels": [1, 3, spec.size, spec.size],
        "features": ["D"],
    }  # fmt: skip
    outputs = [*rows, "pixels", "features"]
    image = make_tensor_value_info("image", TensorProto.UINT8, ["H", "W", 3])
    return _joined(network, [before, behind], image, {name: shapes[name] for name in outputs})


def answering_graph(
    network: bytes, spec: PreprocessSpec, probe: Probe, novelty: Novelty | None
) -> ModelProto:
    """The batch variant: `pixels` float32 (B, 3, S, S), as `PreprocessSpec.apply` gives them →
    `probabilities` (B, K), `novelty` (B,) and `features` (B, D)."""
    behind = Nodes("tellapart/answer/")
    add_probabilities(behind, _BODY, probe, "probabilities")
    shapes: dict[str, list[int | str]] = {"probabilities": ["B", probe.weights.shape[1]]}
    if novelty is not None:
        add_novelty(behind, _BODY, novelty, "novelty")
        shapes["novelty"] = ["B"]
    behind.add("Identity", _BODY, output="features")
    shapes["features"] = ["B", "D"]
    sides: list[int | str] = ["B", 3, spec.size, spec.size]
    pixels = make_tensor_value_info("pixels", TensorProto.FLOAT, sides)
    return _joined(network, [behind], pixels, shapes)


def sealed(model: ModelProto, metadata: Mapping[str, str]) -> bytes:
    """The serialised model with its metadata, and with a digest of all of it, so that a changed file is
    known. The same model gives the same bytes."""
    set_model_props(model, {**metadata, SEAL: NO_SEAL})
    return seal(model.SerializeToString(deterministic=True))


def _joined(
    network: bytes,
    around: list[Nodes],
    taken: ValueInfoProto,
    shapes: Mapping[str, list[int | str]],
) -> ModelProto:
    body = ModelProto.FromString(network).graph
    for node in body.node:  # the name `features` is the answer's
        node.input[:] = [_BODY if name == "features" else name for name in node.input]
        node.output[:] = [_BODY if name == "features" else name for name in node.output]
    used = {name for node in body.node for name in node.input}
    weights = [tensor for tensor in body.initializer if tensor.name in used]
    first = around[0].nodes if len(around) == 2 else []
    graph = make_graph(
        [*first, *body.node, *around[-1].nodes],
        "tellapart",
        [taken],
        [make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()],
        [*weights, *(tensor for nodes in around for tensor in nodes.constants)],
    )
    opset = make_opsetid("", _OPSET)
    return make_model(graph, opset_imports=[opset], ir_version=10, producer_name="tellapart")
