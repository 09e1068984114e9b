"""kill -9 at ten random moments of `tellapart finetune` with the default backbone, as a user has it."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("torch", reason="fine-tuning needs the extra finetune")

from safetensors.numpy import load_file

import tellapart

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = 10


def command(run):
    return [
        sys.executable, "-m", "tellapart.cli.main", "finetune", str(run.folder), "--epochs", "6",
        "--batch", "8", "--name", "tuned", "--unfreeze", "all", "--quiet",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("ten-kills")
    tellapart.draw_gallery(root / "photos", per_class=12, seed=0)
    return root


def new_run(photos, name):
    return tellapart.train(photos / "photos", photos / name)


def weights_and_answers(run):
    stage = run.folder / "stages" / "tuned"
    return load_file(stage / "network.safetensors"), (stage / "predictions.csv").read_bytes()


def test_it_ends_with_identical_weights(photos):
    """Where a training ends before its kill came, another one takes the kills that are left."""
    alone = new_run(photos, "alone")
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    began = time.monotonic()
    subprocess.run(command(alone), check=True, env=environment)
    whole = time.monotonic() - began
    weights, answers = weights_and_answers(alone)
    moments, killed = random.Random(7), 0
    for number in range(KILLS):
        run = new_run(photos, f"killed-{number}")
        ended = False
        while not ended:
            with subprocess.Popen(command(run), env=environment, start_new_session=True) as process:
                if killed < KILLS:
                    time.sleep(moments.uniform(0.1, 0.6) * whole)
                ended = killed == KILLS or process.poll() is not None
                if not ended:
                    os.killpg(process.pid, signal.SIGKILL)
                    killed += 1
            if ended:
                assert process.returncode == 0
        mine, mine_answers = weights_and_answers(run)
        assert mine.keys() == weights.keys()
        assert all(np.array_equal(mine[name], weights[name]) for name in weights)
        assert mine_answers == answers
        if killed == KILLS:
            break
    assert killed == KILLS
