"""Files that are there whole or not at all: written aside, flushed to the disk, then renamed."""

import os
import secrets
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: Path, content: bytes | str) -> None:
    """Put `content` (text as UTF-8) at `path`, so that a reader, or a kill -9, sees the old or the new.

    Raises OSError, as a full disk does, and leaves nothing behind then.
    """
    raw = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name stays below 255 bytes; the mode is left to the kernel and the process' umask.
    aside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
