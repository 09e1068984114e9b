"""Files that a job leaves where all of its workers see them: in a folder, or behind a URL of fsspec's.

There whole or not at all: locally written aside and renamed, and an object store shows an object when
all of it has come. Credentials come from the environment.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tellapart.data.atomic_file import write_atomically
from tellapart.data.places import is_url, joined, shown
from tellapart.data.remote import read_url, write_url
from tellapart.errors import DatasetError, ImageError

__all__ = ["StoredFolder"]

_MOST_BYTES: Final = 4 << 30


@dataclass(frozen=True)
class StoredFolder:
    """A folder by its path or its URL.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     folder = StoredFolder(place)
    ...     folder.write("a/b.txt", b"there")
    ...     folder.read("a/b.txt"), folder.read("a/c.txt")
    (b'there', None)
    """

    place: str

    def write(self, name: str, content: Any) -> None:
        """Put bytes (or a buffer of them) into the file `name`. Raises DatasetError."""
        try:
            if is_url(self.place):
                write_url(joined(self.place, name), bytes(content))
            else:
                write_atomically(Path(self.place) / name, content)
        except (OSError, ImageError) as error:
            raise DatasetError(
                f"{shown(self.place)}/{name} cannot be written: {_reason(error)}. Make room, or choose "
                "another place."
            ) from None

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None where there is none or an empty one. Raises DatasetError."""
        try:
            if is_url(self.place):
                return read_url(joined(self.place, name), most=_MOST_BYTES)
            return (Path(self.place) / name).read_bytes() or None
        except FileNotFoundError:
            return None
        except (OSError, ImageError) as error:
            if isinstance(error, ImageError) and error.reason in ("missing", "empty"):
                return None
            raise DatasetError(
                f"{shown(self.place)}/{name} cannot be read: {_reason(error)}."
            ) from None


def _reason(error: OSError | ImageError) -> str:
    if isinstance(error, ImageError):
        return f"{error.reason} ({error.detail})" if error.detail else error.reason
    return error.strerror or f"{error}"
