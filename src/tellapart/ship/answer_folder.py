"""What lies in the folder of a job, by its path or its URL: listed, and taken away."""

from pathlib import Path
from typing import Any

from tellapart.data.places import is_url, refuse_secret
from tellapart.errors import DatasetError, MissingExtra

__all__ = ["names_in", "remove"]


def names_in(place: str) -> list[str]:
    """The names in the folder itself, sorted; none where there is no such folder. Raises DatasetError.

    >>> names_in("/no/such/folder")
    []
    """
    try:
        if not is_url(place):
            return sorted(path.name for path in Path(place).iterdir())
        files, folder = _system(place)
        files.invalidate_cache()
        found = files.ls(folder, detail=False)
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)
    except FileNotFoundError:
        return []
    except (DatasetError, MissingExtra):
        raise
    except Exception as error:  # of a file system, which raises its own
        raise DatasetError(f"{place} cannot be listed: {_reason(error)}.") from None


def remove(place: str, name: str) -> None:
    """Take a file away, if it is there. Raises DatasetError."""
    try:
        if not is_url(place):
            (Path(place) / name).unlink(missing_ok=True)
            return
        files, folder = _system(place)
        files.rm_file(f"{folder}/{name}")
    except FileNotFoundError:
        return
    except (DatasetError, MissingExtra):
        raise
    except Exception as error:
        raise DatasetError(f"{place}/{name} cannot be removed: {_reason(error)}.") from None


def _reason(error: Exception) -> str:
    """Of a library of its own only the kind: a key may stand in its text."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}; look whether the credentials in the environment are right"


def _system(place: str) -> tuple[Any, str]:
    """The file system and the folder in it. Raises DatasetError, MissingExtra."""
    refuse_secret(place)
    try:
        import fsspec

        files, folder = fsspec.core.url_to_fs(place)
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error) or error from None
    except (ImportError, ValueError) as error:  # of a package that is missing, or no such thing
        raise DatasetError(f"{place} cannot be opened: {error}") from None
    return files, folder.rstrip("/")
