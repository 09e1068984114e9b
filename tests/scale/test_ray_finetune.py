"""Fine-tuning on a real cluster whose workers and nodes die: the numbers of one machine."""

import csv

import numpy as np
import pytest

pytest.importorskip("torch", reason="fine-tuning needs the extra finetune")
pytest.importorskip("timm", reason="timm is not installed")

import tellapart

EPOCHS = 6
STEPS = 7 * EPOCHS  # of 50 training pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    import timm
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("photos")
    tellapart.draw_gallery(root / "photos", per_class=12, seed=0)
    weights = root / "tiny.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    options = tellapart.TrainOptions("test_resnet", weights=str(weights), size=64)
    return tellapart.train(root / "photos", root / "run", options)


def numbers(run, name):
    stage = run.folder / "stages" / name
    with (stage / "history.csv").open() as file:
        history = [[float(row[c]) for c in row if c != "seconds"] for row in csv.DictReader(file)]
    rows = tellapart.Run.load(stage).predictions()
    return (
        np.asarray(history),
        [row[:4] for row in rows],
        np.asarray([row[4:] for row in rows], float),
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_nodes_train_as_one_machine_though_workers_and_nodes_die(in_cluster, run, tmp_path):
    options = tellapart.FinetuneOptions(EPOCHS, "1e-4..1e-3", batch=8, ema=0.5)
    history, rows, probabilities = _local(run, options)
    told = in_cluster("jobs/finetune_job.py", run.folder, EPOCHS, timeout=1100, HOME=str(tmp_path))
    assert told["interrupted"]["error"] == "KeyboardInterrupt"
    assert told["interrupted"]["steps"][-1] < STEPS
    checkpoint = run.folder / "stages" / "interrupted" / "checkpoint.safetensors"
    assert checkpoint.exists()
    tellapart.finetune(run, options, start="stage-1", name="interrupted", workers=0)  # by one
    for name in ("alone", "worker", "node", "interrupted"):
        found = numbers(run, name)
        assert np.allclose(found[0], history, atol=1e-4), name
        assert found[1] == rows, name
        assert np.abs(found[2] - probabilities).max() < 1e-3, name
    assert len({row[0] for row in rows}) == len(rows) == 10
    for name in ("alone", "worker", "node"):
        assert told[name]["epochs"] == list(range(EPOCHS))
        assert told[name]["total"] == told[name]["steps"][-1] == STEPS
        assert sorted(told[name]["steps"]) == told[name]["steps"], "no step was lost"
    assert told["spoilt"]["error"] == "DatasetError"
    assert "it was fine before" in told["spoilt"]["said"]


def _local(run, options):
    from dataclasses import replace

    two = replace(options, pieces=2)
    tellapart.finetune(run, two, start="stage-1", name="local", workers=0)
    return numbers(run, "local")


def test_a_node_that_does_not_see_the_run_is_named(tmp_path):
    pytest.importorskip("ray")
    from tellapart.errors import RunError
    from tellapart.scale import ray_finetune

    with pytest.raises(RunError, match=r"is not to be seen on the node .* all nodes share"):
        ray_finetune._finetune({"run": tmp_path / "run", "desk": None})
