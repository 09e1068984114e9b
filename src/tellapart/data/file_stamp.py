"""By what a file shows that it has changed, without being read: size and times, or what its server says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tellapart.data.ordered_map import ordered_map
from tellapart.data.places import is_url
from tellapart.data.remote import stat_url
from tellapart.data.tar_members import split_tar
from tellapart.errors import ImageError

__all__ = ["file_stamps"]

_AT_ONCE: Final = 16  # questions to a server: they wait, and compute nothing


def file_stamps(root: Path, paths: Sequence[str]) -> list[str]:
    """A text for each path below `root`, or URL; "" where the file cannot be asked.

    Members of a tar have the tar's.

    >>> file_stamps(Path("no"), ["such.jpg"])
    ['']
    """
    files = [path if is_url(path) else str(root / path) for path in paths]
    files = [tar[0] if (tar := split_tar(file)) else file for file in files]
    every = list(dict.fromkeys(files))
    workers = _AT_ONCE if any(map(is_url, every)) else 1
    stamps = dict(zip(every, ordered_map(_stamp, every, workers=workers), strict=True))
    return [stamps[file] for file in files]


def _stamp(file: str) -> str:
    try:
        if is_url(file):
            stated = stat_url(file)
            return f"{stated.size} {stated.tag}" if stated.tag else ""
        told = Path(file).stat()
    except (OSError, ValueError, ImageError):
        return ""
    # The last tells a file that another has taken the place of, with its own time kept.
    return f"{told.st_size} {told.st_mtime_ns} {told.st_ctime_ns}"
