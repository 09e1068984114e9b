"""Fetching pictures from a list of links, against img2dataset, in turn in one run on loopback.

    python benchmarks/gather.py [--links 10000] [--concurrency 64] [--repeats 3] [--at-least 1.0]

img2dataset lives in `.venv-peers` (`make peers`). Both ask the same server process, tests/web, for the
same pictures of 320×240 pixels and 17 kB, each as a process of its own into a fresh folder; the time
is that of the process, start-up included. Rounds alternate, A B C A B C …, and ratios are medians of
those within rounds. img2dataset runs in two modes, each as 1 process and as 2, of which the better
counts:

- bytes: it stores what comes and decodes nothing, while tellapart decodes each picture in full. EXIF
  is off. Both hash (SHA-256) and both write down where each came from. This is the ratio asked for.
- resize: what it does by itself: decode, resize to 256, encode again. tellapart does not resize.

Memory is the peak of the process and its children together, as the sum of proportional shares (PSS of
Linux), which counts shared pages once. It is looked at five times a second. Each run tells how much
CPU others used meanwhile: where that is more than about a second, measure again on a quiet machine.
"""

import argparse
import math
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from machine import describe, finish

ROOT = Path(__file__).resolve().parents[1]
TELLAPART = ROOT / ".venv" / "bin" / "tellapart"
PEER = ROOT / ".venv-peers" / "bin" / "img2dataset"
LIMIT = 600.0  # seconds for one run
OURS = "tellapart"
SAMPLE_SECONDS = 0.2  # between two looks at the memory


@dataclass(frozen=True)
class Cost:
    seconds: float  # from the start of the process to its end
    cpu_seconds: float  # of it and its children
    megabytes: float  # the peak of all of them together


@dataclass
class Contender:
    name: str
    mode: str
    command: Callable[[Path, Path], list[str]]
    costs: list[Cost] = field(default_factory=list)
    start_ups: list[float] = field(default_factory=list)  # seconds, with one link
    server_seconds: list[float] = field(default_factory=list)
    foreign_seconds: list[float] = field(default_factory=list)  # CPU that others used meanwhile

    @property
    def seconds(self) -> float:
        return statistics.median(cost.seconds for cost in self.costs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--links", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--at-least", type=float)
    parser.add_argument("--peers-only", action="store_true")
    parser.add_argument("--ours-only", action="store_true")
    options = parser.parse_args()
    if not options.ours_only and not PEER.exists():
        sys.exit("img2dataset needs its own environment: make peers")
    contenders = [] if options.peers_only else [ours(options)]
    if not options.ours_only:
        contenders += [peer(options, mode, n) for mode in ("bytes", "resize") for n in (1, 2)]
    print(describe())
    print(f"{options.links} links, {options.concurrency} at once, {options.repeats} rounds")
    with tempfile.TemporaryDirectory() as scratch, served(options.links, Path(scratch)) as server:
        lists = write_lists(options.links, server, Path(scratch))
        for number in range(options.repeats):
            for contender in contenders:
                take_turn(contender, lists, server.pid, Path(scratch))
                print(
                    f"round {number + 1}: {contender.name}: {contender.costs[-1].seconds:.2f} s, "
                    f"while others used {contender.foreign_seconds[-1]:.1f} s of CPU",
                    flush=True,
                )
    report(contenders, options)


def ours(options: argparse.Namespace) -> Contender:
    at_once = str(options.concurrency)

    def command(links: Path, into: Path) -> list[str]:
        return [
            str(TELLAPART), "gather", str(links), "--into", str(into),
            "--max-per-class", str(options.links), "--concurrency", at_once,
            "--per-host", at_once, "--allow-private", "--quiet",
        ]  # fmt: skip

    return Contender(OURS, OURS, command)


def peer(options: argparse.Namespace, mode: str, processes: int) -> Contender:
    threads = options.concurrency // processes
    shard = math.ceil(options.links / processes)  # one each, or only one process works
    as_they_come = ["--disable_all_reencoding", "True", "--extract_exif", "False"]

    def command(links: Path, into: Path) -> list[str]:
        return [
            str(PEER), "--url_list", str(links), "--output_folder", str(into),
            "--input_format", "txt", "--output_format", "files", "--enable_wandb", "False",
            "--processes_count", str(processes), "--thread_count", str(threads),
            "--number_sample_per_shard", str(shard), "--retries", "0", "--timeout", "10",
            *(as_they_come if mode == "bytes" else []),
        ]  # fmt: skip

    return Contender(f"img2dataset, {mode}, {processes} × {threads}", mode, command)


@dataclass(frozen=True)
class ServerProcess:
    pid: int
    port: int


@contextmanager
def served(pictures: int, scratch: Path) -> Iterator[ServerProcess]:
    port_file = scratch / "port"
    process = subprocess.Popen(
        [
            sys.executable, "-m", "tests.web.server", "--port-file", str(port_file),
            "--pictures", str(pictures), "--life", "7200",
        ],
        cwd=ROOT,
    )  # fmt: skip
    try:
        end = time.monotonic() + 30
        while not port_file.exists():
            if process.poll() is not None or time.monotonic() > end:
                sys.exit("The server did not start")
            time.sleep(0.02)
        yield ServerProcess(process.pid, int(port_file.read_text()))
    finally:
        process.terminate()
        process.wait(timeout=10)


def write_lists(count: int, server: ServerProcess, scratch: Path) -> tuple[Path, Path]:
    """All links, and the first alone for the start-up."""
    many, one = scratch / "urls_many.csv", scratch / "urls_one.csv"
    links = [f"http://127.0.0.1:{server.port}/many/{number}.jpg\n" for number in range(count)]
    many.write_text("".join(links))
    one.write_text(links[0])
    return many, one


def take_turn(contender: Contender, lists: tuple[Path, Path], server: int, scratch: Path) -> None:
    many, one = lists
    contender.start_ups.append(fetch(contender, one, 1, scratch).seconds)
    count = many.read_text().count("\n")
    own, served_before, busy = time.process_time(), cpu_seconds(server), busy_seconds()
    cost = fetch(contender, many, count, scratch)
    contender.costs.append(cost)
    contender.server_seconds.append(cpu_seconds(server) - served_before)
    known = cost.cpu_seconds + contender.server_seconds[-1] + time.process_time() - own
    contender.foreign_seconds.append(max(0.0, busy_seconds() - busy - known))


def fetch(contender: Contender, links: Path, count: int, scratch: Path) -> Cost:
    """One run into a fresh folder, where each link must have become a picture. It stays until the end:
    ext4 makes new files slowly for a while after many were deleted."""
    into = Path(tempfile.mkdtemp(dir=scratch)) / "into"
    os.sync()
    environment = {
        **os.environ,
        "TELLAPART_CACHE": str(scratch / "cache"),
        "NO_ALBUMENTATIONS_UPDATE": "1",  # else img2dataset's start waits for the network
        "no_proxy": "127.0.0.1",
    }
    cost = run_measured(
        contender.command(links, into), scratch / "output.txt", environment, limit=LIMIT
    )
    found = sum(1 for path in into.rglob("*") if path.suffix in (".jpg", ".jpeg"))
    if found != count:
        sys.exit(f"{contender.name} stored {found} pictures of {count}")
    shutil.rmtree(scratch / "cache", ignore_errors=True)
    return cost


def run_measured(command: list[str], log: Path, environment: dict[str, str], limit: float) -> Cost:
    """Its output goes to the log, whose end is shown where it fails or takes longer than the limit."""
    before = _children_seconds()
    peak, done = [0.0], threading.Event()
    with log.open("wb") as file:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment, start_new_session=True
        )
        watch = threading.Thread(target=_watch, args=(process.pid, peak, done))
        watch.start()
        try:
            code: int | None = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            seconds = time.perf_counter() - start
            done.set()
            watch.join()
            if process.poll() is None:  # too slow, or somebody pressed Ctrl-C
                os.killpg(process.pid, signal.SIGKILL)  # its children too
                process.wait()
    if code != 0:
        end = log.read_text(errors="replace")[-2000:]
        sys.exit(f"{' '.join(command)}\nended with {code} after {seconds:.1f} s:\n{end}")
    return Cost(seconds, _children_seconds() - before, peak[0])


def cpu_seconds(pid: int) -> float:
    """Of a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """Of all CPUs since the machine started, what a hypervisor took away included."""
    user, nice, system, _idle, _waiting, irq, soft_irq, stolen = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )
    return (user + nice + system + irq + soft_irq + stolen) / os.sysconf("SC_CLK_TCK")


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _watch(pid: int, peak: list[float], done: threading.Event) -> None:
    while not done.wait(SAMPLE_SECONDS):
        peak[0] = max(peak[0], sum(map(_megabytes, _tree(pid))))


def _tree(pid: int) -> list[int]:
    found = [pid]
    for one in found:  # grows as it goes
        try:
            tasks = [*Path(f"/proc/{one}/task").iterdir()]
            found += [int(c) for task in tasks for c in (task / "children").read_text().split()]
        except OSError:
            continue  # it has ended
    return found


def _megabytes(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def report(contenders: list[Contender], options: argparse.Namespace) -> None:
    links = options.links
    print("medians: seconds; links/s, and without start-up; start-up and CPU seconds; MB at most")
    for contender in contenders:
        start = statistics.median(contender.start_ups)
        cpu = statistics.median(cost.cpu_seconds for cost in contender.costs)
        peak = max(cost.megabytes for cost in contender.costs)
        server = statistics.median(contender.server_seconds)
        print(
            f"{contender.name:28} {contender.seconds:6.2f} s  {links / contender.seconds:6.0f}/s"
            f"  {links / max(contender.seconds - start, 1e-3):6.0f}/s  start {start:.2f} s"
            f"  CPU {cpu:.1f} s  {peak:.0f} MB  (the server's CPU {server:.1f} s)"
        )
    own = [contender for contender in contenders if contender.name == OURS]
    better = {mode: better_of(contenders, mode) for mode in ("bytes", "resize")}
    if not own or better["bytes"] is None:
        return
    for mode, other in better.items():
        if other is not None:
            bare = ratio(own[0], other, without_start_up=True)
            print(
                f"against {other.name}: {ratio(own[0], other):.2f}, "
                f"without start-up {bare:.2f}, fastest against fastest "
                f"{fastest_of(other) / fastest_of(own[0]):.2f}, "
                f"memory {peak_of(own[0]) / peak_of(other):.2f} of its ({mode})"
            )
    finish("ratio", ratio(own[0], better["bytes"]), at_least=options.at_least)


def better_of(contenders: list[Contender], mode: str) -> Contender | None:
    return min((c for c in contenders if c.mode == mode), key=lambda c: c.seconds, default=None)


def ratio(own: Contender, other: Contender, without_start_up: bool = False) -> float:
    """How many times as fast as the other; the median of the rounds' ratios."""
    starts = [statistics.median(c.start_ups) * without_start_up for c in (own, other)]
    pairs = zip(own.costs, other.costs, strict=True)
    return statistics.median((b.seconds - starts[1]) / (a.seconds - starts[0]) for a, b in pairs)


def fastest_of(contender: Contender) -> float:
    """What is least disturbed where others use the machine."""
    return min(cost.seconds for cost in contender.costs)


def peak_of(contender: Contender) -> float:
    return max(cost.megabytes for cost in contender.costs)


if __name__ == "__main__":
    main()
