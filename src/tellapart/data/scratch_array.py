"""Large arrays that rest on the disk and not in the process's own memory, and are gone with it.

Above a bound the numbers lie in a mapped file without a name: the kernel writes its pages out when
memory is wanted elsewhere, and takes the file back when the array, or the process, ends however it may.
"""

import math
import mmap
import os
import tempfile
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from tellapart.errors import DatasetError

__all__ = ["scratch_array"]

MOST_IN_MEMORY: Final = 64 << 20  # bytes; 5,891 vectors of the default backbone
_ZEROS = bytes(1 << 20)


def scratch_array(
    shape: tuple[int, ...], folder: Path, dtype: np.dtype[Any] | type = np.float32
) -> NDArray[Any]:
    """Zeros; above 64 MiB in a file below `folder`, which never shows there.

    Raises DatasetError where the disk has no room for it or the folder cannot be written.

    >>> scratch_array((2, 3), Path()).sum()
    np.float32(0.0)
    """
    size = np.dtype(dtype).itemsize * math.prod(shape)
    if size <= MOST_IN_MEMORY:
        return np.zeros(shape, dtype)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            _take_room(file, size)
            content = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise DatasetError(
            f"{folder}: {error.strerror or error}. What is known of {shape[0]:,} pictures needs "
            f"{size / 1e9:.2g} GB there while the command runs. Free some space, or choose another "
            "folder with TELLAPART_CACHE, and run the same command again."
        ) from None
    return np.frombuffer(content, dtype).reshape(shape)


def _take_room(file: IO[bytes], size: int) -> None:
    """All of it now: a disk that fills up under a mapped file ends the process by a signal."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, len(_ZEROS)):  # macOS
        file.write(_ZEROS[: size - start])
    file.flush()
