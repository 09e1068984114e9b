"""What a check finds: which pictures, how bad, why, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    `paths` are relative to the dataset's root: the picture to look at first, then those that it belongs
    to, such as its copies; none where the finding is about a class or the data as a whole. `score` is
    in [0, 1], low is bad. `evidence` says in words what was measured, `suggestion` what to do.
    `details` hold the numbers, as JSON can hold them; `drawing` a PNG file that shows what is meant.

    >>> Finding("dark", ("cellar.jpg",), 0.04, "99 of 100 pixels are below 4 %", "remove it").paths
    ('cellar.jpg',)
    """

    check: str
    paths: tuple[str, ...]
    score: float
    evidence: str
    suggestion: str
    details: Mapping[str, Any] = field(default_factory=dict)
    drawing: bytes | None = field(default=None, repr=False)
