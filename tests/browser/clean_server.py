"""`tellapart clean` as a process of its own, as a user starts it."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

__all__ = ["CleanServer", "free_port"]


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


class CleanServer:
    """A server of the review of `data` that can be stopped, paused, and started again at the same port."""

    def __init__(self, data: Path, journal: Path) -> None:
        self.data, self.journal, self.port = data, journal, free_port()
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [
            sys.executable, "-m", "tellapart.cli.main", "clean", str(self.data), "--journal",
            str(self.journal), "--port", str(self.port), "--who", "ann", "--no-browser", "--idle", "5",
            "--json",
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONWARNINGS": "error", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(self._process.communicate()[1])
        self.url = json.loads(line)["url"]

    def kill(self) -> None:
        """At once, as when the power fails."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self._process is not None:
            self._end(signal.SIGINT)

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        self._process.communicate(timeout=30)
        self._process = None

    def ask(self, path: str, body: dict | None = None) -> dict:
        """What the API answers, past the page."""
        parts = urlsplit(self.url)
        request = Request(f"{parts.scheme}://{parts.netloc}{path}")
        request.add_header("Authorization", f"Bearer {parts.query.removeprefix('token=')}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def decided(self) -> dict[int, dict]:
        """All that is decided, by picture."""
        return {one["id"]: one for one in self.ask("/api/state?since=0")["decisions"]}

    def names(self) -> dict[str, int]:
        """The ids of all pictures by their names."""
        ids = range(self.ask("/api/state?since=0")["pictures"])
        found = self.ask(f"/api/pictures?queue=random&ids={','.join(map(str, ids))}")["pictures"]
        return {picture["name"]: picture["id"] for picture in found}
