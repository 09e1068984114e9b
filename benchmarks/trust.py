"""All that is claimed of checks and trust, one benchmark after the other, and which bounds hold.

    python benchmarks/trust.py [--only copies,leaks] [--quick]

Each line of the summary is a benchmark of this folder with its bound; its own output is above. fastai's
part alone takes some 20 minutes; `--quick` takes fewer seeds and pictures. The data are those of
../shared/data.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = {  # name: arguments, arguments when quick
    "copies": ("copies.py --at-least 0.97",),
    "copies, gallery": ("copies.py --gallery --at-least 0.97",),
    "copies, cost": ("copies.py --simulated 10000 100000", "copies.py --simulated 10000"),
    "leaks": ("leaks.py",),
    "label errors": ("label_errors.py", "label_errors.py --seeds 2 --galleries 1"),
    "top losses": ("top_losses.py --pictures 1500 --at-least 1.3", "top_losses.py --pictures 300"),
    "shortcuts": ("shortcuts.py", "shortcuts.py --seeds 5"),
    "learning curve": ("learning_curve.py", "learning_curve.py --seeds 2"),
    "calibration": ("trust_abstention.py --part calibration",),
    "promise": ("trust_abstention.py --part promise", "trust_abstention.py --part promise --splits 5"),
    "novelty": ("trust_abstention.py --part novelty --at-least 0.85",),
    "flip": ("transformations.py --real", "transformations.py --seeds 1"),
    "check, cost": ("check.py --at-most 0.1", "check.py --pictures 1000"),
    "check, growth": (
        "check.py --simulated 10000 100000 --at-most 12",
        "check.py --simulated 1000 10000 --at-most 12",
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help="names, with commas between them")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    names = [name for name in PARTS if name in given.only or name.split(",")[0] in given.only]
    summary, failed = [], 0
    for name in names:
        arguments = PARTS[name][-1 if given.quick else 0].split()
        print(f"\n== {name}: benchmarks/{' '.join(arguments)}", flush=True)
        began = time.monotonic()
        command = [sys.executable, str(HERE / arguments[0]), *arguments[1:]]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        last = ""
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
        failed += process.wait() != 0
        verdict = "holds" if process.returncode == 0 else f"exit {process.returncode}"
        summary.append(f"{name:<16} {last:<60} {verdict} ({time.monotonic() - began:.0f} s)")
    print("\n" + "\n".join(summary))
    sys.exit(min(failed, 1))


if __name__ == "__main__":
    main()
