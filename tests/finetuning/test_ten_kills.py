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
        sys.executable, "-m", "tellapart.cli.main", "finetune", str(run.folder), "--epochs", "2",
        "--batch", "8", "--name", "tuned", "--unfreeze", "all", "--quiet",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("ten-kills")
    tellapart.draw_gallery(root / "photos", per_class=12, seed=0)
    return root


def new_run(photos, name):
    return tellapart.train(photos / "photos", photos / name)


def test_it_ends_with_identical_weights(photos):
    alone, killed = new_run(photos, "alone"), new_run(photos, "killed")
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    began = time.monotonic()
    subprocess.run(command(alone), check=True, env=environment)
    whole = time.monotonic() - began
    moments = random.Random(7)
    kills = 0
    for _ in range(KILLS):
        with subprocess.Popen(command(killed), env=environment, start_new_session=True) as process:
            time.sleep(moments.uniform(0.2, 0.9) * whole)
            kills += process.poll() is None
            os.killpg(process.pid, signal.SIGKILL)
    subprocess.run(command(killed), check=True, env=environment)
    assert kills >= KILLS // 2  # the last ones may find it done
    mine, other = (
        load_file(run.folder / "stages" / "tuned" / "network.safetensors")
        for run in (killed, alone)
    )
    assert mine.keys() == other.keys()
    assert all(np.array_equal(mine[name], other[name]) for name in other)
    tables = [
        (run.folder / "stages" / "tuned" / "predictions.csv").read_bytes()
        for run in (killed, alone)
    ]
    assert tables[0] == tables[1]
