"""The maps inside a graph: named by who built it, given out on request, and nothing else changed."""

import numpy as np
import pytest
from onnx import ModelProto

from tellapart.errors import ModelError
from tellapart.model.backbones import open_backbone
from tellapart.model.maps import FinalRule, open_maps
from tellapart.model.runtime import open_session


@pytest.fixture(scope="module")
def backbone():
    return open_backbone("tf_efficientnet_lite0")


def test_the_graph_with_maps_answers_as_the_one_without(backbone):
    maps = open_maps(backbone.graph)
    assert maps.names == ("final", *(f"stage{i}" for i in range(7)))
    assert maps.final == FinalRule()
    pixels = np.random.default_rng(0).normal(size=(1, 3, 96, 128)).astype(np.float32)
    plain, given = (open_session(graph).run(pixels) for graph in (backbone.graph, maps.graph))
    assert set(plain) == {"features"}
    assert set(given) == {"features", *(f"map_{name}" for name in maps.names)}
    np.testing.assert_allclose(given["features"], plain["features"], rtol=1e-5, atol=1e-5)
    assert given["map_final"].shape == (1, 1280, 3, 4)


def test_a_graph_that_names_no_maps_says_so(backbone):
    model = ModelProto.FromString(backbone.graph)
    del model.metadata_props[:]
    with pytest.raises(ModelError, match="does not say where its feature maps are"):
        open_maps(model.SerializeToString())


@pytest.mark.parametrize("value", ["[]", "{}", "no JSON", '{"values": 3, "final": {}}'])
def test_odd_metadata_is_no_map(backbone, value):
    model = ModelProto.FromString(backbone.graph)
    model.metadata_props[0].value = value
    with pytest.raises(ModelError, match="feature maps"):
        open_maps(model.SerializeToString())
