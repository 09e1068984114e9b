"""Shares as people write them."""

from tellapart.errors import UsageError

__all__ = ["parse_share"]


def parse_share(text: str, what: str = "target error", *, zero: bool = False) -> float:
    """A share in (0, 1), written as "2%", "2 %" or "0.02"; with `zero` also 0. Raises UsageError.

    >>> parse_share("2%"), parse_share("0.05")
    (0.02, 0.05)
    """
    number = text.strip()
    try:
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not (share >= 0 if zero else share > 0) or not share < 1:
        least = "from 0" if zero else "above 0"
        raise UsageError(f"{what} {text!r}: use a share {least} and below 1, as 2% or 0.02")
    return share
