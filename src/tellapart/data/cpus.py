"""How many CPUs this process may use."""

import os
from pathlib import Path

__all__ = ["cpu_count"]


def cpu_count() -> int:
    """CPUs that this process may use: its affinity, and a container's quota where there is one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        limit = max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        limit = allowed or 1
    return max(1, min(allowed or 1, limit))
