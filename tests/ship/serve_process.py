"""`tellapart serve` as a process of its own, as a user or a container starts it."""

import json
import os
import signal
import subprocess
import sys

__all__ = ["ServeProcess", "serve_command"]

_CODE = """
from tellapart.cli import main
from tellapart.cli.serve import serve
if "serve" not in {command.name or command.callback.__name__ for command in main.app.registered_commands}:
    main.app.command()(serve)
main.main()
"""


def serve_command(*arguments):
    return [sys.executable, "-c", _CODE, "serve", *map(str, arguments)]


class ServeProcess:
    """A running server: `port` and `url`; `end` gives its exit status and the lines of its log."""

    def __init__(self, *arguments, environment=None, ready=True):
        command = serve_command(*arguments, "--port", 0, "--json")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONWARNINGS": "error", **(environment or {})},
        )  # fmt: skip
        if ready:
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(self.process.communicate()[1])
            self.said = json.loads(line)
            self.url = self.said["url"]
            self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=30)

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def end(self):
        """Wait for the end: exit status, and the log."""
        _, log = self.process.communicate(timeout=60)
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        return self.process.returncode, lines
