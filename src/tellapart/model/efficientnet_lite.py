"""EfficientNet-Lite (Tan & Le 2019; the Lite variants: Liu 2020) as an ONNX graph, from its weights.

Lite means: no squeeze-and-excitation, ReLU6 for swish, and the first and last stages keep their depth
when the network grows. Batch normalisation is folded into the convolutions. The padding is
TensorFlow's SAME, where a stride of two may pad one side more than the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tellapart.model.maps import FinalRule, name_maps

__all__ = ["STAGES", "build_efficientnet_lite", "feature_layout"]

Tensors = dict[str, NDArray[Any]]

_BN_EPSILON = 1e-3


@dataclass(frozen=True)
class Stage:
    """`repeats` blocks of one kind; `expand` is the factor by which a block widens inside."""

    repeats: int
    kernel: int
    stride: int
    expand: int


STAGES = (
    Stage(1, 3, 1, 1),
    Stage(2, 3, 2, 6),
    Stage(2, 5, 2, 6),
    Stage(3, 3, 2, 6),
    Stage(3, 5, 1, 6),
    Stage(4, 5, 2, 6),
    Stage(1, 3, 1, 6),
)


@dataclass(frozen=True)
class Block:
    stage: int
    index: int
    kernel: int
    stride: int
    expand: int


def _blocks(depth: float) -> Iterator[Block]:
    index = 0
    for number, stage in enumerate(STAGES):
        fixed = number in (0, len(STAGES) - 1)
        repeats = stage.repeats if fixed else int(np.ceil(stage.repeats * depth))
        for i in range(repeats):
            yield Block(number, index, stage.kernel, stage.stride if i == 0 else 1, stage.expand)
            index += 1


def feature_layout(tensors: Tensors, depth: float) -> tuple[tuple[str, int], ...]:
    """The parts of the feature vector, in order, with their lengths: the final one comes first."""
    channels = [
        (f"stage{block.stage}", tensors[f"_blocks.{block.index}._project_conv.weight"].shape[0])
        for block in _last_of_stages(depth)
    ]
    means = [(f"{name}_mean", n) for name, n in channels]
    deviations = [(f"{name}_std", n) for name, n in channels]
    return (("final", tensors["_conv_head.weight"].shape[0]), *means, *deviations)


def _last_of_stages(depth: float) -> list[Block]:
    return list({block.stage: block for block in _blocks(depth)}.values())


def build_efficientnet_lite(
    tensors: Tensors, depth: float, *, classifier: bool = False
) -> ModelProto:
    """The graph: `pixels` float32 (B, 3, H, W) → `features` float32 (B, D).

    With `classifier`, also `logits` (B, 1000) over the ImageNet classes. The maps before each pooling,
    of the final vector and of the stages 0 to 6, are named in it (`model/maps.py`).
    """
    graph = _Graph(tensors)
    x = graph.conv("pixels", "_conv_stem", "_bn0", stride=2, relu=True)
    last = {block.index: block.stage for block in _last_of_stages(depth)}
    stages: list[str] = []
    for block in _blocks(depth):
        x = graph.block(x, block)
        if block.index in last:
            stages.append(x)
    head = graph.conv(x, "_conv_head", "_bn1", relu=True)
    final = graph.pooled(head)
    means, deviations = graph.mean_and_deviation(stages)
    graph.add(
        "Flatten", [graph.add("Concat", [final, means, deviations], "parts", axis=1)], "features"
    )
    outputs: list[tuple[str, tuple[Any, ...]]] = [
        ("features", ("B", sum(n for _, n in feature_layout(tensors, depth))))
    ]
    if classifier:
        graph.constant("_fc.weight", tensors["_fc.weight"])
        graph.constant("_fc.bias", tensors["_fc.bias"])
        flat = graph.add("Flatten", [final], "final")
        graph.add("Gemm", [flat, "_fc.weight", "_fc.bias"], "logits", transB=1)
        outputs.append(("logits", ("B", tensors["_fc.weight"].shape[0])))
    model = graph.model(outputs)
    name_maps(model, {"final": head} | {f"stage{i}": x for i, x in enumerate(stages)}, FinalRule())
    return model


class _Graph:
    """Nodes and constants as they are added; every method returns the name of its output."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants[name] = np.ascontiguousarray(value)
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(
        self, x: str, conv: str, norm: str, *, stride: int = 1, groups: int = 1, relu: bool = False
    ) -> str:
        """Convolution with its normalisation folded in, then ReLU6 if asked."""
        weight, t = self.tensors[f"{conv}.weight"], self.tensors
        scale = t[f"{norm}.weight"] / np.sqrt(t[f"{norm}.running_var"] + _BN_EPSILON)
        bias = t[f"{norm}.bias"] - t[f"{norm}.running_mean"] * scale
        inputs = [
            x,
            self.constant(f"{conv}.weight", weight * scale[:, None, None, None]),
            self.constant(f"{conv}.bias", bias),
        ]
        kernel = list(weight.shape[2:])
        x = self.add(
            "Conv", inputs, conv, kernel_shape=kernel, strides=[stride] * 2, group=groups,
            auto_pad="SAME_UPPER",
        )  # fmt: skip
        if not relu:
            return x
        low = self.constant("zero", np.zeros((), np.float32))
        high = self.constant("six", np.full((), 6, np.float32))
        return self.add("Clip", [x, low, high], f"{conv}.relu6")

    def block(self, x: str, block: Block) -> str:
        """An inverted residual block; without expansion, a depthwise separable one."""
        name, inside = f"_blocks.{block.index}", x
        if block.expand > 1:
            inside = self.conv(x, f"{name}._expand_conv", f"{name}._bn0", relu=True)
        depthwise = f"{name}._depthwise_conv"
        groups = self.tensors[f"{depthwise}.weight"].shape[0]
        inside = self.conv(
            inside, depthwise, f"{name}._bn1", stride=block.stride, groups=groups, relu=True
        )
        out = self.conv(inside, f"{name}._project_conv", f"{name}._bn2")
        source = self.tensors.get(f"{name}._expand_conv.weight")
        same = (
            source is not None
            and source.shape[1] == self.tensors[f"{name}._project_conv.weight"].shape[0]
        )
        return self.add("Add", [out, x], f"{name}.sum") if same and block.stride == 1 else out

    def pooled(self, x: str) -> str:
        """The mean over places, (B, C, 1, 1)."""
        return self.add("GlobalAveragePool", [x], f"{x}.mean")

    def mean_and_deviation(self, maps: list[str]) -> tuple[str, str]:
        """Mean and standard deviation over places of all maps: sqrt(E[x²] − E[x]²)."""
        squares = [self.add("Mul", [x, x], f"{x}.square") for x in maps]
        first = self.add("Concat", [self.pooled(x) for x in maps], "mean", axis=1)
        second = self.add("Concat", [self.pooled(x) for x in squares], "mean_of_square", axis=1)
        square = self.add("Mul", [first, first], "square_of_mean")
        variance = self.add("Sub", [second, square], "difference")
        variance = self.add("Relu", [variance], "variance")  # rounding may go below zero
        return first, self.add("Sqrt", [variance], "deviation")

    def model(self, outputs: list[tuple[str, tuple[Any, ...]]]) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "efficientnet_lite",
            [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["B", 3, "H", "W"])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in outputs],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=10,
            producer_name="tellapart",
        )
