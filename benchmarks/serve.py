"""The server against its own predictor, and under ten times the load that it can answer.

    python benchmarks/serve.py [--part throughput|overload|all] [--seconds 30] [--rounds 5]

`throughput`: 400 drawn pictures as bytes, through `predict_many` of the exported model in this process, and
through `tellapart serve` in another one, over loopback, in turn. The client keeps a few connections busy and
shares the CPUs with the server; what it takes of them is printed. Its figure is the median of the ratios.

`overload`: ten times the throughput that was just measured is sent for so many seconds, whatever is answered
(open loop). Printed: the shares that were answered and refused, the seconds of those that were answered, the
memory of the server before and at each fifth, and how many requests got no answer at all,
or were let in and not answered by the deadline.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import numpy as np

import tellapart
from machine import describe, finish
from tellapart.data.cpus import cpu_count
from tellapart.data.gallery import draw_gallery

DEADLINE = 5.0
_SERVE = """
import sys
from tellapart.ship.server.limits import Limits
from tellapart.ship.server.server import serve
serve(sys.argv[1], port=0, limits=Limits(deadline=float(sys.argv[2])), log=open(sys.argv[3], "w"))
"""


class Connection(asyncio.Protocol):
    """One connection that sends a request and hears its answer; as little work as can be."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self._heard = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head = self._heard.find(b"\r\n\r\n")
        if head < 0:
            return
        fields = bytes(self._heard[:head]).lower()
        start = fields.index(b"content-length:") + 15
        length = int(fields[start:].split(b"\r\n", 1)[0])
        if len(self._heard) >= head + 4 + length and self._answer is not None:
            body = bytes(self._heard[head + 4 : head + 4 + length])
            status = int(self._heard[9:12])
            self._heard.clear()
            if not self._answer.done():
                self._answer.set_result((status, body))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


class Server:
    """`tellapart serve` as a process of its own."""

    def __init__(self, model: Path, log: Path) -> None:
        command = [sys.executable, "-c", _SERVE, str(model), str(DEADLINE), str(log)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        code = self.process.wait(30)
        print(f"the server ended with exit status {code}")

    @property
    def memory(self) -> float:
        """MB of resident memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024

    @property
    def late(self) -> int:
        """Requests that were let in and told at the deadline that they came too late."""
        with urlopen(f"{self.url}metrics") as answer:
            lines = answer.read().decode().splitlines()
        return int(float(next(line.split()[1] for line in lines if "late_total" in line[:21])))

    def request(self, picture: bytes) -> bytes:
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: image/jpeg\r\n"
            f"Content-Length: {len(picture)}\r\n\r\n"
        )
        return head.encode() + picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", choices=("throughput", "overload", "all"), default="all")
    parser.add_argument(
        "--model", type=Path, help="an exported file; by default one of drawn pictures"
    )
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument(
        "--rate", type=float, help="asked a second; by default ten times what is answered"
    )
    given = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("TELLAPART_CACHE", str(Path(scratch) / "cache"))
        model, pictures = prepared(Path(scratch), given.model, given.pictures)
        size = statistics.median(map(len, pictures)) / 1024
        print(f"{len(pictures)} pictures, {size:.0f} KiB each (median); deadline {DEADLINE:g} s")
        with Server(model, Path(scratch) / "log") as server:
            rounds = given.rounds if given.part != "overload" else 1
            ratio, rate = throughput(model, server, pictures, rounds)
            if given.part != "throughput":
                asyncio.run(overload(server, pictures, given.rate or 10 * rate, given.seconds))
    finish("server / predictor", ratio, at_least=0.8)


def prepared(scratch: Path, model: Path | None, count: int) -> tuple[Path, list[bytes]]:
    """An exported model, and pictures as bytes."""
    from tellapart.ship.export import export

    drawn = draw_gallery(scratch / "art", 40, seed=5)
    files = sorted(Path(drawn.root).rglob("*.jpg")) or sorted(Path(drawn.root).rglob("*.*"))
    if model is None:
        tellapart.train(drawn.root, scratch / "run")
        model = scratch / "model.onnx"
        export(scratch / "run", model)
    contents = [file.read_bytes() for file in files]
    return model, [contents[i % len(contents)] for i in range(count)]


def throughput(
    model: Path, server: Server, pictures: list[bytes], rounds: int
) -> tuple[float, float]:
    """The median ratio of the server's pictures a second to the predictor's, and the server's."""
    predictor = tellapart.load(model)
    list(predictor.predict_many(pictures[:20]))
    asyncio.run(closed_loop(server, pictures[:20]))
    ratios, rates = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        answers = list(predictor.predict_many(pictures))
        own = len(pictures) / (time.perf_counter() - start)
        cpu, start = time.process_time(), time.perf_counter()
        heard = asyncio.run(closed_loop(server, pictures))
        rate = len(pictures) / (time.perf_counter() - start)
        cost = 1000 * (time.process_time() - cpu) / len(pictures)
        print(
            f"predict_many {own:.0f}/s, server {rate:.0f}/s: {rate / own:.2f}; the client took "
            f"{cost:.2f} ms of CPU a picture",
            flush=True,
        )
        for answer, (status, body) in zip(answers, heard, strict=True):
            assert status == 200
            assert json.loads(body) == {**answer.to_json(), "path": None}
        ratios.append(rate / own)
        rates.append(rate)
    return statistics.median(ratios), statistics.median(rates)


async def connections(server: Server, count: int) -> list[Connection]:
    loop = asyncio.get_running_loop()
    made = [loop.create_connection(Connection, "127.0.0.1", server.port) for _ in range(count)]
    return [protocol for _, protocol in await asyncio.gather(*made)]


async def closed_loop(server: Server, pictures: list[bytes]) -> list[tuple[int, bytes]]:
    """Every connection asks again when it has its answer."""
    heard: list[tuple[int, bytes] | None] = [None] * len(pictures)
    waiting = iter(range(len(pictures)))

    async def one(connection: Connection) -> None:
        for i in waiting:
            heard[i] = await connection.ask(server.request(pictures[i]))

    opened = await connections(server, 8 * cpu_count())
    await asyncio.gather(*(one(connection) for connection in opened))
    for connection in opened:
        connection.transport.close()
    return heard


async def overload(server: Server, pictures: list[bytes], rate: float, seconds: float) -> None:
    """Send at this rate, and hear what comes."""
    loop = asyncio.get_running_loop()
    requests = [server.request(picture) for picture in pictures]
    free: list[Connection] = []
    statuses: Counter[str] = Counter()
    taken, refused = [], []
    memory = [server.memory]
    running: set[asyncio.Task[None]] = set()

    async def one(number: int, due: float) -> None:
        try:
            while free and free[-1].lost:
                free.pop()
            connection = free.pop() if free else (await connections(server, 1))[0]
            status, _ = await connection.ask(requests[number % len(requests)])
            free.append(connection)
            statuses[str(status)] += 1
            (taken if status == 200 else refused).append(loop.time() - due)
        except OSError as error:
            statuses[type(error).__name__] += 1

    cpu, start, sent = time.process_time(), loop.time(), 0
    while (now := loop.time() - start) < seconds:
        while sent < now * rate:
            task = loop.create_task(one(sent, start + sent / rate))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
        if now > seconds * len(memory) / 5:
            memory.append(server.memory)
        await asyncio.sleep(0.002)
    over = loop.time() - start
    await asyncio.wait(running, timeout=2 * DEADLINE + 10)
    memory.append(server.memory)
    cost = (time.process_time() - cpu) / over
    late = np.percentile(taken, [50, 99, 100])
    print(
        f"asked {sent / over:.0f}/s ({rate:.0f}/s were meant), for {over:.0f} s: {dict(statuses)}"
    )
    print(f"the client took {cost:.2f} CPUs; without any answer: {len(running)}")
    print(
        f"answered {len(taken) / over:.0f}/s, after {late[0]:.2f} s; p99 {late[1]:.2f}, most {late[2]:.2f} s"
    )
    print(f"refused {len(refused) / sent:.1%}, after {np.median(refused) * 1000:.0f} ms (median)")
    print("memory, MB:", ", ".join(f"{one:.0f}" for one in memory), flush=True)
    print(f"let in, and not answered by the deadline: {server.late}", flush=True)
    finish("p99 of the answered / deadline", late[1] / DEADLINE, at_most=1)
    finish("requests without an answer", len(running), at_most=0)


if __name__ == "__main__":
    main()
