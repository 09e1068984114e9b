"""The layers that can compute in 8 bits: convolutions and matrix products with weights of their own.

A matrix product is looked at as a convolution of 1 × 1: its rows are the places. A dense layer of many
inputs is divided into blocks of whole channels, whose weights are rounded without regard to one
another, so that second moments stay small. It does not know of convolutions other than in two dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

__all__ = ["Layer", "Wiring", "find_layers"]

Array = NDArray[np.float32]

_BLOCK: Final = 320  # inputs
_DENSE_LIMIT: Final = 64  # 2 · 255 · 64 is below 2¹⁵: pairs of products do not saturate
_DEPTHWISE_LIMIT: Final = 127  # each output has one channel, and its kernels add in 32 bits


@dataclass(frozen=True)
class Layer:
    """A node that multiplies by constant weights, and what is needed to round them.

    `source` and `output` name the values before and behind it, the latter with its ReLU or Clip. `weight`
    is float32 (O, I, h, w), `bias` (O,) or None. `attributes` are those of a convolution; a matrix
    product has none.
    """

    node: NodeProto
    source: str
    output: str
    weight: Array
    bias: Array | None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The value that the node itself gives, which no other node does."""
        return self.node.output[0]

    @property
    def is_convolution(self) -> bool:
        return self.node.op_type == "Conv"

    @property
    def quantised_values(self) -> tuple[str, ...]:
        """The activations in 8 bits. What a matrix product gives stays float: what comes next is no
        layer, but a sum, a normalisation or a softmax."""
        return (self.source, self.output) if self.is_convolution else (self.source,)

    @property
    def groups(self) -> int:
        return int(self.attributes.get("group", 1))

    @property
    def limit(self) -> int:
        """The largest integer that stands for a weight."""
        outputs, inputs = self.weight.shape[:2]
        depthwise = inputs == 1 and outputs == self.groups > 1
        return _DEPTHWISE_LIMIT if depthwise else _DENSE_LIMIT

    @property
    def _blocks(self) -> int:
        """Into how many parts the inputs of each group are divided."""
        channels, places = self.weight.shape[1], self.weight[0, 0].size
        fitting = (n for n in range(1, channels + 1) if channels % n == 0)
        return next((n for n in fitting if channels // n * places <= _BLOCK), channels)

    def by_block(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Weights (O, I, h, w) as (G, O', I'), a part of the inputs in each."""
        groups, blocks = self.groups, self._blocks
        parts = weight.reshape(groups, len(weight) // groups, blocks, -1)
        return parts.swapaxes(1, 2).reshape(groups * blocks, len(weight) // groups, -1)

    def whole(self, blocks: NDArray[Any]) -> NDArray[Any]:
        """The reverse of `by_block`."""
        parts = blocks.reshape(self.groups, self._blocks, *blocks.shape[1:])
        return parts.swapaxes(1, 2).reshape(self.weight.shape)

    def scale_by_block(self, scale: Array) -> Array:
        """A number (O,) for each output as (G, O', 1)."""
        return np.repeat(scale.reshape(self.groups, -1, 1), self._blocks, axis=0)

    def sizes(self, values: Array) -> tuple[int, int]:
        """At how many places the layer computes, as rows and columns."""
        if not self.is_convolution:
            return values.size // values.shape[-1], 1
        return self._windows(values).shape[1:3]

    def inputs(self, values: Array, count: int, random: np.random.Generator) -> Array:
        """What the weights are multiplied with at some places, (G, N, I') in the order of `by_block`.

        `values` are those of `source`, for one picture; N is at most `count`.
        """
        windows = self._windows(values)
        height, width = windows.shape[1:3]
        places = random.integers(0, height * width, min(count, height * width))
        chosen = windows[:, places // width, places % width]
        parts = chosen.reshape(self.groups * self._blocks, -1, len(places), chosen[0, 0].size)
        return parts.swapaxes(1, 2).reshape(len(parts), len(places), -1)

    def _windows(self, values: Array) -> Array:
        """The inputs at each place, a view (C, rows, columns, h, w)."""
        if not self.is_convolution:
            rows = values.reshape(-1, values.shape[-1])
            return rows.T[:, :, None, None, None]
        image, kernel = values[0], self.weight.shape[2:]
        strides = self.attributes.get("strides", [1, 1])
        apart = self.attributes.get("dilations", [1, 1])
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, apart, strict=True)]
        padded = np.pad(image, [(0, 0), *self._padding(image.shape[1:], reach, strides)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach, (1, 2))
        return windows[:, :: strides[0], :: strides[1], :: apart[0], :: apart[1]]

    def _padding(
        self, sides: tuple[int, ...], reach: list[int], strides: list[int]
    ) -> list[tuple[int, int]]:
        """Before and behind, for rows and columns."""
        automatic = self.attributes.get("auto_pad", b"NOTSET")
        if automatic == b"NOTSET":
            top, left, bottom, right = self.attributes.get("pads", [0] * 4)
            return [(top, bottom), (left, right)]
        if automatic == b"VALID":
            return [(0, 0), (0, 0)]
        answer = []
        for side, length, stride in zip(sides, reach, strides, strict=True):
            missing = max(0, (-(-side // stride) - 1) * stride + length - side)
            less, more = missing // 2, missing - missing // 2
            answer.append((less, more) if automatic == b"SAME_UPPER" else (more, less))
        return answer


class Wiring:
    """Who reads which value of a graph, and which values are constant."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self._readers: dict[str, list[NodeProto]] = {}
        self._constants: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self._outputs = {value.name for value in graph.output}
        self._metadata = [prop.value for prop in model.metadata_props]
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t
            elif node.op_type == "Identity" and node.input[0] in self._constants:
                self._constants[node.output[0]] = self._constants[node.input[0]]

    def constant(self, name: str) -> NDArray[Any] | None:
        """The constant of that name; None where there is none or the value depends on the pixels."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def activation_behind(self, name: str) -> NodeProto | None:
        """The ReLU or Clip that alone reads a value and cuts no further than at zero, so that the ends of a
        grid, which holds zero, do the same. None also where others know the value by its name."""
        readers = self._readers.get(name, [])
        if len(readers) != 1 or name in self._outputs:
            return None
        if any(f'"{name}"' in text for text in self._metadata):  # a map (model/maps.py)
            return None
        return readers[0] if self._keeps_zero(readers[0]) else None

    def _keeps_zero(self, node: NodeProto) -> bool:
        if node.op_type == "Relu":
            return True
        if node.op_type != "Clip":
            return False
        zero = np.zeros(())
        low, high = (
            self.constant(node.input[i]) if len(node.input) > i and node.input[i] else zero
            for i in (1, 2)
        )
        return low is not None and high is not None and bool(low <= 0 <= high)


def find_layers(model: ModelProto, first: str) -> Iterator[Layer]:
    """The layers that can compute in 8 bits, but for those that read the graph's input `first`."""
    wiring = Wiring(model)
    for node in model.graph.node:
        if node.op_type not in ("Conv", "MatMul") or node.input[0] == first:
            continue
        weight, *bias = (wiring.constant(name) for name in node.input[1:])
        if weight is None or weight.dtype != np.float32 or any(b is None for b in bias):
            continue
        if wiring.constant(node.input[0]) is not None:
            continue
        source, name = node.input[0], node.output[0]
        if node.op_type == "MatMul" and weight.ndim == 2:
            yield Layer(node, source, name, weight.T[:, :, None, None], None)
        elif node.op_type == "Conv" and weight.ndim == 4:
            activation = wiring.activation_behind(name)
            output = name if activation is None else activation.output[0]
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            yield Layer(node, source, output, weight, bias[0] if bias else None, attributes)
