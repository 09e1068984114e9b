"""What one request, and all of them together, may take: bytes, pixels, files, seconds, connections."""

import math
from dataclasses import dataclass

from tellapart.errors import UsageError

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds of a server. A request beyond one of them is refused with a sentence that names it.

    `most_bytes`: of a request's body. `most_pixels`: of one picture, told from its header before anything
    is decoded. `most_files`: pictures in one request. `deadline`: seconds from the last byte of a request
    to its answer; what cannot be answered by then is refused at once. `body_seconds`: in which a body has
    to arrive, `header_seconds`: in which the head of the next request has to. `most_connections`: open at
    a time. `most_waiting`: pictures in the queue, whatever they take. All bodies together hold at most
    four times `most_bytes`.

    Raises UsageError where a bound is not above 0.

    >>> Limits(deadline=2).most_held == 4 * Limits().most_bytes
    True
    """

    most_bytes: int = 64 << 20
    most_pixels: int = 50_000_000
    most_files: int = 32
    deadline: float = 5.0
    body_seconds: float = 30.0
    header_seconds: float = 10.0
    most_connections: int = 2_000
    most_waiting: int = 4_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{name.replace('_', ' ')} is {value}; expected more than 0")

    @property
    def most_held(self) -> int:
        """Bytes of all bodies together."""
        return 4 * self.most_bytes
