"""From files to vectors: each picture once, whatever else happens."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tellapart.data.images import decode
from tellapart.errors import DatasetError, UsageError
from tellapart.model.backbones import open_backbone
from tellapart.model.preprocess import PreprocessSpec
from tellapart.training.embed import Embedder, embed
from tellapart.training.feature_cache import FeatureCache


@pytest.fixture(scope="module")
def embedder():
    return Embedder(open_backbone("tf_efficientnet_lite0"))


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 255, (40 + 9 * i, 50, 3), np.uint8)
        Image.fromarray(pixels).resize((200, 150 + i)).save(tmp_path / f"{i}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "bad.png").write_bytes((tmp_path / "1.png").read_bytes()[:2000])
    return tmp_path, sorted(path.name for path in tmp_path.iterdir())


def test_each_picture_once_and_never_again(pictures, embedder, tmp_path, monkeypatch):
    root, names = pictures
    first = embed(root, [*names, "gone.png"], embedder, cache=tmp_path / "cache")
    assert first.computed == 6
    assert {first.failures[i].reason for i in first.failures} == {"truncated", "missing"}
    assert [first.failures[i].path for i in sorted(first.failures)] == ["bad.png", "gone.png"]
    np.testing.assert_array_equal(
        first.values[names.index("copy.png")], first.values[names.index("0.png")]
    )

    def refuse(*_args, **_options):
        raise AssertionError("a forward pass was done twice")

    (root / "1.png").rename(root / "renamed.png")
    names[names.index("1.png")] = "renamed.png"
    monkeypatch.setattr(type(embedder._session), "run", refuse)
    again = embed(root, names, embedder, cache=tmp_path / "cache")
    assert again.computed == 0
    np.testing.assert_array_equal(again.values, first.values[:-1])


def test_a_vector_depends_on_nothing_but_the_picture(pictures, embedder, tmp_path):
    root, names = pictures
    alone = Embedder(open_backbone("tf_efficientnet_lite0"), workers=1)
    many = Embedder(open_backbone("tf_efficientnet_lite0"), workers=5)
    a = embed(root, names, alone, cache=tmp_path / "a")
    b = embed(root, names[::-1], many, cache=tmp_path / "b")
    np.testing.assert_array_equal(a.values, b.values[::-1])
    content = (root / "3.png").read_bytes()
    np.testing.assert_array_equal(a.values[names.index("3.png")], embedder.vector(content, "3"))


def test_another_preprocessing_is_another_space(embedder):
    other = Embedder(embedder.backbone, PreprocessSpec(size=192, fit="squish"))
    assert other.space != embedder.space
    assert other.space == Embedder(embedder.backbone, PreprocessSpec(size=192, fit="squish")).space
    with pytest.raises(UsageError, match="squeeze"):
        PreprocessSpec(size=192, fit="squeeze")


def test_mean_and_deviation_of_the_stages_are_what_they_say(embedder):
    """Against NumPy over the feature maps of the same graph."""
    from tellapart.model.maps import open_maps
    from tellapart.model.runtime import open_session

    image = Image.radial_gradient("L").convert("RGB").resize((260, 230))
    pixels = embedder.backbone.info.preprocess.apply(image)
    out = open_session(open_maps(embedder.backbone.graph).graph).run(pixels)
    maps = [out["map_final"]] + [out[f"map_stage{i}"] for i in range(7)]
    means = [m.mean(axis=(2, 3)) for m in maps]
    deviations = [m.std(axis=(2, 3)) for m in maps[1:]]
    expected = np.concatenate(means + deviations, axis=1)
    np.testing.assert_allclose(out["features"], expected, rtol=1e-3, atol=2e-3)


def test_a_file_that_changes_while_it_is_read_does_not_spoil_the_cache(
    pictures, embedder, tmp_path
):
    root, _ = pictures
    target = root / "2.png"
    other = (root / "3.png").read_bytes()

    def change(stage: str, done: int, total: int) -> None:
        if stage == "read" and done == total:
            target.write_bytes(other)

    features = embed(root, ["2.png"], embedder, cache=tmp_path / "cache", progress=change)
    assert features.failures[0].reason == "changed"
    assert features.computed == 0


def test_progress_reaches_its_total(pictures, embedder, tmp_path):
    seen: dict[str, tuple[int, int]] = {}
    embed(
        *pictures, embedder, cache=tmp_path / "c",
        progress=lambda stage, done, total: seen.__setitem__(stage, (done, total)),
    )  # fmt: skip
    assert seen["read"] == (8, 8)
    assert seen["embed"] == (7, 7)


def test_half_precision_at_rest_changes_no_feature_by_much(embedder):
    path = Path(__file__)
    image = Image.effect_noise((300, 260), 80).convert("RGB")
    from io import BytesIO

    file = BytesIO()
    image.save(file, "PNG")
    content = file.getvalue()
    assert decode(content, str(path)).size == (300, 260)
    exact = embedder.network_output(content, "noise")
    kept = embedder.vector(content, "noise")
    assert np.abs(kept - exact).max() <= 5e-4 * np.abs(exact).max()


def test_an_answer_that_is_no_number_fails_its_picture_alone(
    pictures, embedder, tmp_path, monkeypatch
):
    root, names = pictures
    features_of = Embedder._features_of

    def broken(self, image, content):
        vector = features_of(self, image, content)
        return vector * np.nan if image.size[1] == 152 else vector

    monkeypatch.setattr(Embedder, "_features_of", broken)
    found = embed(root, names, embedder, cache=tmp_path / "cache")
    failed = {failure.path: failure.reason for failure in found.failures.values()}
    assert failed == {"2.png": "no features", "bad.png": "truncated"}
    assert np.isfinite(found.values).all()


def test_many_vectors_lie_in_a_file_and_are_the_same(pictures, embedder, tmp_path, monkeypatch):
    root, names = pictures
    small = embed(root, names, embedder, cache=tmp_path / "a")
    monkeypatch.setattr("tellapart.data.scratch_array.MOST_IN_MEMORY", 10_000)
    large = embed(root, names, embedder, cache=tmp_path / "b")
    known = embed(root, names, embedder, cache=tmp_path / "b")
    assert str(tmp_path / "b") in Path("/proc/self/maps").read_text()
    assert {path.name.split("-")[0] for path in (tmp_path / "b").iterdir()} == {"features.sqlite"}
    for features in (large, known):
        assert features.values.tobytes() == small.values.tobytes()
        assert features.sha256 == small.sha256
        assert features.failures == small.failures
    assert (large.computed, known.computed) == (6, 0)


def test_without_room_for_many_vectors_the_next_step_is_told(
    pictures, embedder, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tellapart.data.scratch_array.MOST_IN_MEMORY", 10_000)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match=r"No space left.*Free some space.*TELLAPART_CACHE"):
        embed(*pictures, embedder, cache=tmp_path / "cache")


class Mirrored:
    """A view that mirrors pictures, or shades them by their hash."""

    def __init__(self, key="mirrored", shaded=False):
        self.key, self.shaded = key, shaded

    def pixels(self, image, preprocess, sha256):
        shade = int(sha256[:2], 16) / 256 if self.shaded else 0.0
        return np.ascontiguousarray(preprocess.apply(image)[..., ::-1]) + np.float32(shade)


def test_a_view_has_a_cache_of_its_own(pictures, embedder, tmp_path):
    root, _ = pictures
    names = [f"{i}.png" for i in range(3)]
    looking = embedder.seen_as(Mirrored())
    counts = [
        embed(root, names, seen, cache=tmp_path / "cache").computed
        for seen in (embedder, looking, looking, embedder.seen_as(Mirrored("other")), embedder)
    ]
    assert counts == [3, 3, 0, 3, 0]
    assert looking.space == embedder.seen_as(Mirrored()).space
    assert len({embedder.space, looking.space, embedder.seen_as(Mirrored("other")).space}) == 3


def test_what_is_seen_in_a_view_is_what_the_view_shows(pictures, embedder, tmp_path):
    root, _ = pictures
    Image.open(root / "2.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "turned.png")
    looking = embedder.seen_as(Mirrored())
    seen = embed(root, ["2.png", "turned.png"], looking, cache=tmp_path / "cache").values
    plain = embed(root, ["turned.png", "2.png"], embedder, cache=tmp_path / "cache").values
    np.testing.assert_allclose(seen, plain, atol=2e-2 * np.abs(plain).max())
    assert np.abs(seen[0] - plain[1]).max() > 5 * np.abs(seen - plain).max()


def test_a_view_knows_a_picture_by_its_bytes(pictures, embedder, tmp_path):
    """What is random in a view comes from the hash, so copies look alike, wherever they lie."""
    root, _ = pictures
    shaded = embedder.seen_as(Mirrored("shaded", shaded=True))
    values = embed(root, ["0.png", "copy.png"], shaded, cache=tmp_path / "cache").values
    np.testing.assert_array_equal(values[0], values[1])
    content = (root / "0.png").read_bytes()
    np.testing.assert_array_equal(shaded.vector(content, "0.png"), values[0])


def test_facts_come_with_the_vectors_and_cost_no_forward_pass(
    pictures, embedder, tmp_path, monkeypatch
):
    root, names = pictures
    cache = tmp_path / "cache"
    first = embed(root, names, embedder, cache=cache)
    row = names.index("3.png")
    assert (int(first.facts["width"][row]), int(first.facts["height"][row])) == (200, 153)
    assert not first.facts["width"][names.index("bad.png")]
    again = embed(root, names, embedder, cache=cache)
    np.testing.assert_array_equal(again.facts, first.facts)

    def refuse(*_args, **_options):
        raise AssertionError("decoded, or sent through the network")

    with FeatureCache(cache, embedder.space, first.values.shape[1]) as kept, kept._database:
        kept._database.execute("DELETE FROM features WHERE space != ?", [kept._space])
    with monkeypatch.context() as patch:
        patch.setattr(type(embedder._session), "run", refuse)
        older = embed(root, names, embedder, cache=cache)  # vectors alone are known
    assert older.computed == 0
    np.testing.assert_array_equal(older.facts, first.facts)
    np.testing.assert_array_equal(older.values, first.values)
    monkeypatch.setattr(type(embedder), "vector_and_facts", refuse)
    embed(root, [name for name in names if name != "bad.png"], embedder, cache=cache)
