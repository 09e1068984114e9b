"""The probe on more rows than fit in memory: its memory as the rows become more, and what it answers.

    python benchmarks/streamed_probe.py [--rows 10000 100000 1000000] [--at-most 1.3]

Each number of rows in a process of its own. The rows are simulated, 2,000 features each, and never
there at once: each is the sum of a row of one bank of 4,096 and a row of another, and their covariance
falls off about as that of real features does. Labels are drawn from a logistic model on them, so the
best possible log loss is known: `least`. `own` is the peak of the process's own memory, RssAnon of
Linux, looked at 50 times a second; `resident` that of all pages, ru_maxrss, with mapped files, which
the kernel may take back. `memory` is held to one byte, so that all sizes are read in passes.
The last line is `own` of the most rows over that of the fewest.
"""

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from machine import describe, finish
from tellapart.training.probe import fit_probe

BANK = 4096
CLASSES = 4
CHUNK = 4096


class SimulatedRows:
    """N rows of D numbers; row r is always the same, whoever asks."""

    def __init__(self, n: int, d: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.shape = (n, d)
        fall = 1 / np.sqrt(1 + np.arange(d, dtype=np.float32))
        mix = rng.standard_normal((d, d), np.float32) * np.sqrt(fall)[:, None] / np.sqrt(fall.sum())
        self.banks = [rng.standard_normal((BANK, d), np.float32) @ mix for _ in range(2)]
        self.banks[0] += rng.random(d, np.float32)  # a mean of its own for each feature
        self.weights = rng.standard_normal((d, CLASSES), np.float32) * np.float32(0.15)
        self.seed = seed

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        answer = np.empty((stop - start, self.shape[1]), np.float32)
        while start < stop:
            turn, first = divmod(start, BANK)
            second = (first + 37 * turn) % BANK
            size = min(stop - start, BANK - max(first, second))
            place = len(answer) - (stop - start)
            one, other = self.banks[0][first : first + size], self.banks[1][second : second + size]
            np.add(one, other, out=answer[place : place + size])
            start += size
        return answer

    def labels(self) -> tuple[NDArray[np.intp], float]:
        """Drawn by the model for every row, (N,), and the mean log loss of the model itself."""
        n = self.shape[0]
        found, loss = np.empty(n, np.intp), 0.0
        centre = self.banks[0].mean(axis=0) @ self.weights
        for start in range(0, n, CHUNK):
            stop = min(start + CHUNK, n)
            z = self.block(start, stop) @ self.weights - centre
            noise = np.random.default_rng([self.seed, start]).gumbel(size=z.shape)
            own = found[start:stop] = (z + noise).argmax(axis=1)
            loss += float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), own]).sum())
        return found, loss / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--features", type=int, default=2000)
    parser.add_argument("--at-most", type=float)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(fit_here(options.child, options.features)))
        return
    print(describe())
    print("     rows   own MB  resident MB  seconds  passes  strength  log loss    least  accuracy")
    own = []
    for count in sorted(options.rows):
        found = json.loads(
            subprocess.run(
                [sys.executable, __file__, "--child", str(count), "--features", str(options.features)],
                stdout=subprocess.PIPE, text=True, check=True,
            ).stdout
        )  # fmt: skip
        own.append(found["own"])
        print(
            f"{count:>9,}{found['own']:>9.0f}{found['resident']:>13.0f}{found['seconds']:>9.0f}"
            f"{found['passes']:>8}{found['strength']:>10.0f}{found['log_loss']:>10.4f}"
            f"{found['least']:>9.4f}{found['accuracy']:>10.4f}",
            flush=True,
        )
    finish("ratio", own[-1] / own[0], at_most=options.at_most)


def fit_here(count: int, width: int) -> dict[str, float]:
    """What a process by itself does."""
    rows, peak = SimulatedRows(count, width), [0.0]
    targets, least = rows.labels()
    folds = np.random.default_rng(1).integers(0, 5, count)
    threading.Thread(target=watch, args=(peak,), daemon=True).start()
    began = time.perf_counter()
    fit = fit_probe(
        rows, targets, CLASSES, folds, {"final": width // 2, "all": width}, memory=1,
        progress=lambda done, total: print(
            f"\r{done}/{total} {time.perf_counter() - began:.0f} s", end="", file=sys.stderr
        ),
    )  # fmt: skip
    seconds = time.perf_counter() - began
    own = fit.out_of_fold[np.arange(count), targets].astype(np.float64)
    return {
        "own": peak[0],
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "seconds": seconds,
        "passes": fit.passes,
        "strength": fit.chosen.strength,
        "log_loss": float(-np.log(own).mean()),
        "least": least,
        "accuracy": float((fit.out_of_fold.argmax(axis=1) == targets).mean()),
    }


def watch(peak: list[float]) -> None:
    while True:
        lines = Path("/proc/self/status").read_text().splitlines()
        found = next(line for line in lines if line.startswith("RssAnon"))
        peak[0] = max(peak[0], int(found.split()[1]) * 1024 / 1e6)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
