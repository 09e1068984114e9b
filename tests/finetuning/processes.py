"""Training by several processes of this machine, in a network of their own where nothing else listens.

    python processes.py SIZE FILE.py FUNCTION [ARGUMENT …]

starts SIZE processes as torchrun would; each calls `FUNCTION(group, *arguments)` of FILE.py. What each gives
is printed as JSON, a line each, in the order of their ranks. Without FILE.py it is one of them.
"""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ALONE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
PORT = "29811"


def alone(command, **options):
    """Run a command where there is no interface but loopback; skips where that cannot be had."""
    try:
        found = subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        found = False
    if not found:
        pytest.skip("no namespaces here: processes would listen beyond loopback")
    up = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    return subprocess.run(
        [*ALONE, *up, *map(str, command)],
        capture_output=True,
        text=True,
        env=environment,
        **options,
    )


def in_processes(size, file, function, *arguments, timeout=120):
    """What `FUNCTION(group, *arguments)` gives in each of the processes, by rank."""
    done = alone([sys.executable, __file__, size, file, function, *arguments], timeout=timeout)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    return [json.loads(line) for line in done.stdout.splitlines()[-size:]]


def main(size, *job):
    started = []
    for rank in range(int(size)):
        told = {
            "RANK": str(rank),
            "WORLD_SIZE": size,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": PORT,
        }
        command = [sys.executable, __file__, "member", *job]
        started.append(
            subprocess.Popen(command, env={**os.environ, **told}, stdout=subprocess.PIPE, text=True)
        )
    answers = [process.communicate()[0] for process in started]
    for answer in answers:
        sys.stdout.write(answer.strip().rpartition("\n")[2] + "\n")
    return max(process.returncode for process in started)


def member(file, function, *arguments):
    sys.path.insert(0, str(Path(__file__).parent))
    from tellapart.finetuning.group import joined

    call = runpy.run_path(file)[function]
    with joined() as group:
        sys.stdout.write(json.dumps(call(group, *arguments)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "member":
        member(*sys.argv[2:])
    else:
        sys.exit(main(*sys.argv[1:]))
