"""Content hashes of many files, by as many threads as there are CPUs; a lost file stops no other."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tellapart.data.images import read_bytes
from tellapart.data.ordered_map import ordered_map
from tellapart.errors import ImageError

__all__ = ["sha256_of_files"]


def sha256_of_files(
    root: Path,
    paths: Sequence[str],
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[str | ImageError]:
    """For each path below `root` its SHA-256 (64 hexadecimal digits), or why it cannot be read."""
    answers: list[str | ImageError] = []
    for answer in ordered_map(partial(_sha256, root), paths, workers=workers, ahead=16):
        answers.append(answer)
        if progress is not None:
            progress(len(answers), len(paths))
    return answers


def _sha256(root: Path, path: str) -> str | ImageError:
    try:
        return hashlib.sha256(read_bytes(root / path, path)).hexdigest()
    except ImageError as error:
        return error
