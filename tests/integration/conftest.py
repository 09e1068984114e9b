"""One small gallery and one run on it, made once by the command line as a user would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Variables for child processes: a cache of their own, warnings as errors."""
    cache = tmp_path_factory.mktemp("cache")
    return {
        **os.environ,
        "TELLAPART_CACHE": str(cache),
        "PYTHONWARNINGS": "error",
        "COLUMNS": "120",
        "OPENBLAS_NUM_THREADS": "1",
    }


@pytest.fixture(scope="session")
def tellapart(environment):
    """Run the command; returns the finished process with its output as text."""

    def run(*arguments, input=None, cwd=None, **variables):
        return subprocess.run(
            [sys.executable, "-m", "tellapart.cli.main", *map(str, arguments)],
            input=input, capture_output=True, text=True, cwd=cwd, timeout=240,
            env={**environment, **variables},
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def gallery(tmp_path_factory, tellapart) -> Path:
    folder = tmp_path_factory.mktemp("gallery") / "art"
    done = tellapart("gallery", folder, "--per-class", 16)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory, tellapart, gallery) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    done = tellapart("train", gallery, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder
