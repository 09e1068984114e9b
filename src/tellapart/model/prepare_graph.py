"""A `PreprocessSpec` as nodes of a graph: from decoded pixels of any size to what the network takes.

Sizes are computed in the graph as `PreprocessSpec.resize` computes them. ONNX's antialiased Resize of
uint8, with windows cut at the edges (`exclude_outside`), rounds after each direction as Pillow does; of
60 pictures 1 value in 7,000 differs, by 1 or 2 of 255. It knows no Lanczos.
"""

import numpy as np

from tellapart.errors import ModelError
from tellapart.model.nodes import Nodes
from tellapart.model.preprocess import LONGEST, PreprocessSpec

__all__ = ["add_preparation"]

_MODES = {"bicubic": "cubic", "bilinear": "linear"}


def add_preparation(nodes: Nodes, image: str, spec: PreprocessSpec, output: str) -> str:
    """Nodes from `image`, uint8 (H, W, 3), to `output`, float32 (1, 3, size, size).

    Raises ModelError for an interpolation that ONNX has not.
    """
    if spec.interpolation not in _MODES:
        raise ModelError(
            f"ONNX has no {spec.interpolation} interpolation, so that the file would answer otherwise "
            f"than the run. Train with a backbone that takes {' or '.join(_MODES)}"
        )
    square = {"crop": _crop, "pad": _pad, "squish": _squish}[spec.fit](nodes, image, spec)
    mean, std = (
        nodes.constant((np.float32(255) * np.asarray(values, np.float32)).reshape(1, 3, 1, 1))
        for values in (spec.mean, spec.std)
    )
    values = nodes.add("Cast", square, to=1)  # float32
    return nodes.add("Div", nodes.add("Sub", values, mean), std, output=output)


def _crop(nodes: Nodes, image: str, spec: PreprocessSpec) -> str:
    """The shorter side to `shorter_side`, then the centre; of a thin line the middle alone."""
    two, size = nodes.constant([2]), nodes.constant([spec.size])
    sides = _sides(nodes, image)
    longest = nodes.add("Mul", _least(nodes, sides), nodes.constant([LONGEST]))
    over = nodes.add("Max", nodes.add("Sub", sides, longest), nodes.constant([0]))
    start = nodes.add("Div", over, two)
    image = nodes.add("Slice", image, start, nodes.add("Sub", sides, start), nodes.constant([0, 1]))
    sides = _sides(nodes, image)
    longer = nodes.add("Mul", sides, nodes.constant([spec.shorter_side]))
    target = nodes.add("Div", longer, _least(nodes, sides))
    resized = _resize(nodes, image, target, spec)
    rest = nodes.add("Cast", nodes.add("Sub", target, size), to=1)
    half = nodes.add("Round", nodes.add("Mul", rest, nodes.constant(np.full(1, 0.5, np.float32))))
    start = nodes.add("Cast", half, to=7)  # int64; halves went to even numbers, as in Python
    return nodes.add("Slice", resized, start, nodes.add("Add", start, size), nodes.constant([2, 3]))


def _pad(nodes: Nodes, image: str, spec: PreprocessSpec) -> str:
    """The longer side to `size`, then white around."""
    sides = nodes.add("Cast", _sides(nodes, image), to=11)  # float64, as Python computes
    scale = nodes.add("Div", nodes.constant(np.full(1, spec.size, np.float64)), _most(nodes, sides))
    rounded = nodes.add("Cast", nodes.add("Round", nodes.add("Mul", sides, scale)), to=7)
    target = nodes.add("Max", rounded, nodes.constant([1]))
    resized = _resize(nodes, image, target, spec)
    rest = nodes.add("Sub", nodes.constant([spec.size]), target)
    before = nodes.add("Div", rest, nodes.constant([2]))
    none = nodes.constant([0, 0])
    pads = nodes.add("Concat", none, before, none, nodes.add("Sub", rest, before), axis=0)
    return nodes.add("Pad", resized, pads, nodes.constant(np.uint8(255)))


def _squish(nodes: Nodes, image: str, spec: PreprocessSpec) -> str:
    return _resize(nodes, image, nodes.constant([spec.size, spec.size]), spec)


def _sides(nodes: Nodes, image: str) -> str:
    """Height and width, int64 (2,)."""
    return nodes.add("Shape", image, start=0, end=2)


def _least(nodes: Nodes, sides: str) -> str:
    return nodes.add("ReduceMin", sides, nodes.constant([0]), keepdims=1)


def _most(nodes: Nodes, sides: str) -> str:
    return nodes.add("ReduceMax", sides, nodes.constant([0]), keepdims=1)


def _resize(nodes: Nodes, image: str, target: str, spec: PreprocessSpec) -> str:
    """(H, W, 3) → (1, 3, h, w), both uint8; `target` is int64 (2,)."""
    channels_first = nodes.add("Transpose", image, perm=[2, 0, 1])
    four = nodes.add("Unsqueeze", channels_first, nodes.constant([0]))
    sizes = nodes.add("Concat", nodes.constant([1, 3]), target, axis=0)
    return nodes.add(
        "Resize", four, "", "", sizes, mode=_MODES[spec.interpolation], antialias=1,
        cubic_coeff_a=-0.5, exclude_outside=1,
    )  # fmt: skip
