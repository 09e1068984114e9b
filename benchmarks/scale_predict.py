"""A million rows through predict with a stub of a network: memory, one row each, killed in the middle.

    python benchmarks/scale_predict.py [--rows 1000000] [--engine local ray] [--format jsonl] [--at-most 20]

The network is a handful of averages, the pictures are eight of 8×8 px, named over and over in a Parquet
table, so what is measured is our own work for each row. The command `tellapart predict` is killed with -9
when half of the parts are there, and run again. `own` is the process's own memory, RssAnon of Linux, looked
at 5 times a second: at a fifth of its time and at most after that; likewise the largest worker's, on a
cluster of two nodes of one CPU in namespaces of its own. Every row is compared with what its picture
gets alone. The last line is how much memory grew after a fifth of the time, in MB, at most.
"""

import argparse
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from machine import describe, finish

ROOT = Path(__file__).resolve().parents[1]
ALONE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
ROWS_A_PART = 1024
_STARTING = 3  # seconds in which a process imports what it needs


@dataclass(frozen=True)
class Cost:
    seconds: float
    own: list[float]  # MB, by the time
    workers: list[float]  # of the largest

    def growth(self) -> float:
        """From a fifth of the time on, MB."""
        return max(_growth(self.own), _growth(self.workers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--engine", nargs="+", choices=("local", "ray"), default=["local", "ray"])
    parser.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl")
    parser.add_argument("--at-most", type=float)
    options = parser.parse_args()
    print(describe())
    folder = Path(tempfile.mkdtemp(prefix="tellapart-scale-"))
    growth = []
    try:
        prepare(folder, options.rows)
        for engine in options.engine:
            if engine == "local":
                growth.append(killed_and_done(folder, options.format, "local"))
            else:
                growth.append(in_cluster(folder, options.format))
    finally:
        shutil.rmtree(folder)
    finish("growth in MB", max(growth), at_most=options.at_most)


def prepare(folder: Path, rows: int) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    sys.path.insert(0, str(ROOT / "tests"))
    from ship.made_export import made_export

    made_export(folder / "model.onnx")
    generator = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for number in range(8):
        pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
    schema = arrow.schema([("path", arrow.string())])
    with parquet.ParquetWriter(folder / "table.parquet", schema) as table:
        for start in range(0, rows, 100_000):
            names = [name_of(row) for row in range(start, min(rows, start + 100_000))]
            table.write_table(arrow.table({"path": names}, schema))


def name_of(row: int) -> str:
    """One in a thousand is gone."""
    return f"pictures/{row % 8}.png" if row % 1000 else f"pictures/gone{row}.png"


def in_cluster(folder: Path, form: str) -> float:
    environment = {
        **os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'benchmarks'}", "OPENBLAS_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }  # fmt: skip
    nodes = str(ROOT / "tests" / "scale" / "two_nodes.py")
    done = subprocess.run(
        [*ALONE, sys.executable, nodes, __file__, str(folder), form],
        stdout=subprocess.PIPE, text=True, env=environment, check=True,
    )  # fmt: skip
    *lines, last = done.stdout.splitlines()
    print("\n".join(line for line in lines if line))
    return json.loads(last)


def job(nodes: Any, folder: str, form: str) -> float:
    """Called beside the nodes of a cluster."""
    return killed_and_done(Path(folder), form, "ray", nodes.address)


def killed_and_done(folder: Path, form: str, engine: str, address: str | None = None) -> float:
    out = folder / f"answers-{engine}"
    command = [
        sys.executable, "-m", "tellapart.cli.main", "predict", str(folder / "model.onnx"),
        "--table", str(folder / "table.parquet"), "--out", str(out), "--format", form,
        "--rows", str(ROWS_A_PART), "--engine", engine, "--quiet",
    ]  # fmt: skip
    command += ["--address", address] if address else []
    import pyarrow.parquet as parquet

    rows = parquet.read_metadata(folder / "table.parquet").num_rows
    half = rows // ROWS_A_PART // 2
    first = measured(command, out, half, ray=engine == "ray")
    before = len(list(out.glob("part-*")))
    second = measured(command, out, None, ray=engine == "ray")
    wrong = compare(folder, out, form, rows)
    for name, cost in (("killed", first), ("done", second)):
        n = before * ROWS_A_PART if name == "killed" else rows - before * ROWS_A_PART
        each = 1e6 * cost.seconds / n
        said = f"{engine:<6}{name:<7}{n:>10,} rows {cost.seconds:8.1f} s {each:6.0f} µs a row"
        print(
            f"{said}, own {_told(cost.own)} MB"
            + (f", workers {_told(cost.workers)} MB" if address else "")
        )
    print(f"{engine:<6}{rows:,} rows, {wrong} wrong", flush=True)
    if wrong:
        sys.exit(f"{wrong} rows are wrong")
    return max(first.growth(), second.growth())


def measured(command: list[str], out: Path, until: int | None, *, ray: bool) -> Cost:
    """Killed when `until` parts are there."""
    own: list[float] = []
    workers: list[float] = []
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            own.append(anonymous(process.pid))
            workers.append(max((anonymous(pid) for pid in ray_workers()), default=0) if ray else 0)
            if until is not None and len(list(out.glob("part-*"))) >= until:
                process.send_signal(signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.2)
    if until is None and process.returncode != 3:
        sys.exit(f"{' '.join(command)}\nended with {process.returncode}")
    return Cost(time.perf_counter() - start, own, workers)


def anonymous(pid: int) -> float:
    """RssAnon in MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon")), 0.0)


def ray_workers() -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            try:
                if Path(f"/proc/{name}/cmdline").read_bytes().startswith(b"ray::"):
                    yield int(name)
            except OSError:
                continue


def compare(folder: Path, out: Path, form: str, rows: int) -> int:
    """How many rows are not what their input gets alone, or are too many or too few."""
    from tellapart import load

    predictor = load(folder / "model.onnx")
    alone = [predictor.predict(folder / "pictures" / f"{i}.png").to_json() for i in range(8)]
    wrong = count = 0
    for row, found in enumerate(answers(out, form)):
        if row % 1000:
            wanted = alone[row % 8]
            wrong += any(
                found[name] != wanted[name] for name in ("label", "probability", "verdict")
            )
        else:
            wrong += not found["error"].startswith("missing")
        wrong += found["path"] != name_of(row)
        count += 1
    return wrong + abs(rows - count)


def answers(out: Path, form: str) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as parquet

    for file in sorted(out.glob("part-*")):
        if form == "jsonl":
            yield from map(json.loads, file.read_text().splitlines())
        else:
            yield from parquet.read_table(file).to_pylist()


def _growth(values: list[float]) -> float:
    split = max(len(values) // 5, 5 * _STARTING)
    return max(values[split:]) - max(values[: split + 1]) if values[split:] else 0.0


def _told(values: list[float]) -> str:
    marks = itertools.pairwise([0, *(len(values) * fifth // 5 for fifth in range(1, 6))])
    return " ".join(f"{max(values[start:end], default=0):.0f}" for start, end in marks)


if __name__ == "__main__":
    main()
