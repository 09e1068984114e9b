"""Make the gallery's files on several cores.

Each worker is a plain child process that runs this module, not one of `multiprocessing`: those
import the caller's main script again, and so fail in a script without an `if __name__` guard.
Threads would do without, but share one interpreter lock: on two idle cores one thread drew 26
pictures a second, two threads 27, two processes 52.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import FrameType

from tellapart.data.gallery.files import file_bytes, write_aside
from tellapart.data.gallery.jobs import Job
from tellapart.errors import DatasetError

__all__ = ["run_jobs", "serve"]

_SERVE = "from tellapart.data.gallery.crew import serve; serve()"
_LEAST = 8  # files that are worth the start of another process


def run_jobs(root: Path, jobs: list[Job], workers: int) -> Generator[str, None, None]:
    """Make every file below `root`; yields the path of each as it is done, in any order.

    Raises DatasetError when a file cannot be written or a worker dies. Close the iterator to stop
    early: the workers end, and no half file stays.
    """
    workers = min(workers, len(jobs) // _LEAST)
    if workers < 2 or not sys.executable:
        for job in jobs:
            _make(root, job)
            yield job.path
        return
    crew = [_hire(root, jobs[number::workers]) for number in range(workers)]
    try:
        yield from _gather(crew)
    finally:
        for worker in crew:
            worker.terminate()
        for worker in crew:
            worker.wait()


def _make(root: Path, job: Job) -> None:
    try:
        write_aside(root / job.path, file_bytes(job))
    except OSError as error:
        raise DatasetError(
            f"{root / job.path} could not be written: {error}. Make room or give another folder; "
            "the same call goes on from here."
        ) from error


def _hire(root: Path, jobs: list[Job]) -> "subprocess.Popen[str]":
    paths = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    worker = subprocess.Popen(  # noqa: S603 - this interpreter and this module
        [sys.executable, "-P", "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,  # Ctrl-C is for the caller, who then ends the workers in order
    )
    assert worker.stdin is not None
    json.dump({"root": str(root.absolute()), "jobs": [asdict(job) for job in jobs]}, worker.stdin)
    worker.stdin.close()
    return worker


def _gather(crew: list["subprocess.Popen[str]"]) -> Generator[str, None, None]:
    """The answers of all workers as they come."""
    answers: SimpleQueue[tuple[int, str]] = SimpleQueue()

    def listen(number: int, worker: "subprocess.Popen[str]") -> None:
        assert worker.stdout is not None
        with worker.stdout:
            for line in worker.stdout:
                answers.put((number, line))
        answers.put((number, ""))

    for number, worker in enumerate(crew):
        Thread(target=listen, args=(number, worker), daemon=True).start()
    busy = len(crew)
    while busy:
        number, line = answers.get()
        if not line:
            busy -= 1
            status = crew[number].wait()
            if status != 0:
                raise DatasetError(
                    f"A drawing process ended with status {status}. The same call goes on from "
                    "here; with workers=1 no other process is needed."
                )
            continue
        answer = json.loads(line)
        if "error" in answer:
            raise DatasetError(answer["error"])
        yield answer["path"]


def serve() -> None:
    """The worker's side: jobs as JSON on standard input, one line of JSON out for each file."""
    signal.signal(signal.SIGTERM, _leave)
    order = json.load(sys.stdin)
    root = Path(order["root"])
    try:
        for fields in order["jobs"]:
            job = Job(**fields)
            _make(root, job)
            _answer({"path": job.path})
    except DatasetError as error:
        _answer({"error": str(error)})


def _answer(fields: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)  # by way of the open `finally` blocks, which clear up
