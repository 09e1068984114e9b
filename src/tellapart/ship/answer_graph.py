"""What stands behind the network, as nodes of a graph: probe, softmax, and the score for "none of these".

The same arithmetic as `Probe.probabilities` and `Novelty.scores`, in float32; standardisation and probe
are folded into one matrix. The temperature is in the probe's weights.
"""

import numpy as np

from tellapart.evaluation.novelty import NEIGHBOUR, Novelty, NoveltyBlock
from tellapart.model.nodes import Nodes
from tellapart.training.logistic import Array
from tellapart.training.probe import Probe

__all__ = ["add_novelty", "add_probabilities"]


def add_probabilities(nodes: Nodes, features: str, probe: Probe, output: str) -> str:
    """Nodes from `features`, float32 (B, at least D), to `output`, float32 (B, K)."""
    x = _columns(nodes, features, 0, len(probe.mean))
    if probe.hidden_weights is None or probe.hidden_bias is None:
        x = _linear(nodes, x, probe, probe.weights, probe.bias)
    else:
        inner = nodes.add("Relu", _linear(nodes, x, probe, probe.hidden_weights, probe.hidden_bias))
        weights, bias = nodes.constant(probe.weights), nodes.constant(probe.bias)
        x = nodes.add("Gemm", inner, weights, bias)
    return nodes.add("Softmax", x, axis=1, output=output)


def add_novelty(nodes: Nodes, features: str, novelty: Novelty, output: str) -> str:
    """Nodes from `features`, float32 (B, D), to `output`, float32 (B,): high is strange."""
    scores = [_block(nodes, features, block) for block in novelty.blocks.values()]
    every = nodes.add("Concat", *(name for block in scores for name in block), axis=1)
    scale = novelty.weights / novelty.scale
    shift = -float(np.dot(novelty.location.astype(np.float64), scale))
    weights = nodes.constant(scale.astype(np.float32)[:, None])
    answer = nodes.add("Gemm", every, weights, nodes.constant(np.full(1, shift, np.float32)))
    return nodes.add("Squeeze", answer, nodes.constant([1]), output=output)


def _linear(nodes: Nodes, x: str, probe: Probe, weights: Array, bias: Array) -> str:
    """(f − mean) / std · weights + bias as one matrix; folded in float64."""
    folded = weights.astype(np.float64) / probe.std.astype(np.float64)[:, None]
    shift = bias - probe.mean.astype(np.float64) @ folded
    matrix = nodes.constant(folded.astype(np.float32))
    return nodes.add("Gemm", x, matrix, nodes.constant(shift.astype(np.float32)))


def _columns(nodes: Nodes, features: str, start: int, count: int) -> str:
    bounds = nodes.constant([start]), nodes.constant([start + count])
    return nodes.add("Slice", features, *bounds, nodes.constant([1]))


def _block(nodes: Nodes, features: str, block: NoveltyBlock) -> list[str]:
    """The three scores of a block, (B, 1) each; see `NoveltyBlock.scores`."""
    x = _columns(nodes, features, block.start, len(block.mean))
    x = nodes.add("Sub", x, nodes.constant(block.mean))
    x = nodes.add("Mul", x, nodes.constant(block.scale))
    z = nodes.add("MatMul", x, nodes.constant(block.directions))
    outside = nodes.add("Relu", nodes.add("Sub", _squares(nodes, x), _squares(nodes, z)))
    k = min(NEIGHBOUR, len(block.neighbours))
    nearest = _distances(nodes, z, block.neighbours)
    values, _ = nodes.outputs("TopK", 2, nearest, nodes.constant([k]), axis=1, largest=0)
    last = [nodes.constant([edge]) for edge in (k - 1, k, 1)]
    near = nodes.add("Add", nodes.add("Slice", values, *last), outside)
    one = nodes.constant([1])
    means = nodes.constant(block.class_means[None])  # (1, K, R)
    to_means = nodes.add("Sub", nodes.add("Unsqueeze", z, one), means)  # (B, K, R)
    to_class = nodes.add("ReduceMin", _quadratic(nodes, to_means, block.within, 2), one, keepdims=1)
    from_centre = nodes.add("Sub", z, nodes.constant(block.centre))
    to_all = nodes.add("Unsqueeze", _quadratic(nodes, from_centre, block.total, 1), one)
    relative = nodes.add("Sub", to_class, to_all)
    if len(block.class_means) == 1:
        relative = nodes.add("Sub", to_class, to_class)
    return [near, to_class, relative]


def _squares(nodes: Nodes, x: str) -> str:
    return nodes.add("ReduceSum", nodes.add("Mul", x, x), nodes.constant([1]), keepdims=1)


def _distances(nodes: Nodes, z: str, others: Array) -> str:
    """Squared, (B, M)."""
    twice = nodes.add("MatMul", z, nodes.constant(np.ascontiguousarray(-2 * others.T)))
    own = nodes.constant(np.einsum("md,md->m", others, others)[None])
    return nodes.add("Relu", nodes.add("Add", nodes.add("Add", twice, _squares(nodes, z)), own))


def _quadratic(nodes: Nodes, x: str, inverse: Array, axis: int) -> str:
    """xᵀ · inverse · x over the last axis, which goes."""
    product = nodes.add("Mul", nodes.add("MatMul", x, nodes.constant(inverse)), x)
    return nodes.add("ReduceSum", product, nodes.constant([axis]), keepdims=0)
