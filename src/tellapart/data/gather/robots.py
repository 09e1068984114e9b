"""What `X-Robots-Tag` says about taking a picture for training.

The header holds directives, perhaps after the name of a robot that they are for. `noindex` and `none`
are Google's, `noimageindex` too, `noai` and `noimageai` were introduced by DeviantArt. What is said to
another robot by name is not said to us.
"""

from collections.abc import Iterable

__all__ = ["refused_by_robots"]

_REFUSING = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
_OURS = frozenset({"", "*", "tellapart"})
_WITH_VALUE = frozenset(
    {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
)


def refused_by_robots(headers: Iterable[str]) -> str:
    """The directive that refuses, or "" where none does; `headers` are the values of all such headers.

    >>> refused_by_robots(["nofollow, NoAI"]), refused_by_robots(["otherbot: noindex"])
    ('noai', '')
    """
    for header in headers:
        robot = ""
        for part in header.lower().split(","):
            name, colon, rest = part.partition(":")
            # A robot's name is one word; the time of a date is none.
            if colon and name.strip() not in _WITH_VALUE and len(name.split()) == 1:
                robot, part = name.strip(), rest
            if robot in _OURS and part.strip() in _REFUSING:
                return part.strip()
    return ""
