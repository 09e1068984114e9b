"""Reading a folder of pictures at a URL: the classes and splits that `scan.py` knows, by names alone.

A file is taken for a picture by its extension; none is opened for that.
"""

import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath

from tellapart.data.images import EXTENSIONS
from tellapart.data.places import joined
from tellapart.data.scan import IGNORED, SPLIT_NAMES
from tellapart.errors import DatasetError

__all__ = ["folder_rows", "pictures_below"]

Row = tuple[str, str, str]


def pictures_below(url: str, names: list[str]) -> list[str]:
    """The URLs of the pictures among the files below a folder, hidden ones passed over."""
    return [joined(url, name) for name in names if _is_picture(name)]


def folder_rows(
    url: str, names: list[str], named: Mapping[str, str | None]
) -> tuple[list[Row], list[str]]:
    """Rows (path, label, split) and notes, from the files below a folder, relative to it, as listed.

    `named` are the split folders by split, where they have unusual names. Raises DatasetError where
    nothing is to be learnt from.
    """
    pictures = [name for name in names if _is_picture(name)]
    splits = _named(url, named) if any(named.values()) else _usual(pictures)
    rows: list[Row] = []
    loose = 0
    for name in pictures:
        split, rest = next(
            (
                (s, name[len(folder) + 1 :])
                for folder, s in splits.items()
                if _is_below(name, folder)
            ),
            ("", name),
        )
        label, slash, _ = rest.partition("/")
        if not slash or (splits and not split):
            loose += 1
            continue
        rows.append((joined(url, name), unicodedata.normalize("NFC", label), split))
    if not rows:
        raise DatasetError(
            f"{url} holds {len(pictures)} pictures, but none in a folder of a class. "
            "Expected CLASS/picture.jpg below it, and so on."
        )
    notes = []
    if lost := sorted(set(splits.values()) - {split for _, _, split in rows}):
        raise DatasetError(f"{url}: the {lost[0]} folder holds no pictures in folders of classes")
    if loose:
        notes.append(f"{loose} pictures in {url} lie in no class; they are left out")
    if others := len(names) - len(pictures):
        notes.append(f"{others} files in {url} are no pictures by their names; passed over")
    return rows, notes


def _is_picture(name: str) -> bool:
    parts = name.split("/")
    odd = any(part.startswith(".") or part in IGNORED for part in parts)
    return not odd and PurePosixPath(name).suffix.lower() in EXTENSIONS


def _is_below(name: str, folder: str) -> bool:
    return name.startswith(folder + "/")


def _named(url: str, named: Mapping[str, str | None]) -> dict[str, str]:
    if not named.get("train"):
        raise DatasetError("split folders are named, but not the one for training: name it too")
    return {name.strip("/"): split for split, name in named.items() if name}


def _usual(pictures: list[str]) -> dict[str, str]:
    """The split folders: those of usual names that hold folders, where one is for training."""
    found = {}
    for top in {name.split("/")[0] for name in pictures if name.count("/") > 1}:
        if split := SPLIT_NAMES.get(top.lower().replace("-", "_").replace(" ", "_")):
            found[top] = split
    return found if "train" in found.values() else {}
