"""What every benchmark prints: the machine, the commit, and one last line with its figure."""

import platform
import subprocess
import sys
from pathlib import Path

from tellapart.data.cpus import cpu_count


def describe() -> str:
    """Processor, CPUs and commit, in one line."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, cwd=Path(__file__).parent,
    ).stdout.strip()  # fmt: skip
    return f"{name}, {cpu_count()} CPUs, Python {platform.python_version()}, commit {commit or '?'}"


def finish(
    name: str, value: float, *, at_least: float | None = None, at_most: float | None = None
) -> None:
    """Print `name: value` and exit 1 where a bound is not met."""
    print(f"{name}: {value:.3g}" if value < 1000 else f"{name}: {value:.0f}")
    if (at_least is not None and value < at_least) or (at_most is not None and value > at_most):
        sys.exit(1)
