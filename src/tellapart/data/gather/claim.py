"""A folder for one process at a time: who writes its receipt holds it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tellapart.errors import DatasetError, UsageError

__all__ = ["claimed", "locked", "unwritable"]

_PARTS = ".tellapart-parts"


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Make `folder` if need be, lock it, and give a place in it for what is on its way.

    Raises DatasetError where another process holds it or it cannot be written.
    """
    parts = folder / _PARTS
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the pictures")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    with locked(folder):
        try:
            shutil.rmtree(parts, ignore_errors=True)  # of a run that was killed
            parts.mkdir()
            yield parts
        except OSError as error:
            raise unwritable(folder, error) from None
        finally:
            shutil.rmtree(parts, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder that is there; a kill lets go of it.

    Raises DatasetError where another process holds it.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise DatasetError(
            f"another gather or verify works in {folder}; wait for its end"
        ) from None
    try:
        yield
    finally:
        os.close(handle)


def unwritable(folder: Path, error: OSError) -> DatasetError:
    """The error that ends the work: a full disk, a folder that may not be written to."""
    return DatasetError(
        f"{folder} cannot be written: {error.strerror or error}. What came before is kept; "
        "make room or allow writing, and run the same command again."
    )
