"""Whose folder it is, and that a run is complete or resumable."""

import json

import numpy as np
import pytest

from run_copies import copy_of_run
from tellapart.errors import RunError
from tellapart.model.backbones import open_backbone, open_embedded
from tellapart.training.probe import Probe
from tellapart.training.run import Run, claim_folder, write_run

CONFIG = {"data": "/pictures", "seed": 0}
INFO = {
    "classes": ["a", "b"],
    "backbone": {"name": "x"},
    "dataset": {},
    "fit_notes": [],
    "metrics": {},
    "notes": [],
    "options": {},
    "preprocess": {},
    "probe": {"features": "all"},
}


def probe():
    rng = np.random.default_rng(0)
    a, b, c, d = (rng.normal(size=s).astype(np.float32) for s in ((3,), (3,), (3, 2), (2,)))
    return Probe("all", a, np.abs(b) + 1, c, d)


def test_round_trip(tmp_path):
    claim_folder(tmp_path / "run", CONFIG)
    write_run(tmp_path / "run", INFO, probe(), {"failures.csv": (["path"], [])})
    run = Run.load(tmp_path / "run")
    assert run.info == INFO
    x = np.ones((4, 5), np.float32)
    np.testing.assert_array_equal(run.probe.probabilities(x), probe().probabilities(x))
    assert not [path for path in run.folder.iterdir() if path.name.startswith(".")]


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(RunError, match="choose another --out"):
        claim_folder(tmp_path, CONFIG, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_another_run_is_replaced_only_when_asked(tmp_path):
    claim_folder(tmp_path, CONFIG)
    write_run(tmp_path, INFO, probe(), {})
    claim_folder(tmp_path, CONFIG)
    Run.load(tmp_path)
    with pytest.raises(RunError, match="--overwrite"):
        claim_folder(tmp_path, {**CONFIG, "seed": 1})
    claim_folder(tmp_path, {**CONFIG, "seed": 1}, overwrite=True)
    assert Run.load(tmp_path).info == INFO, "nothing is lost before there is something new"


def test_a_run_that_is_being_replaced_is_unfinished_until_it_is_whole(tmp_path):
    """A kill or a full disk in the middle must not leave the old names over a new probe."""
    claim_folder(tmp_path, CONFIG)
    write_run(tmp_path, INFO, probe(), {})

    def fails():
        yield ["row"]
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        write_run(tmp_path, INFO, probe(), {"predictions.csv": (["path"], fails())})
    with pytest.raises(RunError, match="not finished"):
        Run.load(tmp_path)


def test_an_unfinished_run_protects_nothing(tmp_path):
    claim_folder(tmp_path, CONFIG)
    claim_folder(tmp_path, {**CONFIG, "seed": 1})


def test_leftovers_of_a_killed_run_are_cleared(tmp_path):
    claim_folder(tmp_path, CONFIG)
    (tmp_path / ".predictions.csv.x1y2").write_text("half")
    claim_folder(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_what_is_no_run_says_so(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        Run.load(tmp_path / "none")
    with pytest.raises(RunError, match="holds no run"):
        Run.load(tmp_path)
    (tmp_path / "run.json").write_text("[1, 2]")
    with pytest.raises(RunError, match="Train again"):
        Run.load(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(INFO))
    (tmp_path / "probe.safetensors").write_bytes(b"\x80\x04cut")
    with pytest.raises(RunError, match=r"probe\.safetensors"):
        _ = Run.load(tmp_path).probe


def hidden_probe():
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=s).astype(np.float32) for s in ((3,), (7, 2), (2,), (3, 7), (7,))]
    return Probe("all", arrays[0], np.ones(3, np.float32), *arrays[1:])


def test_a_hidden_layer_comes_back(tmp_path):
    write_run(tmp_path, INFO, hidden_probe(), {})
    x = np.random.default_rng(2).normal(size=(4, 5)).astype(np.float32)
    found = Run.load(tmp_path).probe
    np.testing.assert_array_equal(found.logits(x), hidden_probe().logits(x))
    assert found.hidden_weights.shape == (3, 7)


def test_a_table_of_epochs_goes_where_the_new_training_has_none(tmp_path):
    claim_folder(tmp_path, CONFIG)
    write_run(tmp_path, INFO, probe(), {"history.csv": (["epoch"], [[0]])})
    assert (tmp_path / "history.csv").exists()
    write_run(tmp_path, INFO, probe(), {})
    assert not (tmp_path / "history.csv").exists()


@pytest.fixture
def trained(tmp_path):
    """A run of an embedded network, and what its folder holds beside."""
    backbone = open_backbone("tf_efficientnet_lite0")
    facts = {"name": backbone.info.name, "graph_sha256": backbone.graph_hash}
    folder = tmp_path / "run"
    claim_folder(folder, CONFIG)
    (folder / "stages").mkdir()
    (folder / "notes.txt").write_text("mine")
    info = {**INFO, "backbone": facts, "options": {"weights": None}}
    return write_run(folder, info, probe(), {"history.csv": (["epoch"], [[0]])})


def test_a_run_with_a_network_of_its_own_needs_nothing_else(trained, tmp_path, monkeypatch):
    copy = Run.load(copy_of_run(trained, tmp_path / "copy").folder)
    original = trained.backbone()
    monkeypatch.setenv("TELLAPART_CACHE", str(tmp_path / "empty"))
    open_embedded.cache_clear()
    backbone = copy.backbone()
    assert backbone.graph == original.graph
    assert backbone.layout == original.layout
    assert backbone.info.preprocess == original.info.preprocess
    assert not (tmp_path / "empty").exists()
    assert {**copy.info, "backbone": None} == {**trained.info, "backbone": None}
