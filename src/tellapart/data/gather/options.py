"""The bounds of gathering, checked once."""

import math
from dataclasses import dataclass
from numbers import Real

from tellapart.data.images import MOST_BYTES
from tellapart.errors import UsageError

__all__ = ["CONFLICTS", "GatherOptions"]

CONFLICTS = ("keep", "drop", "first")


@dataclass(frozen=True)
class GatherOptions:
    """How much is asked for, how fast, and what is taken; `tellapart.gather` says what each means.

    Raises UsageError where a value is out of range.
    """

    max_per_class: int = 1000
    max_size: int | None = None
    min_side: int = 32
    max_bytes: int = 64 << 20
    timeout: float = 30.0
    retries: int = 3
    concurrency: int = 32
    per_host: int = 4
    conflicts: str | None = None
    allow_private: bool = False
    ignore_robots: bool = False
    ask_again: bool = False
    user_agent: str | None = None

    def __post_init__(self) -> None:
        least = {
            "max_per_class": 1, "max_size": 1, "min_side": 1, "max_bytes": 1, "retries": 0,
            "concurrency": 1, "per_host": 1,
        }  # fmt: skip
        for name in (*least, "timeout"):
            value = getattr(self, name)
            if isinstance(value, bool | str) or not isinstance(value, Real | None):
                raise UsageError(f"{name} is {value!r}; expected a number")
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise UsageError(f"{name} is {value}; expected {lowest} or more")
        if self.max_bytes > MOST_BYTES:
            raise UsageError(f"max_bytes is {self.max_bytes:,}; at most {MOST_BYTES:,} are decoded")
        if not (self.timeout > 0 and math.isfinite(self.timeout)):
            raise UsageError(f"timeout is {self.timeout}; expected seconds, more than 0")
        if self.conflicts not in (None, *CONFLICTS):
            raise UsageError(f"conflicts is {self.conflicts!r}; expected keep, drop or first")
        if self.max_size is not None and self.max_size < self.min_side:
            raise UsageError(
                f"max_size is {self.max_size} and min_side {self.min_side}: nothing could be kept"
            )
        agent = self.user_agent
        if agent is not None and not (agent.strip() and agent.isascii() and agent.isprintable()):
            raise UsageError("user_agent must be one line of ASCII text")
