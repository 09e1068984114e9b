"""Killed with -9 at random moments, the same command completes with the numbers of a run left alone."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest


def kill_and_complete(gallery, scratch, environment, moments):
    variables = {**environment, "TELLAPART_CACHE": str(scratch / "cache")}
    command = [
        sys.executable, "-m", "tellapart.cli.main", "train", str(gallery),
        "--out", str(scratch / "run"), "--quiet",
    ]  # fmt: skip
    killed = 0
    for moment in moments:
        with subprocess.Popen(
            command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(moment)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [path for path in (scratch / "run").iterdir() if path.name.startswith(".")]
    return killed, (scratch / "run" / "predictions.csv").read_bytes()


def test_killed_thrice(gallery, run, environment, tmp_path):
    killed, predictions = kill_and_complete(gallery, tmp_path, environment, (0.8, 1.4, 1.1))
    assert killed >= 1
    assert predictions == (run / "predictions.csv").read_bytes()


@pytest.mark.slow
def test_killed_at_ten_random_moments(gallery, run, environment, tmp_path):
    chance = random.Random(0)
    moments = [chance.uniform(0.2, 2.0) for _ in range(10)]
    killed, predictions = kill_and_complete(gallery, tmp_path, environment, moments)
    assert killed >= 5
    assert predictions == (run / "predictions.csv").read_bytes()


def test_interrupted_keeps_what_was_done(gallery, environment, tmp_path):
    """Ctrl-C: exit status 130, a sentence, and the vectors so far in the cache."""
    variables = {**environment, "TELLAPART_CACHE": str(tmp_path / "cache")}
    command = [
        sys.executable, "-m", "tellapart.cli.main", "train", str(gallery),
        "--out", str(tmp_path / "run"), "--workers", "1",
    ]  # fmt: skip
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        cache = tmp_path / "cache" / "features.sqlite"
        for _ in range(600):
            if cache.exists():
                break
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=60)
    assert process.returncode == 130, messages
    assert "the same command goes on from there" in messages
    assert "Traceback" not in messages
    assert cache.stat().st_size > 4096
