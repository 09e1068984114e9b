"""Content hashes of many files, by as many threads as there are CPUs, or more where they wait for a
server; a lost file stops no other."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tellapart.data.images import read_bytes
from tellapart.data.ordered_map import ordered_map
from tellapart.data.places import is_url
from tellapart.errors import ImageError

__all__ = ["sha256_of_files"]

_BATCH = (
    16  # files that a thread hashes at a time: to hand over one alone takes as long as to hash it
)
_AT_ONCE = 16  # requests, since they wait


def sha256_of_files(
    root: Path,
    paths: Sequence[str],
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[str | ImageError]:
    """For each path below `root`, or URL, its SHA-256 (64 hexadecimal digits), or why it cannot be read."""
    answers: list[str | ImageError] = []
    batch = _BATCH
    if any(map(is_url, paths)):
        workers, batch = max(workers, _AT_ONCE), 2
    batches = (paths[start : start + batch] for start in range(0, len(paths), batch))
    hashed = partial(_sha256_of_some, root)
    for some in ordered_map(hashed, batches, workers=workers):
        answers += some
        if progress is not None:
            progress(len(answers), len(paths))
    return answers


def _sha256_of_some(root: Path, paths: Sequence[str]) -> list[str | ImageError]:
    return [_sha256(root, path) for path in paths]


def _sha256(root: Path, path: str) -> str | ImageError:
    try:
        return hashlib.sha256(read_bytes(root / path, path, keep=True)).hexdigest()
    except ImageError as error:
        return error
