"""A Ray cluster of two nodes with one CPU each, on this machine, that nothing outside can reach.

`in_cluster` (in conftest.py) runs this file in namespaces of its own for network and processes: there
is no interface but loopback there, and all that was started ends with it, however it ends.

    python two_nodes.py JOB.py [ARGUMENT …]

JOB.py has a function `job(nodes, *arguments)`; what it gives is printed as JSON on the last line.
"""

import contextlib
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PORT = 6399


class TwoNodes:
    """The nodes are 0, the head with the cluster's own table, and 1."""

    def __init__(self, folder):
        self.folder, self.address = folder, f"127.0.0.1:{PORT}"
        self.raylets = []

    def start(self):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        self._add(
            "--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={self.folder}"
        )
        self.add_node()

    def add_node(self):
        self._add(f"--address={self.address}")

    def _add(self, *arguments):
        command = [
            str(Path(sys.executable).parent / "ray"), "start", *arguments, "--num-cpus=1",
            "--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
        self.raylets.append(next(pid for pid in raylets() if pid not in self.raylets))

    def kill_node(self, number=1):
        """With kill -9: the raylet, and its workers with it."""
        pids = [self.raylets[number], *self.workers(number)]
        for pid in pids:
            kill(pid)

    def kill_worker(self, number=1, seconds=60):
        """One process that computes on a node, with kill -9, as soon as there is one; whether there was."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for pid in self.workers(number):
                if not command_of(pid).startswith("ray::IDLE"):
                    kill(pid)
                    return True
            time.sleep(0.05)
        return False

    def workers(self, number):
        """The processes of workers, idle or not, of a node."""
        own = self.raylets[number]
        return [
            pid for pid in processes() if parent_of(pid) == own and command_of(pid).startswith("ray::")
            and "Agent" not in command_of(pid)
        ]  # fmt: skip


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def parent_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def raylets():
    return sorted(pid for pid in processes() if command_of(pid).split(" ")[0].endswith("/raylet"))


def main():
    job, *arguments = sys.argv[1:]
    folder = tempfile.mkdtemp(prefix="rt", dir="/tmp")  # short: sockets lie below
    nodes = TwoNodes(folder)
    try:
        nodes.start()
        answer = runpy.run_path(job)["job"](nodes, *arguments)
        sys.stdout.write("\n" + json.dumps(answer) + "\n")
        sys.stdout.flush()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
