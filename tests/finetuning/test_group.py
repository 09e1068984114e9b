"""The loop in several processes: the numbers of one, whoever computes what, and however many are there."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")

import group_job
import torch
from processes import alone, in_processes
from test_loop import pictures  # noqa: F401 (a fixture)

import tellapart
from tellapart.finetuning.stages import claim_stage, planned_stage

JOB = Path(group_job.__file__)


@pytest.fixture(scope="module")
def root(pictures):  # noqa: F811
    return pictures(1).root


@pytest.fixture(scope="module")
def one(root, tmp_path_factory):
    """By kind, what one process makes of as many pieces."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("one")
    return {kind: group_job.trained(root, folder / kind, kind) for kind in group_job.DIALS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(root, folder):
    """What two processes tell; a training that one has begun lies there to be gone on with."""

    def stop(step):
        if step.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        group_job.trained(root, folder / "of-one", "everything", on_step=stop)
    return in_processes(2, JOB, "train_all", root, folder)


def close(found, expected, atol=1e-5):
    assert found["notes"] == expected["notes"]
    assert found["counts"] == expected["counts"]
    assert found["steps"] == pytest.approx(expected["steps"], abs=atol)
    for row, wanted in zip(found["losses"], expected["losses"], strict=True):
        assert row == pytest.approx(wanted, abs=atol)
    for name, values in expected["state"].items():
        assert found["state"][name] == pytest.approx(values, abs=atol), name


@pytest.mark.parametrize("kind", group_job.DIALS)
def test_two_processes_make_the_steps_of_one(one, two, kind):
    for told in two:
        close(told[kind], one[kind])
    assert two[0][kind]["state"] == two[1][kind]["state"]  # to the bit


@pytest.mark.parametrize("kind", group_job.DIALS)
def test_each_picture_is_measured_once(one, two, kind):
    assert two[0][kind]["measured"]
    assert two[1][kind]["measured"]
    together = sorted(two[0][kind]["measured"] + two[1][kind]["measured"])
    assert together == one[kind]["measured"]
    assert len(together) == 7 * len(one[kind]["counts"])


def test_two_go_on_with_what_one_has_begun(one, two):
    for told in two:
        whole = one["everything"]
        close(told["resumed"], {**whole, "steps": whole["steps"][4:]})


def test_where_one_has_little_memory_all_do_fewer_at_a_time(one, two):
    for told in two:
        found = told["narrow"]
        assert "memory ran out at 4 pictures" in found["notes"][0]
        assert "2 at a time" in found["notes"][0]
        assert len(found["notes"]) == 1
        assert found["counts"]
    assert two[0]["narrow"]["state"] == two[1]["narrow"]["state"]


def test_what_processes_tell_one_another(two):
    for told in two:
        assert told["told"] == {"facts": True, "least": 4, "summed": [1, 3, 5], "tensors": True}
        assert told["gradients"] == [[3.0, 3.0], [1.0, 1.0], None]


def test_a_lost_process_is_noticed_and_its_step_done_again(one, two, root, folder):
    """Three steps were done by both; the fourth could not be."""
    assert "another process of this training has ended" in two[0]["lost"]
    after = group_job.trained(root, folder / "lost", "everything")
    whole = one["everything"]
    close(after, {**whole, "steps": whole["steps"][3:]})


# A stage of a run.


def numbers(run, name):
    stage = tellapart.Run.load(run.folder / "stages" / name)
    history = (stage.folder / "history.csv").read_text().splitlines()[1:]
    rows = [[cell for at, cell in enumerate(row.split(",")) if at != 5] for row in history]
    return rows, stage.predictions(), stage.info["finetune"]["pieces"]


@pytest.fixture
def run(tiny_data, tiny_options, tmp_path):
    return tellapart.train(tiny_data, tmp_path / "run", tellapart.TrainOptions(**tiny_options))


def test_a_stage_keeps_the_pieces_that_it_was_begun_with(run):
    asked = {"epochs": 2}
    base, folder, config = planned_stage(run, None, None, {**asked, "pieces": 2})
    assert config["pieces"] == 2
    claim_stage(folder, config)
    for pieces in (1, 2, 5):
        assert planned_stage(run, None, None, {**asked, "pieces": pieces}) == (base, folder, config)
    assert "pieces" not in planned_stage(run, None, "other", {**asked, "pieces": 1})[2]


@pytest.mark.slow
def test_torchrun_makes_the_stage_of_one_process_and_one_goes_on_with_it(run):
    options = tellapart.FinetuneOptions(3, "1e-4..1e-3", batch=8, pieces=2)

    def stop(row):
        raise KeyboardInterrupt

    tellapart.finetune(run, options, start="stage-1", name="local", workers=0)
    with pytest.raises(KeyboardInterrupt):
        tellapart.finetune(run, options, start="stage-1", name="later", workers=0, on_epoch=stop)
    tellapart.finetune(run, replace(options, pieces=1), start="stage-1", name="later", workers=0)
    done = alone(
        [
            Path(sys.executable).parent / "torchrun", "--master-addr", "127.0.0.1", "--master-port", "29812",
            "--nproc-per-node", "2", "-m", "tellapart", "finetune", run.folder, "--epochs", "3", "--lr",
            "1e-4..1e-3", "--batch", "8", "--from", "stage-1", "--name", "torchrun", "--flip",
            "--workers", "1", "--json",
        ],
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stage"] == "torchrun"  # once, and nothing else
    assert numbers(run, "torchrun") == numbers(run, "local")
    assert numbers(run, "later") == numbers(run, "local")
