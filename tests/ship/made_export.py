"""Exported files that no training has made: a network of averages, classes and thresholds as needed."""

import json
from pathlib import Path

import numpy as np
from onnx import GraphProto, TensorProto, numpy_helper
from onnx.helper import (
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor_value_info,
)

from tellapart.model.preprocess import PreprocessSpec
from tellapart.ship.exported import FACTS, FORMAT
from tellapart.ship.exported_graph import picture_graph, sealed
from tellapart.training.probe import Probe

SIDE = 64
ROWS = 3000
METRICS = {"n": 300, "errors": 6, "accuracy": 0.98, "accuracy_low": 0.957, "accuracy_high": 0.991}
RULE = {
    "sure_from": 0.81, "target_error": 0.05, "strange_from": None, "kept": None, "possible_from": 0.12,
}  # fmt: skip


def made_export(
    file: Path,
    classes: tuple[str, ...] = ("red", "green", "blue"),
    *,
    seed: int = 0,
    sharpness: float = 3.0,
    strange_from: float | None = None,
    **facts: object,
) -> Path:
    """Write a model whose first three classes are the colours of most, and whose answer hangs on where in
    the picture they are, so that a turned one gets another. Its novelty, if `strange_from` is given, is how
    bright the darkest colour of a quarter is, from −1 to 1, and a picture of `ROWS` rows breaks it. `facts`
    replace what the file says of itself."""
    spec = PreprocessSpec(SIDE)
    graph = picture_graph(_averages(), spec, _probe(len(classes), seed, sharpness), None)
    if strange_from is not None:
        _add_darkest(graph.graph)
    said = {
        "format": FORMAT, "takes": "image", "name": "colours", "classes": list(classes),
        "preprocess": spec.to_json(),
        "rule": {**RULE, "strange_from": strange_from, "kept": 0.99 if strange_from is not None else None},
        "curve": None, "metrics": {"valid": METRICS}, "precision": "float32",
        "backbone": {"name": "averages", "licence": "Apache-2.0", "source": "made for a test"},
        "dataset": {"fingerprint": "0", "counts": {"train": dict.fromkeys(classes, 100)}},
        "versions": {"tellapart": "0.1.0"},
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(sealed(graph, {FACTS: json.dumps({**said, **facts})}))
    return file


def _add_darkest(graph: GraphProto) -> None:
    graph.initializer.append(numpy_helper.from_array(np.zeros(ROWS, np.float32), "zeros"))
    graph.node.extend(
        [
            make_node("ReduceMin", ["features"], ["darkest"], keepdims=0),
            make_node("Shape", ["image"], ["rows"], start=0, end=1),
            make_node("Gather", ["zeros", "rows"], ["zero"]),  # out of range from ROWS on
            make_node("Squeeze", ["zero"], ["nothing"]),
            make_node("Add", ["darkest", "nothing"], ["novelty"]),
        ]
    )
    graph.output.append(make_tensor_value_info("novelty", TensorProto.FLOAT, []))


def _averages() -> bytes:
    """(1, 3, SIDE, SIDE) → (1, 12): the mean of each colour in each quarter."""
    half = SIDE // 2
    pool = make_node(
        "AveragePool", ["pixels"], ["quarters"], kernel_shape=[half, half], strides=[half, half]
    )
    nodes = [pool, make_node("Flatten", ["quarters"], ["features"])]
    pixels = make_tensor_value_info("pixels", TensorProto.FLOAT, ["B", 3, SIDE, SIDE])
    features = make_tensor_value_info("features", TensorProto.FLOAT, ["B", 12])
    graph = make_graph(nodes, "averages", [pixels], [features])
    return make_model(graph, opset_imports=[make_opsetid("", 18)]).SerializeToString()


def _probe(classes: int, seed: int, sharpness: float) -> Probe:
    generator = np.random.default_rng(seed)
    weights = generator.normal(0, 0.5, (12, classes)).astype(np.float32)
    for k in range(min(3, classes)):
        weights[4 * k : 4 * k + 4, k] += 1
    one, none = np.ones(12, np.float32), np.zeros(12, np.float32)
    return Probe("all", none, one, sharpness * weights, np.zeros(classes, np.float32))
