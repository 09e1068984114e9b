"""Who copies whom, kept on disk by the pictures that were compared: the second time is a look."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np

from tellapart.data.atomic_file import write_atomically
from tellapart.data.copies.copies import Copies

__all__ = ["known_copies"]

_VERSION: Final = 1  # to be raised when data/copies finds others
_MOST_KEPT: Final = 32  # files, of about 16 bytes a picture; the oldest go first


def known_copies(
    folder: Path, space: str, sha256: Sequence[str], find: Callable[[], Copies]
) -> Copies:
    """The copies among pictures with these hashes: those kept in `folder`, else those that `find` gives.

    `space` tells the vectors apart that were compared (`Embedder.space`). A file that is damaged counts as
    none, and where none can be written nothing is kept.
    """
    told = hashlib.sha256(f"{_VERSION} {space} {len(sha256)}\n".encode())
    told.update("\n".join(sha256).encode())
    file = folder / "copies" / f"{told.hexdigest()}.npz"
    found = _read(file, len(sha256))
    if found is None:
        found = find()
        with suppress(OSError):
            _write(file, found)
    return found


def _read(file: Path, count: int) -> Copies | None:
    try:
        with np.load(BytesIO(file.read_bytes())) as kept:  # no pickle is read
            kinds = kept["kinds"].astype(object)
            copies = Copies(
                kept["copy"], kept["original"], kinds, kept["similarity"], kept["groups"]
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    ends = np.concatenate([copies.copy, copies.original])
    whole = len(copies.copy) == len(copies.original) == len(kinds) == len(copies.similarity)
    sound = len(copies.groups) == count and ((ends >= 0) & (ends < count)).all()
    return copies if whole and sound else None


def _write(file: Path, copies: Copies) -> None:
    raw = BytesIO()
    np.savez(raw, **{**vars(copies), "kinds": copies.kinds.astype(str)})
    write_atomically(file, raw.getvalue())
    kept = sorted(file.parent.glob("*.npz"), key=lambda path: path.stat().st_mtime)
    for old in kept[:-_MOST_KEPT]:
        old.unlink(missing_ok=True)
