"""Which pictures are meant: files, folders, patterns, URLs, or paths from standard input."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tellapart.data.images import EXTENSIONS, looks_like_image
from tellapart.data.places import is_url, secret_refusal
from tellapart.errors import DatasetError, ImageError

__all__ = ["find_pictures"]


def find_pictures(asked: Iterable[str], stdin: BinaryIO | None = None) -> Iterator[str]:
    """Paths in the order asked. A folder gives the pictures in it and below, sorted; a pattern such
    as `*.jpg` the matching files; `-` a path per line of `stdin`; a .tar its pictures. A URL is a
    picture, but for one that ends in `/` or `.tar` or holds a `*`. What does not exist is given back
    as it is, so that it gets its error.

    >>> list(find_pictures(["no/such.jpg"]))
    ['no/such.jpg']
    """
    for text in asked:
        if text == "-" and stdin is not None:
            lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in stdin)
            yield from find_pictures(line for line in lines if line and line != "-")
        elif is_url(text):
            yield from _of_url(text)
        elif os.path.isdir(text):  # noqa: PTH112 (Path's raises where a name is too long)
            yield from _below(text)
        elif not os.path.exists(text) and glob.has_magic(text):  # noqa: PTH110
            found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (absolute patterns too)
            files = [path for path in found if Path(path).is_file()]
            yield from files or [text]
        elif text.lower().endswith(".tar"):
            yield from _of_shard(text)
        else:
            yield text


def _of_url(url: str) -> Iterator[str]:
    from tellapart.data.remote import glob_url, list_url
    from tellapart.data.remote_folder import pictures_below

    path = url.partition("?")[0].lower()
    if secret_refusal(url):
        yield url  # it gets its error, which does not repeat it
    elif path.endswith(".tar"):
        yield from _of_shard(url)
    elif "*" in url or path.endswith("/"):
        try:
            found = glob_url(url) if "*" in url else pictures_below(url, list_url(url))
        except DatasetError:
            found = []
        yield from found or [url]
    else:
        yield url


def _of_shard(shard: str) -> Iterator[str]:
    from tellapart.data.tar_members import tar_index

    try:
        names = [name for name in tar_index(shard).members if _is_picture(name)]
    except ImageError:
        names = []
    yield from (f"{shard}/{name}" for name in names) if names else [shard]


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.name.startswith(".") and path.suffix.lower() in EXTENSIONS


def _below(folder: str) -> Iterator[str]:
    closed: list[str] = []
    for place, folders, files in os.walk(folder, onerror=lambda e: closed.append(e.filename)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            if not name.startswith(".") and looks_like_image(path):
                yield str(path)
    yield from closed  # folders that may not be read get their error too
