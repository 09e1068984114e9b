"""Processes that verify and store pictures, seen from the process that asks for them."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from tellapart.data.gather.worker import MOST_SECONDS
from tellapart.errors import TellapartError

__all__ = ["Verifiers"]

_MOST_CRASHES = 2  # of one picture, before it is given up
_MOST_STARTS = 5  # in a row that come to nothing


class _Job:
    """One request, until its answer is there."""

    __slots__ = ("answer", "crashes", "request")

    def __init__(self, request: bytes, answer: "asyncio.Future[list[Any]]") -> None:
        self.request = request
        self.answer = answer
        self.crashes = 0


class Verifiers:
    """`count` processes of `worker.py`; each gets the next job while it still has one.

    Use as `async with Verifiers(2) as verifiers`.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._workers: list[_Worker] = []

    async def __aenter__(self) -> "Verifiers":
        for _ in range(self._count):
            worker = _Worker()
            await worker.start()
            self._workers.append(worker)
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        for worker in self._workers:
            await worker.end(at_once=kind is not None)

    async def store(
        self,
        content: bytes | None,
        name: str,
        aside: Path,
        folders: list[Path],
        max_size: int | None,
        min_side: int,
    ) -> list[Any]:
        """What `worker.py` answers; `["bad", "damaged", …]` where the picture crashes its decoder."""
        size = -1 if content is None else len(content)
        asked = [size, name, str(aside), [str(folder) for folder in folders], max_size, min_side]
        request = json.dumps(asked).encode() + b"\n" + (content or b"")
        job = _Job(request, asyncio.get_running_loop().create_future())
        await min(self._workers, key=lambda worker: len(worker.jobs)).take(job)
        return await job.answer


class _Worker:
    """One process, started anew when it dies. It answers in the order in which it was asked."""

    def __init__(self) -> None:
        self.jobs: deque[_Job] = deque()
        self._ending = False
        self._starts = 0

    async def start(self) -> None:
        own, its = socket.socketpair()
        with its:
            # A session of its own: the Ctrl-C that lets links in hand end must not end this.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tellapart.data.gather.worker"],
                stdin=its.fileno(), stdout=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        reader, self._writer = await asyncio.open_connection(sock=own)
        self._ready = False
        self._reading = asyncio.create_task(self._read(reader))

    async def take(self, job: _Job) -> None:
        self.jobs.append(job)
        self._writer.write(job.request)
        with suppress(ConnectionError):  # it has died; its jobs are asked anew
            await self._writer.drain()

    async def end(self, *, at_once: bool) -> None:
        self._ending = True
        if at_once or self.jobs:  # what it still does nobody waits for
            self._process.kill()
        self._writer.close()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._process.wait()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            with suppress(ConnectionError):
                self._ready = bool(await reader.readline())
                self._starts = 0 if self._ready else self._starts
                while line := await reader.readline():
                    _tell(self.jobs.popleft(), json.loads(line))
            if not self._ending:
                await self._begin_anew()
        except Exception as error:  # nobody awaits this task, and everybody its jobs
            while self.jobs:
                _tell(self.jobs.popleft(), error)

    async def _begin_anew(self) -> None:
        """It died over the first job that it had not answered; the others are asked anew."""
        self._writer.close()
        status = self._process.wait()
        self._starts += 1
        if not self._ready and self._starts >= _MOST_STARTS:
            raise TellapartError(f"the process that verifies pictures cannot start ({status})")
        if self._ready and self.jobs:
            self.jobs[0].crashes += 1
            if status == -signal.SIGALRM:
                text = f"more than {MOST_SECONDS} seconds"
                _tell(self.jobs.popleft(), ["bad", "too slow to decode", text])
            elif self.jobs[0].crashes >= _MOST_CRASHES:
                _tell(self.jobs.popleft(), ["bad", "damaged", f"its decoder ended with {status}"])
        await self.start()
        for job in self.jobs:
            self._writer.write(job.request)


def _tell(job: _Job, answer: list[Any] | Exception) -> None:
    if job.answer.done():
        return  # nobody waits any more
    if isinstance(answer, Exception):
        job.answer.set_exception(answer)
    else:
        job.answer.set_result(answer)
