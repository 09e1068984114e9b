"""What was lost, and why: a value that is counted and shown, where an exception would stop the rest."""

from dataclasses import dataclass
from typing import Final

from tellapart.errors import ImageError

__all__ = ["PASSING", "Failure"]

PASSING: Final = ("cannot be read", "missing", "not reachable", "not allowed", "changed")
"""Reasons that may be gone another time: such a picture is looked at again."""


@dataclass(frozen=True)
class Failure:
    """An input that was lost: its path or place, one short reason, and details for people.

    >>> str(Failure("cat.jpg", "truncated", "the file ends early"))
    'cat.jpg: truncated (the file ends early)'
    """

    path: str
    reason: str
    detail: str = ""

    @classmethod
    def of(cls, path: str, error: ImageError) -> "Failure":
        return cls(path, error.reason, error.detail)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" + (f" ({self.detail})" if self.detail else "")
