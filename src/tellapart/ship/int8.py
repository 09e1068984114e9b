"""A backbone's graph in 8 bits: static quantisation that every runtime understands.

Activations become uint8 and weights int8 for each output (Jacob et al. 2018). Pictures say how far each
value reaches, and how the inputs of a layer go together, by which its weights are rounded
(`int8_rounding.py`). Weights of dense layers keep within ±64: processors without VNNI add products in
pairs, in 16 bits, and would saturate beyond that, so that another machine would give another answer.
ONNX Runtime's own quantiser rounds each weight to the nearest, has one limit for dense and depthwise
layers alike, and loses more (docs/benchmarks.md compares them).

The layer that sees the pixels stays float: eight bits would put each pixel half-way between two steps, and
be no faster. So does all that is no convolution or matrix product, and a layer with a single place. What
the smaller numbers cost is not known here; `int8_gate.py` says it.
"""

from collections.abc import Callable, Iterable
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from tellapart.errors import ModelError
from tellapart.model.runtime import open_session
from tellapart.ship.int8_layers import Layer, find_layers
from tellapart.ship.int8_nodes import Grid, Integers, rewrite
from tellapart.ship.int8_rounding import round_weights

__all__ = ["quantise"]

_INPUT: Final = "pixels"
_USUAL: Final = 0.95
"""A range reaches to the least and the greatest value of this share of the pictures. What lies further
out in single ones is cut off: it would make all steps coarser."""

_PLACES: Final = 256  # of each picture's map, drawn at random for the second moments
_MOST_BIAS: Final = float(1 << 30)  # in int32, with as much again for the products
_FLOAT: Final = "Export it as float32"

Progress = Callable[[str, int, int], None]


def quantise(
    graph: bytes, pictures: Iterable[NDArray[np.float32]], *, progress: Progress | None = None
) -> bytes:
    """The graph with its convolutions and matrix products in 8 bits; inputs and outputs stay as they are.

    `graph` is a serialised backbone, `pixels` float32 (B, 3, H, W) → `features` float32 (B, D).
    `pictures`, float32 (1, 3, H, W) each and prepared for it, are taken one at a time, once; 64 of those
    that it is trained on are enough. The same graph and pictures give the same bytes. `progress` is
    called as `progress("round", done, total)` for the layers; the pictures are the caller's to count.

    Raises ModelError where there is no picture, for a graph that cannot be read or has nothing to
    quantise, and for values that are no finite numbers; ValueError for arrays of another kind.

    >>> from tellapart.model.backbones import open_backbone
    >>> network = open_backbone("tf_efficientnet_lite0")
    >>> noise = np.random.default_rng(0).uniform(-1, 1, (2, 1, 3, 64, 64)).astype(np.float32)
    >>> len(network.graph) / len(quantise(network.graph, noise)) > 3
    True
    """
    from threadpoolctl import threadpool_limits

    model = _opened(graph)
    report = progress or (lambda stage, done, total: None)
    with threadpool_limits(1, user_api="blas"):  # sums may differ with the number of threads
        seen = _Seen(list(find_layers(model, _INPUT)))
        seen.look(model, pictures)
        layers = [layer for layer in seen.layers if seen.places[layer.name] > 1]
        if not layers:
            raise ModelError(
                "there is nothing to quantise in the network's graph: behind its first layer is no "
                f"convolution or matrix product with weights of its own. {_FLOAT}"
            )
        grids = {name: seen.grid(name) for layer in layers for name in layer.quantised_values}
        chosen = {}
        for done, layer in enumerate(layers, 1):
            chosen[layer.name] = layer, _rounded(layer, grids[layer.source], seen.moments(layer))
            report("round", done, len(layers))
    rewrite(model, chosen, grids)
    answer = model.SerializeToString(deterministic=True)
    features = open_session(answer, workers=1).run(seen.last)["features"]
    if not np.isfinite(features).all():
        raise ModelError(f"in 8 bits the network gives numbers that are not finite. {_FLOAT}")
    return answer


def _opened(graph: bytes) -> ModelProto:
    try:
        model = ModelProto.FromString(graph)
    except Exception:  # protobuf's own kind, which has no types
        model = ModelProto()
    inputs = [value.name for value in model.graph.input]
    if inputs != [_INPUT]:
        raise ModelError(
            f"expected an ONNX graph with the one input {_INPUT!r}, as a backbone's is; got "
            f"{inputs or 'none'}. Give Backbone.graph"
        )
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            raise ModelError("the graph computes in 8 bits already. Give the one in float32")
        if any(attribute.HasField("g") for attribute in node.attribute):
            raise ModelError(
                f"the network's graph has branches ({node.op_type}), which cannot be quantised. {_FLOAT}"
            )
    return model


class _Seen:
    """What the pictures say of the layers, gathered one picture at a time.

    Memory holds one picture's activations, two numbers for each picture and activation, and the second
    moments of each layer's inputs.
    """

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.places = dict.fromkeys((layer.name for layer in layers), 0)
        self.last: NDArray[np.float32]
        self._count = 0
        self._names = sorted({name for layer in layers for name in layer.quantised_values})
        self._least: dict[str, list[float]] = {name: [] for name in self._names}
        self._greatest: dict[str, list[float]] = {name: [] for name in self._names}
        self._products: dict[str, NDArray[np.float64]] = {}
        self._random = np.random.default_rng(0)

    def look(self, model: ModelProto, pictures: Iterable[NDArray[np.float32]]) -> None:
        """Raises ModelError without a picture, and where values are not finite."""
        session = open_session(_with_outputs(model, self._names), workers=1)
        for pixels in pictures:
            if pixels.dtype != np.float32 or pixels.ndim != 4 or pixels.shape[:2] != (1, 3):
                raise ValueError(
                    f"expected float32 (1, 3, H, W), got {pixels.dtype} {pixels.shape}"
                )
            values = session.run(pixels)
            for name in self._names:
                self._add_ends(name, values[name])
            for layer in self.layers:
                self._add_products(layer, values[layer.source])
            self._count, self.last = self._count + 1, pixels
        if not self._count:
            raise ModelError(
                "there is no picture to learn the ranges of 8 bits from; give some of the training part"
            )

    def _add_ends(self, name: str, values: NDArray[np.float32]) -> None:
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise ModelError(
                f"the network gives numbers that are not finite, at {name}; are its weights damaged?"
            )
        self._least[name].append(low)
        self._greatest[name].append(high)

    def _add_products(self, layer: Layer, values: NDArray[np.float32]) -> None:
        self.places[layer.name] = max(self.places[layer.name], prod(layer.sizes(values)))
        inputs = layer.inputs(values, _PLACES, self._random)
        products = (inputs.swapaxes(1, 2) @ inputs / inputs.shape[1]).astype(np.float64)
        if layer.name in self._products:
            self._products[layer.name] += products
        else:
            self._products[layer.name] = products

    def moments(self, layer: Layer) -> NDArray[np.float64]:
        """The mean products of the layer's inputs, (G, I', I'), in the order of `Layer.by_block`."""
        return self._products[layer.name] / self._count

    def grid(self, name: str) -> Grid:
        """The steps of an activation. Zero is always one, since padding is zero and ReLU ends there."""
        low = min(0.0, float(np.quantile(self._least[name], 1 - _USUAL)))
        high = max(0.0, float(np.quantile(self._greatest[name], _USUAL)))
        scale = (high - low) / 255 or 1 / 255
        return Grid(np.float32(scale), np.uint8(round(-low / scale)))


def _with_outputs(model: ModelProto, names: Iterable[str]) -> bytes:
    """The graph with some of its values, float32, as further outputs."""
    wider = ModelProto()
    wider.CopyFrom(model)
    for name in names:
        wider.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return wider.SerializeToString()


def _rounded(layer: Layer, source: Grid, moments: NDArray[np.float64]) -> Integers:
    """The layer's weights as integers, those of each output on a scale of their own."""
    scale = np.abs(layer.weight).max(axis=(1, 2, 3)) / layer.limit
    if layer.bias is not None:  # it is counted in steps of both, and has to fit into int32
        scale = np.maximum(scale, np.abs(layer.bias) / (float(source.scale) * _MOST_BIAS))
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    weight, by_block = layer.by_block(layer.weight), layer.scale_by_block(scale)
    return Integers(layer.whole(round_weights(weight, moments, by_block, layer.limit)), scale)
