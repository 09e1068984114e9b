"""Which pictures are meant: files, folders, patterns, or paths from standard input."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tellapart.data.images import looks_like_image

__all__ = ["find_pictures"]


def find_pictures(asked: Iterable[str], stdin: BinaryIO | None = None) -> Iterator[str]:
    """Paths in the order asked. A folder gives the pictures in it and below, sorted; a pattern such
    as `*.jpg` the matching files; `-` a path per line of `stdin`. What does not exist is given back
    as it is, so that it gets its error.

    >>> list(find_pictures(["no/such.jpg"]))
    ['no/such.jpg']
    """
    for text in asked:
        if text == "-" and stdin is not None:
            lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in stdin)
            yield from find_pictures(line for line in lines if line and line != "-")
        elif os.path.isdir(text):  # noqa: PTH112 (Path's raises where a name is too long)
            yield from _below(text)
        elif not os.path.exists(text) and glob.has_magic(text):  # noqa: PTH110
            found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (absolute patterns too)
            files = [path for path in found if Path(path).is_file()]
            yield from files or [text]
        else:
            yield text


def _below(folder: str) -> Iterator[str]:
    closed: list[str] = []
    for place, folders, files in os.walk(folder, onerror=lambda e: closed.append(e.filename)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            if not name.startswith(".") and looks_like_image(path):
                yield str(path)
    yield from closed  # folders that may not be read get their error too
