"""Jobs on a real cluster: see two_nodes.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ALONE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.fixture
def in_cluster(tmp_path):
    """`in_cluster("jobs/x.py", *arguments)`: what its `job(nodes, *arguments)` gives, run beside two nodes
    of a cluster that is there for it alone."""
    pytest.importorskip("ray")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*ALONE, "true"], capture_output=True).returncode
    ):
        pytest.skip("no namespaces here: a cluster would listen beyond loopback")

    def run(job, *arguments, timeout=280, **variables):
        environment = {
            **os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "default",
            "OPENBLAS_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",  # else a token that some Ray has left in ~/.ray switches it on
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **variables,
        }  # fmt: skip
        command = [*ALONE, sys.executable, str(HERE / "two_nodes.py"), str(HERE / job)]
        done = subprocess.run(
            [*command, *map(str, arguments)],
            capture_output=True, text=True, timeout=timeout, cwd=tmp_path, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def gallery(tmp_path_factory):
    from tellapart import draw_gallery

    folder = tmp_path_factory.mktemp("gallery") / "art"
    draw_gallery(folder, per_class=16)
    return folder
