"""The two embedded networks: what they answer, and how their graphs are kept."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tellapart.data.images import decode, read_bytes
from tellapart.errors import MissingExtra, UsageError, WeightsError
from tellapart.model.backbone import Backbone
from tellapart.model.backbones import cache_folder, open_backbone, open_embedded
from tellapart.model.efficientnet_lite import build_efficientnet_lite
from tellapart.model.embedded import BACKBONES, PACKAGES, embedded_weights, weights_path
from tellapart.model.maps import open_maps
from tellapart.model.runtime import Session, open_session

LITE0, LITE2 = "tf_efficientnet_lite0", "tf_efficientnet_lite2"
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "imagenet_sample"


def synthetic() -> Image.Image:
    """A picture that can be drawn from a formula: a product, a chessboard, a slope."""
    y, x = np.mgrid[0:300, 0:400]
    channels = [(x * y // 7) % 256, 255 * ((x // 40 + y // 30) % 2), (x + 2 * y) % 256]
    return Image.fromarray(np.dstack(channels).astype(np.uint8))


@cache
def whole_session(name: str) -> Session:
    """The network with its classifier and its maps."""
    depth = PACKAGES[name].depth
    graph = build_efficientnet_lite(embedded_weights(name), depth, classifier=True)
    return open_session(open_maps(graph.SerializeToString()).graph, workers=1)


def features_of(backbone: Backbone) -> NDArray[np.float32]:
    pixels = backbone.info.preprocess.apply(synthetic())
    return open_session(backbone.graph, workers=1).run(pixels)["features"]


# What they answer.

KNOWN = {
    LITE0: {
        22: 1.743314, 191: 1.033714, 360: 1.014505, 1290: 0.1027009, 1400: -3.377833,
        2000: 1.316736, 2500: 2.349093, 2847: 0.9856831,
    },
    LITE2: {
        1: 1.085877, 298: 1.078849, 716: 1.637922, 1290: 1.12515, 1400: -4.415126,
        2000: -1.005527, 2500: 3.490893, 2991: 2.418002,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [LITE0, LITE2])
def test_known_features_of_a_known_picture(name: str) -> None:
    features = features_of(open_backbone(name))
    assert features.dtype == np.float32
    found = {place: float(features[0, place]) for place in KNOWN[name]}
    assert found == pytest.approx(KNOWN[name], rel=1e-4)
    assert features.shape == (1, open_backbone(name).dimensions["all"])


@pytest.mark.parametrize("name", [LITE0, LITE2])
def test_the_layout_names_every_number(name: str) -> None:
    backbone = open_backbone(name)
    parts = [part for part, _ in backbone.layout]
    assert parts == [
        "final", *(f"stage{i}_mean" for i in range(7)), *(f"stage{i}_std" for i in range(7)),
    ]  # fmt: skip
    assert sum(length for _, length in backbone.layout) == features_of(backbone).shape[1]
    assert backbone.dimensions == {
        "final": 1280, "all": sum(length for _, length in backbone.layout),
    }  # fmt: skip


@pytest.mark.parametrize("name", [LITE0, LITE2])
def test_the_parts_are_means_and_deviations_of_the_maps(name: str) -> None:
    backbone = open_backbone(name)
    pixels = backbone.info.preprocess.apply(synthetic())
    found = whole_session(name).run(pixels)
    assert np.array_equal(found["features"], features_of(backbone))
    ends = np.cumsum([0, *(length for _, length in backbone.layout)])
    for (part, _), (start, end) in zip(backbone.layout, pairwise(ends), strict=True):
        values = found[f"map_{part.split('_')[0]}"][0].astype(np.float64)
        expected = values.std(axis=(1, 2)) if part.endswith("std") else values.mean(axis=(1, 2))
        assert found["features"][0, start:end] == pytest.approx(expected, rel=2e-3, abs=2e-4), part
    side = -(-backbone.info.preprocess.size // 32)
    assert found["map_final"].shape == (1, 1280, side, side)
    assert 0 <= found["map_final"].min() <= found["map_final"].max() <= 6


def test_the_classifier_reads_the_final_part() -> None:
    info = BACKBONES[LITE0]
    tensors = embedded_weights(LITE0)
    found = whole_session(LITE0).run(info.preprocess.apply(synthetic()))
    expected = tensors["_fc.weight"] @ found["features"][0, :1280] + tensors["_fc.bias"]
    assert found["logits"][0] == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("size", [224, 193, 64, 320])
def test_any_size_and_any_batch(size: int) -> None:
    session = open_session(open_backbone(LITE0).graph, workers=1)
    generator = np.random.default_rng(0)
    pixels = generator.normal(size=(3, 3, size, size)).astype(np.float32)
    together = session.run(pixels)["features"]
    alone = [session.run(pixels[i : i + 1])["features"][0] for i in range(3)]
    assert together == pytest.approx(np.stack(alone), rel=1e-3, abs=1e-3)


def top_1(name: str, places: range) -> float:
    """The share of the sample's pictures whose class is recognised."""
    files = sorted(SAMPLE.glob("*.jpg")) if SAMPLE.is_dir() else []
    if len(files) != 1000:
        pytest.skip(f"the sample of ImageNet does not lie in {SAMPLE}")
    session, spec = whole_session(name), BACKBONES[name].preprocess

    def right(place: int) -> bool:
        content = read_bytes(files[place])
        image = decode(content, files[place].name, shorter_side=spec.shorter_side)
        return bool(session.run(spec.apply(image))["logits"][0].argmax() == place)

    with ThreadPoolExecutor(2) as pool:
        return float(np.mean(list(pool.map(right, places))))


@pytest.mark.parametrize("name", [LITE0, LITE2])
def test_imagenets_classes_are_recognised(name: str) -> None:
    assert top_1(name, range(0, 1000, 10)) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [(LITE0, 0.865), (LITE2, 0.865)])
def test_imagenets_classes_are_recognised_as_well_as_by_the_original(
    name: str, least: float
) -> None:
    assert top_1(name, range(1000)) >= least


# The registry.


def test_an_unknown_backbone() -> None:
    for name in ("", "../resnet18", "hf-hub:timm/resnet18", "a b", "a*"):
        with pytest.raises(UsageError, match=f"is unknown; use {LITE0}, {LITE2} or a name of timm"):
            open_backbone(name)


def test_the_registry_is_complete_and_cannot_be_changed() -> None:
    assert [info.preprocess.size for info in BACKBONES.values()] == [224, 260]
    for name, info in BACKBONES.items():
        assert info.name == name
        assert info.licence == "Apache-2.0"
        assert len(info.weights_sha256) == 64
        trained = {
            key: tensor.size
            for key, tensor in embedded_weights(name).items()
            if not key.startswith("_fc.") and key.endswith((".weight", ".bias"))
        }
        assert info.parameters == sum(trained.values())
    with pytest.raises(TypeError):
        BACKBONES["other"] = BACKBONES[LITE0]  # type: ignore[index]


# How graphs are kept.


@pytest.fixture
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache; the graphs that this process already holds are forgotten."""
    monkeypatch.setenv("TELLAPART_CACHE", str(tmp_path / "cache"))
    open_embedded.cache_clear()
    yield tmp_path / "cache"
    open_embedded.cache_clear()


def reopened(name: str = LITE0) -> Backbone:
    """As another process opens it."""
    open_embedded.cache_clear()
    return open_backbone(name)


def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise WeightsError("the weights are not to be read")

    monkeypatch.setattr("tellapart.model.embedded.read_weights", refuse)


def test_a_graph_is_built_once(cache_of_its_own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_backbone(LITE0)
    assert open_backbone(LITE0) is first
    assert sorted(path.suffix for path in cache_of_its_own.rglob("*.*")) == [".json", ".onnx"]
    without_weights(monkeypatch)
    again = reopened()
    assert again == first
    assert again.graph_hash == first.graph_hash
    with pytest.raises(WeightsError):
        open_backbone(LITE2)


def test_building_twice_gives_the_same_bytes(cache_of_its_own: Path) -> None:
    first = open_backbone(LITE0)
    for path in cache_of_its_own.rglob("*.*"):
        path.unlink()
    assert reopened().graph_hash == first.graph_hash
    assert len(first.graph_hash) == 64


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".onnx", lambda content: content[:-1]),
        (".onnx", lambda content: content[:5000] + b"\xff" + content[5001:]),
        (".json", lambda content: content[: len(content) // 2]),
        (".json", lambda content: b"\xff\xfe"),
        (".json", lambda content: b"[]"),
        (".json", lambda content: json.dumps({"sha256": "0" * 64, "layout": []}).encode()),
    ],
)
def test_a_damaged_graph_is_built_again(cache_of_its_own: Path, suffix: str, damage) -> None:  # type: ignore[no-untyped-def]
    first = open_backbone(LITE0)
    (file,) = cache_of_its_own.rglob(f"*{suffix}")
    content = file.read_bytes()
    file.write_bytes(damage(content))
    again = reopened()
    assert (again.graph_hash, again.layout) == (first.graph_hash, first.layout)
    assert file.read_bytes() == content  # and kept again


@pytest.mark.usefixtures("cache_of_its_own")
def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TELLAPART_CACHE", str(tmp_path / "file"))
    assert reopened().dimensions["final"] == 1280


@pytest.mark.usefixtures("cache_of_its_own")
def test_changed_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = bytearray(weights_path(LITE0).read_bytes())
    changed[-1] ^= 1
    (tmp_path / "changed.pth").write_bytes(changed)
    monkeypatch.setattr("tellapart.model.embedded.weights_path", lambda _: tmp_path / "changed.pth")
    with pytest.raises(WeightsError, match="was changed or cut"):
        reopened()


@pytest.mark.usefixtures("cache_of_its_own")
def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r'pip install "tellapart\[train\]"'):
        reopened()


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELLAPART_CACHE", "/a/b")
    assert cache_folder() == Path("/a/b")
    monkeypatch.setenv("TELLAPART_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/tellapart")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/tellapart")


def test_tests_do_not_write_into_the_users_cache() -> None:
    assert Path(os.environ["TELLAPART_CACHE"]) == cache_folder()
    assert "tellapart-tests-" in cache_folder().name
