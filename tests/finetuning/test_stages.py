"""Folders of stages: where one begins, what may be replaced, and what a kill leaves behind."""

from pathlib import Path

import numpy as np
import pytest

from tellapart.errors import RunError, UsageError
from tellapart.finetuning import stages
from tellapart.finetuning.stages import (
    base_stage,
    claim_stage,
    copy_stage,
    identity,
    needed_stages,
    planned_stage,
)
from tellapart.training.probe import Probe
from tellapart.training.run import Run, claim_folder, write_run

OPTIONS = {"epochs": 2, "lr": "1e-3"}
INFO = {
    "classes": ["a", "b"], "backbone": {}, "dataset": {}, "fit_notes": [], "metrics": {}, "notes": [],
    "options": {}, "preprocess": {}, "probe": {"features": "all"},
}  # fmt: skip
TABLE = {"dataset.csv": (["path"], [["a.png"]])}


def probe(value=0.0):
    zeros = np.zeros(3, np.float32)
    return Probe("all", zeros, zeros + 1, np.full((3, 2), value, np.float32), zeros[:2])


@pytest.fixture
def run(tmp_path):
    claim_folder(tmp_path / "run", {"seed": 0})
    return write_run(tmp_path / "run", INFO, probe(), TABLE)


def finish(run, name=None, start=None, options=OPTIONS, **facts):
    """What training a stage of these options would leave; each has another probe."""
    base, folder, config = planned_stage(run, start, name, options)
    if found := claim_stage(folder, config):
        return found
    finish.count += 1
    facts = {
        "of_run": identity(run), "stage": folder.name, "from": config["from"],
        "finished": finish.count, **facts,
    }  # fmt: skip
    return write_run(folder, {**base.info, **facts}, probe(finish.count), TABLE)


finish.count = 0


def test_the_same_call_again_goes_on_and_then_another_stage_follows(run):
    base, folder, config = planned_stage(run, None, None, OPTIONS)
    assert (base.folder, folder.name) == (run.folder, "stage-2")
    assert claim_stage(folder, config) is None
    assert planned_stage(run, None, None, OPTIONS) == (base, folder, config)
    other = planned_stage(run, None, None, {**OPTIONS, "epochs": 3})
    assert other[1].name == "stage-3"  # stage-2 waits for its own options
    done = finish(run)
    base, folder, _ = planned_stage(run, None, None, OPTIONS)
    assert (base.folder, folder.name) == (done.folder, "stage-3")


def test_an_interrupted_stage_begins_where_it_began_whatever_was_finished_since(run):
    _, folder, config = planned_stage(run, None, "slow", OPTIONS)
    claim_stage(folder, config)
    finish(run, "quick", options={"epochs": 1})
    base, again, same = planned_stage(run, None, "slow", OPTIONS)
    assert (base.folder, again, same) == (run.folder, folder, config)


def test_a_named_stage_that_was_finished_is_given_as_it_is(run):
    first = finish(run, "mine")
    finish(run, "later", options={"epochs": 1})
    assert finish(run, "mine").info == first.info
    with pytest.raises(RunError, match="other options or data"):
        finish(run, "mine", start="stage-1", options={"epochs": 9})
    with pytest.raises(UsageError, match="cannot begin with itself"):
        planned_stage(run, "mine", "mine", OPTIONS)


def test_what_another_configuration_left_is_not_taken_over(run):
    _, folder, config = planned_stage(run, None, "x", OPTIONS)
    claim_stage(folder, config)
    for name in ("network.onnx", "network.safetensors", "checkpoint.safetensors"):
        (folder / name).write_bytes(b"of another")
    assert claim_stage(folder, config) is None
    assert (folder / "checkpoint.safetensors").exists()  # its own, to go on from
    claim_stage(folder, {**config, "epochs": 5})
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_overwriting_makes_a_finished_stage_unfinished_before_it_is_touched(run):
    stage = finish(run, "x")
    _, folder, config = planned_stage(run, "stage-1", "x", {"epochs": 5})
    assert claim_stage(folder, config, overwrite=True) is None
    with pytest.raises(RunError, match="not finished"):
        Run.load(stage.folder)


def test_a_copy_is_a_stage_of_its_own(run):
    stage = finish(run, "fit-1", replaceable=True)
    copy = copy_stage(run, stage, "kept")
    assert (copy.info["stage"], copy.info["replaceable"]) == ("kept", False)
    assert base_stage(run, "kept").probe.weights[0, 0] == stage.probe.weights[0, 0]
    assert base_stage(run, None).folder.name == "kept"
    other = finish(run, "fit-2", options={"epochs": 1}, replaceable=True)
    assert copy_stage(run, other, "kept").probe.weights[0, 0] == other.probe.weights[0, 0]
    assert not [path for path in (run.folder / "stages").iterdir() if path.name[0] == "."]
    assert needed_stages(run, other) == {"kept", "fit-2"}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", range(12))
def test_whenever_a_copy_is_killed_one_of_both_is_there_whole(run, monkeypatch, at):
    """The `at`th step on the disk is never done, nor what follows."""
    old, new = finish(run, "fit-1"), finish(run, "fit-2", options={"epochs": 1})
    values = [stage.probe.weights[0, 0] for stage in (old, new)]
    copy_stage(run, old, "kept")
    steps = []

    def counted(function):
        def call(*arguments, **options):
            steps.append(function)
            if len(steps) > at:
                raise Killed
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(stages, "write_atomically", counted(stages.write_atomically))
        patch.setattr(stages, "write_info", counted(stages.write_info))
        patch.setattr(stages.shutil, "rmtree", counted(stages.shutil.rmtree))
        patch.setattr(Path, "rename", counted(Path.rename))
        try:
            copy_stage(run, new, "kept")
        except Killed:
            assert at < 9, "a copy has so few steps"
        else:
            assert len(steps) <= at
    found = base_stage(run, "kept").probe.weights[0, 0]
    assert found in values
    assert copy_stage(run, new, "kept").probe.weights[0, 0] == values[1]
    assert base_stage(run, "kept").probe.weights[0, 0] == values[1]


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "a/b", "a\\b", "a\nb", "x" * 101, "ü" * 51])
def test_names_that_are_no_folders_are_refused(run, name):
    with pytest.raises(UsageError, match="cannot be called"):
        planned_stage(run, None, name, OPTIONS)
    assert not (run.folder / "stages").exists()
