"""What a million pictures cost, verb by verb: CPU seconds and bytes, and dollars at stated prices.

    python benchmarks/unit_costs.py --pictures 3000

Each command runs as a user would run it, on one machine, and is charged the CPU time of its process, which
other guests of a shared machine disturb less than the time on the clock. What does not grow with the
pictures (start, reading the model) is measured on few pictures and taken off; the rest is put in
proportion. docs/scale.md says which verbs grow otherwise.
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CPU_HOUR = 0.045
"""Dollars for an hour of one virtual CPU, on demand, of a large provider's machines for computing."""

GET, PUT = 0.4e-6, 5e-6
"""Dollars for one request to an object store."""


def measured(folder, name, *arguments):
    """CPU seconds of a command, its children included, with the cache of this folder."""
    environment = {**os.environ, "TELLAPART_CACHE": str(folder / "cache")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "tellapart.cli.main", *map(str, arguments), "--quiet"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 3), done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"  {name}: {seconds:.1f} CPU s", flush=True)
    return seconds


def sample(data, folder, count):
    """A table with every so many-th picture of a folder that is divided into splits."""
    files = sorted(path for path in data.rglob("*") if path.is_file())
    files = files[:: max(1, len(files) // count)][:count]
    folder.mkdir(parents=True)
    table = folder / "pictures.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([path, path.parent.name] for path in files)
    return table, files


def costs(data, folder, count, finetunes):
    table, files = sample(data, folder, count)
    seconds = {
        "embed": measured(folder, "train, new pictures", "train", table, "--out", "run"),
        "train": measured(folder, "train, embedded", "train", table, "--out", "again"),
        "check": measured(folder, "check, embedded", "check", table, "--out", "found"),
    }
    seconds["embed"] -= seconds["train"]
    measured(folder, "export", "export", "run")
    exported = next((folder / "run").glob("*.onnx"))
    predict = ["predict", exported, "--table", table, "--out", "answers"]
    seconds["predict"] = measured(folder, "predict", *predict)
    if finetunes:
        tune = ["finetune", "run", "--epochs", 1, "--no-flip"]
        seconds["finetune, an epoch"] = measured(folder, "finetune", *tune)
    answers = sum(path.stat().st_size for path in (folder / "answers").iterdir())
    cache = sum(path.stat().st_size for path in (folder / "cache").glob("features.sqlite*"))
    read = sum(path.stat().st_size for path in files)
    return seconds, {"pictures": read, "features": cache, "answers": answers}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default=ROOT.parent / "shared/data/art_style", type=Path)
    parser.add_argument("--pictures", default=3000, type=int)
    parser.add_argument("--finetune", action="store_true", help="needs the extra finetune")
    asked = parser.parse_args()
    few = max(40, asked.pictures // 10)
    with tempfile.TemporaryDirectory(prefix="costs-") as folder:
        small, _ = costs(asked.data, Path(folder) / "few", few, asked.finetune)
        large, sizes = costs(asked.data, Path(folder) / "all", asked.pictures, asked.finetune)
    print(f"for 1,000,000 pictures, of {asked.pictures} less {few}:")
    for verb, seconds in large.items():
        each = (seconds - small[verb]) / (asked.pictures - few)
        dollars = 1e6 * each / 3600 * CPU_HOUR
        print(f"{verb:>20}: {1e6 * each:>12,.0f} CPU s {dollars:>8.2f} $")
    for name, size in sizes.items():
        print(f"{name:>20}: {1e6 * size / asked.pictures / 1e9:>12.1f} GB")
    print(f"{'reading from a store':>20}: {1e6 * GET:>12.2f} $ of requests")
    print(
        f"value: {(large['embed'] - small['embed']) / (asked.pictures - few):.4f} CPU s to embed one"
    )


if __name__ == "__main__":
    main()
