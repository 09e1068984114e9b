"""Engines by name; the work itself is tested in tests/scale."""

import pickle

import numpy as np
import pytest

import tellapart
from tellapart.errors import MissingExtra, UsageError
from tellapart.training import engine as engines
from tellapart.training.engine import LocalEngine, open_engine
from tellapart.training.train import TrainOptions, open_embedder


def test_engines_by_name(monkeypatch):
    assert open_engine() == LocalEngine()
    assert open_engine(engine := LocalEngine()) is engine
    with pytest.raises(UsageError, match="'rey' is unknown; choose from local, ray"):
        open_engine("rey")
    for options in ({"address": "auto"}, {"store": "s3://bucket/shards"}):
        with pytest.raises(UsageError, match="--engine ray"):
            open_engine("local", **options)


def test_without_ray_the_error_names_the_extra(monkeypatch, tmp_path):
    from tellapart.scale import engine

    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'pip install "tellapart\[ray\]"'):
        tellapart.train(tmp_path, engine="ray")


def test_an_engine_of_ones_own_looks_at_the_pictures(monkeypatch, tmp_path, write_picture):
    for number in range(12):
        write_picture(tmp_path / ("a", "b")[number % 2] / f"{number:02}.png")
    asked = []

    class Watched(LocalEngine):
        def embed(self, root, paths, embedder, *, progress=None):
            asked.append((root, list(paths)))
            return super().embed(root, paths, embedder, progress=progress)

    run = tellapart.train(tmp_path, tmp_path / "run", engine=Watched())
    assert asked == [(tmp_path, sorted(row[0] for row in run.predictions()))]
    audit = tellapart.check(tmp_path, engine=Watched(), only=["near_duplicate"])
    assert len(asked) == 2
    assert audit.checks == ("near_duplicate",)
    assert set(engines.ENGINES) == {"local", "ray"}


def test_an_embedder_is_opened_anew_in_another_process():
    """Pickle stands for what Ray does between its processes; no file is ever one."""
    embedder = open_embedder(TrainOptions(size=64), workers=2)
    there = pickle.loads(pickle.dumps(embedder.on_one_cpu()))
    assert (there.workers, embedder.workers) == (1, 2)
    assert there.space == embedder.space
    from PIL import Image

    picture = Image.effect_noise((80, 70), 60).convert("RGB")
    assert np.array_equal(there.vector(picture, "a"), embedder.vector(picture, "a"))
