"""Preprocessing inside a graph gives the pixels that Pillow gives, for pictures of any shape."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from onnx.helper import make_graph, make_model, make_opsetid, make_tensor_value_info
from PIL import Image

from tellapart.errors import ModelError
from tellapart.model.nodes import Nodes
from tellapart.model.prepare_graph import add_preparation
from tellapart.model.preprocess import PreprocessSpec

SPECS = {
    f"{fit}-{interpolation}": PreprocessSpec(
        size=48, fit=fit, crop_pct=crop_pct, interpolation=interpolation, mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.25, 0.3),
    )
    for fit in ("crop", "pad", "squish")
    for interpolation, crop_pct in (("bicubic", 0.875), ("bilinear", 0.95))
}  # fmt: skip


def session_of(spec):
    nodes = Nodes("prepare/")
    add_preparation(nodes, "image", spec, "pixels")
    graph = make_graph(
        nodes.nodes, "prepare",
        [make_tensor_value_info("image", TensorProto.UINT8, ["H", "W", 3])],
        [make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, spec.size, spec.size])],
        nodes.constants,
    )  # fmt: skip
    model = make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString())


SESSIONS = {name: session_of(spec) for name, spec in SPECS.items()}


def levels_apart(name, pixels):
    """The differences from Pillow, in grey levels."""
    found = SESSIONS[name].run(None, {"image": pixels})[0]
    expected = SPECS[name].apply(Image.fromarray(pixels))
    assert found.shape == expected.shape
    std = 255 * np.asarray(SPECS[name].std, np.float32)[:, None, None]
    return np.abs(found - expected) * std


def photo_like(height, width, seed):
    """Soft shapes with some noise; pure noise is what no picture is."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    soft = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return np.clip(soft + rng.integers(-20, 21, soft.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", SPECS)
@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 400), width=st.integers(1, 400), seed=st.integers(0, 1000))
def test_every_shape_is_scaled_and_cut_as_pillow_does(name, height, width, seed):
    apart = levels_apart(name, photo_like(height, width, seed))
    # Both round and cut after the first direction, but ONNX Runtime begins with the other one.
    assert apart.max() <= (16 if name.startswith("squish") else 6)
    assert apart.mean() <= 0.4


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (33, 1100), (47, 49), (1201, 799)])
def test_thin_lines_odd_sizes_and_large_pictures(name, size):
    assert levels_apart(name, photo_like(*size, seed=1)).mean() <= 0.4


def test_what_onnx_does_not_know_is_refused_with_the_next_step():
    with pytest.raises(ModelError, match=r"lanczos.*bicubic or bilinear"):
        add_preparation(
            Nodes(""), "image", PreprocessSpec(size=48, interpolation="lanczos"), "pixels"
        )
