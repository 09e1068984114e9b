"""The feature maps inside a backbone's graph: which values they are, and a graph that gives them out.

Whoever builds a graph writes down in its metadata which values are the maps, and how the final vector
comes of the last one. Nothing is computed for that, and the graph answers as it would without.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tellapart.errors import ModelError

__all__ = ["FinalRule", "MapGraph", "name_maps", "open_maps"]

_KEY: Final = "tellapart_maps"
_PREFIX: Final = "map_"
_NORM: Final = ("final_norm.scale", "final_norm.shift")

Form = Literal["channels_first", "channels_last", "tokens"]


@dataclass(frozen=True)
class FinalRule:
    """How the final vector (C,) comes of the map `final`.

    `form` says how the map lies: (C, h, w), (h, w, C) or, as `tokens`, (prefix + h · w, C). With `pooled`
    the vector is its mean over places, without the prefix; and then, with `normed`, it is normalised
    over channels, with a scale and a shift of each (Ba, Kiros & Hinton 2016). Without `pooled` it does
    not come of places alone, as that of a class token does not.
    """

    form: Form = "channels_first"
    pooled: bool = True
    prefix: int = 0
    normed: bool = False
    epsilon: float = 1e-6


@dataclass(frozen=True)
class MapGraph:
    """A serialised graph with the further outputs `map_final` and `map_stage0` …, and what is known of it.

    `norm` are scale and shift, float32 (C,), of the final vector's normalisation, where there is one.
    """

    graph: bytes
    names: tuple[str, ...]
    final: FinalRule
    norm: tuple[NDArray[np.float32], ...] = ()


def name_maps(
    model: ModelProto,
    values: Mapping[str, str],
    final: FinalRule,
    norm: Sequence[NDArray[np.float32]] = (),
) -> None:
    """Write into a graph's metadata which values are its maps: final, stage0, stage1 …

    `norm` are the scale and the shift (C,) of a final vector that is normalised.
    """
    for name, array in zip(_NORM, norm, strict=False):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    facts = {"values": dict(values), "final": asdict(final)}
    helper.set_model_props(model, {_KEY: json.dumps(facts, sort_keys=True)})


def open_maps(graph: bytes) -> MapGraph:
    """The same graph with its maps as outputs. Raises ModelError where none are named in it."""
    model = ModelProto.FromString(graph)
    values, final = _facts(model)
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, value in values.items():
        model.graph.node.append(helper.make_node("Identity", [value], [_PREFIX + name]))
        output = helper.make_tensor_value_info(_PREFIX + name, TensorProto.FLOAT, None)
        model.graph.output.append(output)
    norm = [numpy_helper.to_array(arrays[name]) for name in _NORM if name in arrays]
    return MapGraph(model.SerializeToString(), tuple(values), final, tuple(norm))


def _facts(model: ModelProto) -> tuple[dict[str, str], FinalRule]:
    try:
        facts: Any = json.loads(next(p.value for p in model.metadata_props if p.key == _KEY))
        return dict(facts["values"]), FinalRule(**facts["final"])
    except (StopIteration, KeyError, TypeError, ValueError):
        raise ModelError(
            "the network's graph does not say where its feature maps are, so that what it looks at "
            "cannot be shown. Convert or train it again with this version of tellapart"
        ) from None
