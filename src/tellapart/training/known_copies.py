"""Who copies whom, kept on disk by the pictures that were compared: the second time is a look."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

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
    file = folder / "copies" / f"{told.hexdigest()}.safetensors"
    found = _read(file, len(sha256))
    if found is None:
        found = find()
        with suppress(OSError):
            _write(file, found)
    return found


def _read(file: Path, count: int) -> Copies | None:
    try:
        kept = load(file.read_bytes())
        words = kept.pop("kinds").tobytes().decode()
        kinds = np.array(words.split("\n") if words else [], object)
        copies = Copies(**kept, kinds=kinds)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    ends = np.concatenate([copies.copy, copies.original])
    whole = len(copies.copy) == len(copies.original) == len(kinds) == len(copies.similarity)
    sound = len(copies.groups) == count and ((ends >= 0) & (ends < count)).all()
    return copies if whole and sound else None


def _write(file: Path, copies: Copies) -> None:
    words = np.frombuffer("\n".join(copies.kinds).encode(), np.uint8)
    write_atomically(file, save({**vars(copies), "kinds": words}))
    kept = sorted(file.parent.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    for old in kept[:-_MOST_KEPT]:
        old.unlink(missing_ok=True)
