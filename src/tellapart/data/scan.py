"""Reading a folder of pictures: classes as subfolders, with or without a folder per split above."""

import os
import unicodedata
from pathlib import Path

from tellapart.data.images import looks_like_image
from tellapart.errors import DatasetError

__all__ = ["IGNORED", "SPLITS", "SPLIT_NAMES", "scan_folder"]

SPLITS = ("train", "valid", "test")

SPLIT_NAMES = {
    "train": "train", "training": "train", "train_set": "train", "training_set": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
    "valid_set": "valid", "validation_set": "valid", "val_set": "valid",
    "test": "test", "testing": "test", "test_set": "test", "testing_set": "test",
}  # fmt: skip
"""Usual names of split folders, in lower case with `-` and spaces as `_`, and what they mean."""

IGNORED = {"__MACOSX"}
_MOST_DEEP = 32

Row = tuple[str, str, str]


def scan_folder(
    root: Path, *, train: str | None = None, valid: str | None = None, test: str | None = None
) -> tuple[list[Row], list[str]]:
    """Rows (path, label, split) and notes.

    Files are taken by extension in upper or lower case or, failing that, by their first bytes. Hidden
    ones are passed over. Subfolders of a class belong to it; links are followed, loops are not.

    Raises DatasetError where `root` is no folder, or holds no pictures in subfolders.
    """
    if not root.is_dir():
        kind = "is a file; a CSV file ends in .csv" if root.is_file() else "does not exist"
        raise DatasetError(f"{root} {kind}. Give a folder with a subfolder of pictures per class.")
    named = {"train": train, "valid": valid, "test": test}
    parts = _named_splits(root, named) if any(named.values()) else _usual_splits(root)
    notes = [f"{name} is no split folder; it is left out" for name in _beside(root, parts)]
    rows: list[Row] = []
    for split, folder in parts:
        before = len(rows)
        for label in _subfolders(folder):
            found = [(path, _label(label), split) for path in _pictures(root, label, notes)]
            rows += found
            if not found:
                notes.append(f"{label.relative_to(root)} holds no pictures; it is left out")
        if split and len(rows) == before:
            raise DatasetError(f"{folder} holds no pictures in subfolders, one per class")
    if not rows:
        raise DatasetError(_nothing(root))
    if loose := sum(1 for path in _files(root) if looks_like_image(path)):
        notes.append(f"{loose} pictures lie in {root} itself, in no class; they are left out")
    return rows, notes


def _label(folder: Path) -> str:
    """Composed Unicode: the same word may be spelt in two ways on two disks."""
    return unicodedata.normalize("NFC", folder.name)


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not _hidden(entry.name)]
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be read: {error.strerror}. Allow reading it, or move it elsewhere."
        ) from None


def _subfolders(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(e.name for e in _entries(folder) if _is_folder(e))]


def _files(folder: Path) -> list[Path]:
    """Everything but folders: a broken link is a lost picture, and said to be one."""
    return [folder / entry.name for entry in _entries(folder) if not _is_folder(entry)]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in IGNORED


def _usual_splits(root: Path) -> list[tuple[str, Path]]:
    """The split folders where there are some: a class may be called "train" too, but then it holds
    pictures and no folders."""
    found = []
    for folder in _subfolders(root):
        split = SPLIT_NAMES.get(folder.name.lower().replace("-", "_").replace(" ", "_"))
        if split and _subfolders(folder):
            found.append((split, folder))
    if "train" not in [split for split, _ in found]:
        return [("", root)]
    return sorted(found, key=lambda part: SPLITS.index(part[0]))


def _beside(root: Path, parts: list[tuple[str, Path]]) -> list[str]:
    """What lies beside the split folders, such as a test folder without classes."""
    if parts == [("", root)]:
        return []
    used = {name.relative_to(root).parts[0] for _, name in parts if name != root}
    return [folder.name for folder in _subfolders(root) if folder.name not in used]


def _named_splits(root: Path, named: dict[str, str | None]) -> list[tuple[str, Path]]:
    if not named["train"]:
        raise DatasetError("split folders are named, but not the one for training: name it too")
    parts = []
    for split, name in named.items():
        if name and not (root / name).resolve().is_relative_to(root.resolve()):
            raise DatasetError(f"{name} was named as the {split} folder; name one inside {root}")
        if name and not (root / name).is_dir():
            raise DatasetError(f"{root / name} does not exist; it was named as the {split} folder")
        if name:
            parts.append((split, root / Path(os.path.relpath(root / name, root))))
    return parts


def _pictures(root: Path, label: Path, notes: list[str]) -> list[str]:
    """Paths, relative to the root, of the pictures in one class's folder and the folders in it."""
    paths: list[str] = []
    others = 0
    seen = {_identity(above) for above in label.absolute().parents}  # a link back up is a loop too
    waiting = [(label, 0)]
    while waiting:
        folder, depth = waiting.pop()
        if (identity := _identity(folder)) in seen or depth > _MOST_DEEP:
            continue
        seen.add(identity)
        waiting += [(below, depth + 1) for below in _subfolders(folder)]
        for file in _files(folder):
            if looks_like_image(file):
                paths.append(file.relative_to(root).as_posix())
            else:
                others += 1
    if others:
        notes.append(f"{others} files in {label.relative_to(root)} are no pictures; passed over")
    return paths


def _identity(folder: Path) -> tuple[int, int]:
    info = folder.stat()
    return info.st_dev, info.st_ino


def _nothing(root: Path) -> str:
    loose = sum(1 for path in _files(root) if looks_like_image(path))
    if loose:
        return (
            f"{root} holds {loose} pictures but no class folders. "
            "Put the pictures of each class into a subfolder named after it."
        )
    return f"{root} holds no pictures in subfolders. Expected {root}/CLASS/picture.jpg, and so on."
