"""`tellapart train --engine ray` interrupted, then killed, then let run: what is finished is kept."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path


def job(nodes, folder):
    store = Path("store").absolute()
    command = [
        sys.executable, "-m", "tellapart.cli.main", "train", folder, "--out", "run", "--json",
        "--engine", "ray", "--address", nodes.address, "--store", str(store),
    ]  # fmt: skip
    told = {}
    for name, wanted, number in (("interrupted", signal.SIGINT, 1), ("killed", signal.SIGKILL, 3)):
        running = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while len(list(store.rglob("*.arrow"))) < number and running.poll() is None:
            time.sleep(0.05)
        running.send_signal(wanted)
        _, said = running.communicate(timeout=60)
        shards = len(list(store.rglob("*.arrow")))
        told[name] = [running.returncode, shards, said[-300:]]
        time.sleep(2)
        told[name].append(len(list(store.rglob("*.arrow"))))
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.arrow")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    told["status"], told["said"] = done.returncode, done.stderr[-3000:]
    told["kept"] = all(path.stat().st_mtime_ns == when for path, when in before.items())
    told["shards"] = len(list(store.rglob("*.arrow")))
    told["run"] = json.loads(done.stdout)["dataset"]["counts"] if done.stdout else None
    return told
