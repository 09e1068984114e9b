"""Networks in 8 bits: what they give, what they are made of, and what is refused."""

import logging
import os
import tempfile
import weakref

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tellapart.errors import ModelError
from tellapart.model.backbones import open_backbone
from tellapart.model.maps import FinalRule, name_maps, open_maps
from tellapart.model.runtime import open_session
from tellapart.ship.int8 import quantise
from tellapart.ship.int8_layers import find_layers
from tellapart.ship.int8_rounding import output_error, round_weights

SIDE = 96


def pictures(count, side=SIDE, seed=0):
    """Soft blotches, as float32 (1, 3, side, side) in −1 … 1."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        coarse = random.uniform(-1, 1, (1, 3, 6, 6)).astype(np.float32)
        fine = random.normal(0, 0.1, (1, 3, side, side)).astype(np.float32)
        times = -(-side // 6)
        large = coarse.repeat(times, 2).repeat(times, 3)[:, :, :side, :side]
        yield np.clip(large + fine, -1, 1)


def features_of(graph, inputs):
    session = open_session(graph, workers=1)
    return np.concatenate([session.run(pixels)["features"] for pixels in inputs])


def relative_error(found, expected):
    """Of what tells pictures apart, not of what they have in common."""
    return np.linalg.norm(found - expected) / np.linalg.norm(expected - expected.mean(axis=0))


@pytest.fixture(scope="module")
def network():
    return open_backbone("tf_efficientnet_lite0")


@pytest.fixture(scope="module")
def small(network):
    return quantise(network.graph, pictures(12))


def built(nodes, constants, sizes=("B", 3, "H", "W")):
    """A graph of these nodes from `pixels` to `features`."""
    graph = helper.make_graph(
        nodes, "made",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, list(sizes))],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


def behind_a_first_layer(nodes, constants, channels=8):
    """The nodes get `x`, of `channels` channels, at least 0."""
    random = np.random.default_rng(5)
    first = random.normal(0, 1, (channels, 3, 1, 1)).astype(np.float32)
    before = [
        helper.make_node("Conv", ["pixels", "first"], ["y"]),
        helper.make_node("Relu", ["y"], ["x"]),
    ]
    return built([*before, *nodes], {"first": first, **constants})


def tensors(graph):
    model = onnx.ModelProto.FromString(graph)
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def kinds(graph):
    return [node.op_type for node in onnx.ModelProto.FromString(graph).graph.node]


# A whole network.


def test_features_stay_close_on_pictures_it_has_not_seen(network, small):
    inputs = list(pictures(12, seed=1))
    expected = features_of(network.graph, inputs)
    assert relative_error(features_of(small, inputs), expected) < 0.22


def test_standard_operators_alone_in_the_same_opset_and_under_a_third_of_the_size(network, small):
    model = onnx.ModelProto.FromString(small)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
    assert [value.name for value in model.graph.input] == ["pixels"]
    assert [value.name for value in model.graph.output] == ["features"]
    assert len(small) < len(network.graph) / 3
    floats = [a for a in tensors(small).values() if a.dtype == np.float32 and a.size > 2000]
    assert not floats


def test_any_number_of_pictures_of_any_size_and_each_as_if_alone(small):
    first, second = pictures(2, side=66)
    session = open_session(small, workers=1)
    together = session.run(np.concatenate([first, second]))["features"]
    np.testing.assert_array_equal(together, features_of(small, [first, second]))


def test_the_same_pictures_give_the_same_bytes(network, small):
    before = bytes(network.graph)
    assert quantise(network.graph, pictures(12)) == small
    assert network.graph == before
    assert quantise(network.graph, pictures(12, seed=2)) != small


def test_nothing_is_printed_logged_or_left(network, capfd, caplog, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    handlers = list(logging.getLogger().handlers)
    with caplog.at_level(logging.DEBUG):
        quantise(network.graph, pictures(1))
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
    assert not os.listdir(tmp_path)
    assert logging.getLogger().handlers == handlers


def test_pictures_are_taken_one_at_a_time(network):
    alive, most = weakref.WeakSet(), 0

    class Picture(np.ndarray):
        pass

    def counted():
        nonlocal most
        for pixels in pictures(8):
            own = pixels.view(Picture)
            alive.add(own)
            most = max(most, len(alive))
            yield own

    # np.ndarray cannot be hashed by value, so the set holds them by identity.
    Picture.__hash__ = object.__hash__
    Picture.__eq__ = object.__eq__
    quantise(network.graph, counted())
    assert most <= 3


def test_progress_counts_the_layers(network):
    seen = []
    quantise(network.graph, pictures(1), progress=lambda *values: seen.append(values))
    assert seen[0] == ("round", 1, len(seen))
    assert seen[-1] == ("round", len(seen), len(seen))


def test_maps_are_still_known_by_their_names(network, small):
    inputs = np.concatenate(list(pictures(3, seed=3)))
    wider = [open_maps(graph) for graph in (network.graph, small)]
    assert wider[0].names == wider[1].names
    expected, found = (open_session(each.graph, workers=1).run(inputs) for each in wider)
    for name in wider[0].names:
        assert relative_error(found[f"map_{name}"], expected[f"map_{name}"]) < 0.35, name


def test_no_pair_of_products_saturates_sixteen_bits(small):
    """Without VNNI two products of uint8 and int8 are added in int16; depthwise kernels do not."""
    limits = {"dense": 0, "depthwise": 0}
    for name, array in tensors(small).items():
        if name.endswith("/weight/integers"):
            kind = "depthwise" if "depthwise" in name else "dense"
            limits[kind] = max(limits[kind], int(np.abs(array.astype(int)).max()))
    assert limits == {"dense": 64, "depthwise": 127}
    assert 2 * 255 * limits["dense"] < 2**15


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_converted_networks(name):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    from tellapart.finetuning.convert import as_backbone
    from tellapart.finetuning.network import load_network

    torch.manual_seed(0)
    backbone = as_backbone(load_network(name, pretrained=False))
    side = backbone.info.preprocess.size
    graph = quantise(backbone.graph, pictures(4, side=160))
    onnx.checker.check_model(onnx.ModelProto.FromString(graph), full_check=True)
    inputs = list(pictures(6, side=side, seed=1))
    expected = features_of(backbone.graph, inputs)
    assert relative_error(features_of(graph, inputs), expected) < 0.15
    assert len(graph) < len(backbone.graph) / 2


# Its parts.


def conv(weight, bias=None, source="x", output="features", **attributes):
    names = [source, f"{output}.w", *([f"{output}.b"] if bias is not None else [])]
    constants = {f"{output}.w": np.float32(weight)}
    if bias is not None:
        constants[f"{output}.b"] = np.float32(bias)
    kernel = list(np.shape(weight)[2:])
    return helper.make_node("Conv", names, [output], kernel_shape=kernel, **attributes), constants


class EveryPlace:
    """In place of a generator that draws places."""

    def integers(self, low, high, size):
        assert size == high
        return np.arange(low, high)


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "attributes"),
    [
        (8, 5, (1, 1), {}),
        (8, 5, (3, 3), {"pads": [1, 0, 2, 1]}),
        (8, 6, (3, 2), {"strides": [2, 3], "group": 2}),
        (8, 8, (5, 5), {"auto_pad": "SAME_UPPER", "strides": [2, 2], "group": 8}),
        (8, 8, (2, 2), {"auto_pad": "SAME_LOWER", "group": 8}),
        (8, 16, (3, 3), {"dilations": [2, 1], "group": 8}),
        (8, 4, (3, 3), {"auto_pad": "VALID"}),
        (420, 3, (3, 3), {"pads": [1, 1, 1, 1]}),  # divided into blocks
    ],
)
def test_what_weights_are_multiplied_with(inputs, outputs, kernel, attributes):
    random = np.random.default_rng(0)
    group = attributes.get("group", 1)
    weight = random.normal(0, 1, (outputs, inputs // group, *kernel)).astype(np.float32)
    node, constants = conv(weight, **attributes)
    model = onnx.ModelProto.FromString(behind_a_first_layer([node], constants, inputs))
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, None))
    (pixels,) = pictures(1, side=12)
    values = open_session(model.SerializeToString(), workers=1).run(pixels)
    (layer,) = find_layers(model, "pixels")
    rows = layer.inputs(values["x"], 10**6, EveryPlace())
    blocks = layer.by_block(weight)
    assert layer.whole(blocks).tolist() == weight.tolist()
    found = np.einsum("gni,goi->gon", rows, blocks)
    found = found.reshape(group, -1, *found.shape[1:]).sum(axis=1).reshape(outputs, -1)
    expected = values["features"][0]
    assert layer.sizes(values["x"]) == expected.shape[1:]
    np.testing.assert_allclose(found, expected.reshape(outputs, -1), atol=2e-4)
    scale = np.arange(1.0, outputs + 1, dtype=np.float32)
    by_output = layer.whole(np.broadcast_to(layer.scale_by_block(scale), blocks.shape))
    assert (by_output == scale[:, None, None, None]).all()


def test_activations_within_a_range_need_no_node():
    random = np.random.default_rng(1)
    wide = random.normal(0, 0.5, (8, 8, 3, 3)).astype(np.float32)
    nodes, constants = [], {"zero": np.float32(0), "six": np.float32(1.5)}
    for number, source in enumerate(("x", "a0", "a1")):
        node, own = conv(wide, source=source, output=f"c{number}", pads=[1] * 4)
        bounds = ["zero", "six"] if number else []
        kind = "Clip" if number else "Relu"
        nodes += [node, helper.make_node(kind, [f"c{number}", *bounds], [f"a{number}"])]
        constants |= own
    nodes += [
        helper.make_node("Add", ["a1", "a2"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["r"]),
    ]
    last, own = conv(wide, source="r")
    graph = behind_a_first_layer([*nodes, last], {**constants, **own})
    answer = quantise(graph, pictures(4))
    # Those of the first layer stay; the sum's goes too.
    assert [kind for kind in kinds(answer) if kind in ("Relu", "Clip")] == ["Relu"]
    inputs = list(pictures(2, seed=9))
    assert relative_error(features_of(answer, inputs), features_of(graph, inputs)) < 0.15


def test_a_clip_that_does_not_hold_zero_stays():
    random = np.random.default_rng(1)
    weight = random.normal(0, 0.5, (8, 8, 1, 1)).astype(np.float32)
    first, one = conv(weight, output="c")
    last, two = conv(weight, source="a")
    clip = helper.make_node("Clip", ["c", "half", "two"], ["a"])
    constants = {"half": np.float32(0.5), "two": np.float32(2), **one, **two}
    graph = behind_a_first_layer([first, clip, last], constants)
    answer = quantise(graph, pictures(4))
    assert kinds(answer).count("Clip") == 1
    inputs = list(pictures(2, seed=1))
    assert relative_error(features_of(answer, inputs), features_of(graph, inputs)) < 0.08


def test_a_value_that_others_read_keeps_its_node():
    weight = np.eye(8, dtype=np.float32)[:, :, None, None]
    first, one = conv(weight, [-0.5] * 8, output="c")
    last, two = conv(weight, source="a", output="d")
    nodes = [
        first, helper.make_node("Relu", ["c"], ["a"]), last,
        helper.make_node("Add", ["c", "d"], ["features"]),
    ]  # fmt: skip
    graph = behind_a_first_layer(nodes, {**one, **two})
    answer = quantise(graph, pictures(4))
    assert kinds(answer).count("Relu") == 2
    inputs = list(pictures(2, seed=1))
    assert relative_error(features_of(answer, inputs), features_of(graph, inputs)) < 0.05


def test_a_map_before_an_activation_and_its_norm_stay():
    weight = np.random.default_rng(0).normal(0, 1, (8, 8, 1, 1)).astype(np.float32)
    first, one = conv(weight, output="c")
    last, two = conv(weight, source="a")
    nodes = [first, helper.make_node("Relu", ["c"], ["a"]), last]
    model = onnx.ModelProto.FromString(behind_a_first_layer(nodes, {**one, **two}))
    norm = (np.arange(8, dtype=np.float32), np.ones(8, np.float32))
    name_maps(model, {"final": "c"}, FinalRule(normed=True), norm)
    graph = model.SerializeToString()
    maps = [open_maps(each) for each in (graph, quantise(graph, pictures(4)))]
    np.testing.assert_array_equal(maps[1].norm, norm)
    (pixels,) = pictures(1, seed=1)
    expected, found = (open_session(m.graph, workers=1).run(pixels)["map_final"] for m in maps)
    assert expected.min() < -1
    assert relative_error(found[0], expected[0]) < 0.05


def test_outputs_without_weights_keep_their_bias():
    """Their scale would be nothing, and the bias counted in it beyond int32."""
    weight = np.random.default_rng(0).normal(0, 1, (8, 8, 1, 1)).astype(np.float32)
    weight[2], weight[3] = 0, 1e-12
    bias = np.float32([0, 0, 5, 4, 0, 0, 0, 0])
    node, constants = conv(weight, bias)
    answer = quantise(behind_a_first_layer([node], constants), pictures(4))
    found = features_of(answer, pictures(1, seed=1))
    np.testing.assert_allclose(found[:, 2], 5, atol=0.1)
    np.testing.assert_allclose(found[:, 3], 4, atol=0.1)


def test_matrix_products_of_any_rank():
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Transpose", ["x"], ["rows"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["rows", "w"], ["features"]),
    ]
    weight = random.normal(0, 1, (8, 12)).astype(np.float32)
    graph = behind_a_first_layer(nodes, {"w": weight})
    answer = quantise(graph, pictures(4))
    inputs = list(pictures(2, seed=1))
    assert tensors(answer)["features/weight/integers"].shape == (8, 12)
    assert relative_error(features_of(answer, inputs), features_of(graph, inputs)) < 0.02


# Rounding.


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 4), st.integers(1, 70))
def test_rounding_is_never_worse_than_to_the_nearest(seed, groups, outputs, inputs):
    random = np.random.default_rng(seed)
    weights = random.normal(0, 1, (groups, outputs, inputs)).astype(np.float32)
    x = random.normal(random.normal(), 1, (groups, 50, inputs))
    moments = x.swapaxes(1, 2) @ x / 50
    scale = (np.abs(weights).max(axis=2, keepdims=True) / 20).astype(np.float32)
    chosen = round_weights(weights, moments, scale, 20)
    nearest = np.clip(np.round(weights / scale), -20, 20).astype(np.int8)
    ridge = 0.01 * np.trace(moments, axis1=1, axis2=2)[:, None, None] / inputs
    aim = moments + ridge * np.eye(inputs)
    assert output_error(weights, chosen, aim, scale) <= 1.0001 * output_error(
        weights, nearest, aim, scale
    )
    assert np.abs(chosen).max() <= 20


def test_rounding_finds_the_best_of_all_for_inputs_that_go_together():
    """Nine inputs that are nearly alike, as in a depthwise layer on a smooth map: the sum counts."""
    random = np.random.default_rng(0)
    weights = random.normal(0, 3, (1, 200, 9)).astype(np.float32)
    scale = np.ones((1, 200, 1), np.float32)
    x = random.normal(4, 1, (500, 1)) + random.normal(0, 0.2, (500, 9))
    moments = (x.T @ x / 500)[None]
    nearest = np.round(weights).astype(np.int8)
    chosen = round_weights(weights, moments, scale, 127)
    ratio = output_error(weights, chosen, moments, scale) / output_error(
        weights, nearest, moments, scale
    )
    assert ratio < 0.25
    assert np.abs(chosen - weights).max() < 3


def test_inputs_that_are_always_zero_round_to_the_nearest():
    weights = np.float32([[[0.4, 1.6, -2.4]]])
    ones = np.ones((1, 1, 1), np.float32)
    chosen = round_weights(weights, np.zeros((1, 3, 3)), ones, 127)
    assert chosen.tolist() == [[[0, 2, -2]]]


# What is refused.


@pytest.mark.parametrize("given", [b"", b"no graph", b"\x08\x0a"])
def test_what_is_no_graph(given):
    with pytest.raises(ModelError, match=r"one input 'pixels'.*Backbone\.graph"):
        quantise(given, pictures(1))


def test_without_pictures_and_with_others(network, small):
    with pytest.raises(ModelError, match="no picture"):
        quantise(network.graph, [])
    for wrong in (np.zeros((1, 3, 8, 8)), np.zeros((2, 3, 8, 8), np.float32), np.float32(1)):
        with pytest.raises(ValueError, match=r"float32 \(1, 3, H, W\)"):
            quantise(network.graph, [wrong])
    with pytest.raises(ModelError, match="8 bits already"):
        quantise(small, pictures(1))


def test_nothing_to_quantise():
    pool = helper.make_node("GlobalAveragePool", ["x"], ["features"])
    with pytest.raises(ModelError, match=r"nothing to quantise.*Export it as float32"):
        quantise(behind_a_first_layer([pool], {}), pictures(1))
    # A layer behind the pooling has a single place.
    pool = helper.make_node("GlobalAveragePool", ["x"], ["p"])
    node, constants = conv(np.ones((4, 8, 1, 1)), source="p")
    with pytest.raises(ModelError, match="nothing to quantise"):
        quantise(behind_a_first_layer([pool, node], constants), pictures(1))


def test_weights_that_are_no_numbers():
    weight = np.ones((8, 8, 1, 1), np.float32)
    weight[0, 0] = np.nan
    node, constants = conv(weight)
    with pytest.raises(ModelError, match="not finite, at features"):
        quantise(behind_a_first_layer([node], constants), pictures(1))


def test_branches():
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["in_branch"])], "branch", [],
        [helper.make_tensor_value_info("in_branch", TensorProto.FLOAT, None)],
    )  # fmt: skip
    node = helper.make_node("If", ["yes"], ["features"], then_branch=branch, else_branch=branch)
    with pytest.raises(ModelError, match="branches"):
        quantise(behind_a_first_layer([node], {"yes": np.array(True)}), pictures(1))
