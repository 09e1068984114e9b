"""A graph whose layers compute in 8 bits, by pairs of QuantizeLinear and DequantizeLinear.

Every runtime understands these two, of the standard domain, and joins them with the node in between where
it has a kernel for that (ONNX Runtime, also in the browser; OpenVINO). Which numbers the integers stand
for is decided elsewhere (`int8.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from tellapart.ship.int8_layers import Layer, Wiring

__all__ = ["Grid", "Integers", "rewrite"]


@dataclass(frozen=True)
class Grid:
    """Which numbers an activation's 256 steps stand for: (step − zero) · scale."""

    scale: np.float32
    zero: np.uint8


@dataclass(frozen=True)
class Integers:
    """A layer's weights, int8 (O, I, h, w), with the scale (O,) of each output."""

    weight: NDArray[np.int8]
    scale: NDArray[np.float32]


def rewrite(
    model: ModelProto, layers: Mapping[str, tuple[Layer, Integers]], grids: Mapping[str, Grid]
) -> None:
    """Make the layers, by their names, compute in 8 bits, in place. `grids` are those of the activations
    before and behind them: under their old names are now the numbers on the grid, for all that reads
    them, maps and outputs included."""
    graph = model.graph
    read_before = {name for node in graph.node for name in node.input}
    behind = _folded(model, layers, grids)
    folded = set(behind.values())
    nodes = _Nodes(graph)
    for node in graph.node:
        if node.output[0] in folded:
            continue
        new = NodeProto()
        new.CopyFrom(node)
        given = [behind.get(name, name) for name in node.output]
        new.output[:] = [f"{name}/float" if name in grids else name for name in given]
        if node.output[0] in layers:
            layer, integers = layers[node.output[0]]
            nodes.use_integers(new, layer, integers, grids[layer.source])
        nodes.list.append(new)
        for name in given:
            if name in grids:
                nodes.quantise(name, grids[name])
    del graph.node[:]
    graph.node.extend(nodes.list)
    _drop_unread(graph, read_before)


def _folded(
    model: ModelProto, layers: Mapping[str, tuple[Layer, Integers]], grids: Mapping[str, Grid]
) -> dict[str, str]:
    """The values whose ReLU or Clip needs no node, since the grid behind it ends there; to what it gives."""
    behind = {name: layer.output for name, (layer, _) in layers.items() if layer.output != name}
    wiring = Wiring(model)
    for node in model.graph.node:
        if node.op_type == "Add" and all(name in grids for name in node.input):
            activation = wiring.activation_behind(node.output[0])
            if activation is not None and activation.output[0] in grids:
                behind[node.output[0]] = activation.output[0]
    return behind


class _Nodes:
    """Nodes and constants as they are added."""

    def __init__(self, graph: GraphProto) -> None:
        self.list: list[NodeProto] = []
        self._graph = graph

    def quantise(self, name: str, grid: Grid) -> None:
        """The value `name` from `name/float`, on its grid."""
        constants = [
            self._constant(f"{name}/scale", np.asarray(grid.scale)),
            self._constant(f"{name}/zero", np.asarray(grid.zero)),
        ]
        self._add("QuantizeLinear", [f"{name}/float", *constants], f"{name}/uint8")
        self._add("DequantizeLinear", [f"{name}/uint8", *constants], name)

    def use_integers(self, node: NodeProto, layer: Layer, integers: Integers, source: Grid) -> None:
        """Let a layer's node read its weights and its bias from integers."""
        name, scale = layer.name, integers.scale
        axis, weight = (
            (0, integers.weight) if layer.is_convolution else (1, integers.weight[:, :, 0, 0].T)
        )
        node.input[1] = self._dequantised(f"{name}/weight", weight, scale, axis)
        if layer.bias is not None:
            steps = source.scale * scale  # what one is worth in the sum of products
            bias = np.round(layer.bias.astype(np.float64) / steps).astype(np.int32)
            node.input[2] = self._dequantised(f"{name}/bias", bias, steps, 0)

    def _dequantised(
        self, name: str, integers: NDArray[Any], scale: NDArray[np.float32], axis: int
    ) -> str:
        inputs = [
            self._constant(f"{name}/integers", integers),
            self._constant(f"{name}/scale", scale),
            self._constant(f"{name}/zero", np.zeros(len(scale), integers.dtype)),
        ]
        return self._add("DequantizeLinear", inputs, f"{name}/float", axis=axis)

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        name = f"{output}/{op}"
        self.list.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output


def _drop_unread(graph: GraphProto, read_before: set[str]) -> None:
    """Without float weights and the bounds of ReLU6. What was never read stays: it is there for others."""
    read: set[str] = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if node.op_type not in ("Constant", "Identity") or read.intersection(node.output):
            kept.append(node)
            read.update(node.input)
    tensors = [t for t in graph.initializer if t.name in read or t.name not in read_before]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(tensors)
