"""Tar shards by WebDataset's convention: `key.jpg` beside `key.cls`, `key.txt` or `key.json`.

The key is the member's name up to the first dot of its last part
(https://github.com/webdataset/webdataset). A label is a number or a text, in JSON that of `label`.
A picture's path is that of its shard, and below it the member: `train-000.tar/cat/1.jpg`.
"""

import glob
import json
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from tellapart.data.failure import Failure
from tellapart.data.images import EXTENSIONS
from tellapart.data.ordered_map import ordered_map
from tellapart.data.places import as_url, braces_expanded, is_url, joined, refuse_secret
from tellapart.data.remote import glob_url, list_url
from tellapart.data.scan import SPLIT_NAMES
from tellapart.data.tar_members import read_member, tar_index
from tellapart.errors import DatasetError, ImageError

__all__ = ["are_shard_names", "are_shards", "find_shards", "read_shards"]

_LABELS: Final = (".cls", ".txt", ".json")
_MOST_LABEL: Final = 1 << 16  # bytes
_AT_ONCE: Final = 8  # shards whose headers are read together

Row = dict[str, str]


def are_shards(place: str | Path) -> bool:
    """Whether a place means tar shards: a .tar, a pattern of them, or a folder that holds some, and
    neither pictures nor folders."""
    if os.fspath(place).lower().endswith(".tar"):
        return as_url(place) is not None or not Path(place).is_dir()
    if as_url(place) is not None or not Path(place).is_dir():
        return False
    entries = [entry for entry in os.scandir(place) if not entry.name.startswith(".")]
    return are_shard_names([entry.name for entry in entries]) and not any(
        entry.is_dir() for entry in entries
    )


def are_shard_names(names: Sequence[str]) -> bool:
    """Whether there are .tar files among those of a folder, and no pictures."""
    return any(map(_is_tar, names)) and not any(map(_is_picture, names))


def find_shards(place: str | Path) -> list[str]:
    """The paths or URLs of the shards that a .tar, a pattern with `{000..003}` or `*`, or a folder stands
    for; sorted, a pattern's in its order. Raises DatasetError where there are none."""
    refuse_secret(place)
    url = as_url(place)
    found: list[str] = []
    for name in braces_expanded(os.fspath(place) if url is None else url):
        if url is not None:
            found += _of_url(name)
        elif Path(name).is_dir():
            found += sorted(path.as_posix() for path in Path(name).rglob("*.[tT][aA][rR]"))
        elif glob.has_magic(name) and not Path(name).exists():
            found += sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (absolute ones too)
        else:
            found.append(name)
    found = list(dict.fromkeys(found))
    if not found:
        raise DatasetError(f"{place}: no .tar is found there; give a tar, a pattern or a folder")
    return found


def _of_url(name: str) -> list[str]:
    if "*" in name:
        return glob_url(name)
    if _is_tar(name):
        return [name]
    return [joined(name, path) for path in list_url(name) if _is_tar(path)]


def _is_tar(name: str) -> bool:
    return name.lower().endswith(".tar")


def read_shards(
    shards: Sequence[str], root: Path | None
) -> tuple[list[Row], list[Failure], list[str]]:
    """Rows (path, label, split), failures and notes of all shards; paths relative to `root` if given.

    A split is known by the folder of a shard or a word of its name, where that is so of all and they tell
    two or more. A picture without a label, or a shard that cannot be read, is a failure.

    Raises DatasetError where no picture with a label is left.
    """
    splits = [_split(shard, root) for shard in shards]
    divided = all(splits) and "train" in splits and len(set(splits)) > 1
    rows: list[Row] = []
    failures: list[Failure] = []
    alone = 0
    for shard, split, found in zip(
        shards, splits, ordered_map(_of_shard, shards, workers=_AT_ONCE), strict=True
    ):
        labels, lost, beside = found
        alone += beside
        name = (
            shard
            if root is None or is_url(shard)
            else Path(os.path.relpath(shard, root)).as_posix()
        )
        rows += [
            {"path": f"{name}/{member}", "label": label, "split": split if divided else ""}
            for member, label in labels
        ]
        failures += [
            Failure(f"{name}/{f.path}" if f.path else name, f.reason, f.detail) for f in lost
        ]
    if not rows:
        first = f". The first: {failures[0]}" if failures else ""
        raise DatasetError(
            f"{shards[0]}: no picture with a label; expected members such as cat1.jpg beside cat1.cls{first}"
        )
    notes = [f"{alone} labels in shards have no picture; passed over"] if alone else []
    if len(set(splits)) > 1 and not divided:
        notes.append("not every shard tells its split by its name, so that none is used")
    return rows, failures, notes


Found = tuple[list[tuple[str, str]], list[Failure], int]


def _of_shard(shard: str) -> Found:
    """Members with labels, what was lost (with the member as its path), and labels without pictures."""
    try:
        index = tar_index(shard)
    except ImageError as error:
        return [], [Failure.of("", error)], 0
    lost = [Failure("", "damaged", index.fault)] if index.fault else []
    lost += [Failure(name, "odd row", "it stands twice in its shard") for name in index.twice]
    by_key: dict[str, str] = {}
    for name in index.members:
        key, ending = _key(name)
        if ending in _LABELS:
            before = by_key.get(key)
            if before is None or _LABELS.index(ending) < _LABELS.index(_key(before)[1]):
                by_key[key] = name
    labels: list[tuple[str, str]] = []
    used: set[str] = set()
    for name in index.members:
        if not _is_picture(name):
            continue
        key = _key(name)[0]
        used.add(key)
        try:
            labels.append((name, _label(shard, by_key.get(key), name)))
        except ImageError as error:
            lost.append(Failure.of(name, error))
    return labels, lost, len(by_key.keys() - used)


def _key(name: str) -> tuple[str, str]:
    """The key, and the ending from the first dot on, in lower case."""
    folder, _, base = name.rpartition("/")
    key, dot, ending = base.partition(".")
    return f"{folder}/{key}", (dot + ending).lower()


def _is_picture(name: str) -> bool:
    base = name.rpartition("/")[2]
    return not base.startswith(".") and PurePosixPath(base).suffix.lower() in EXTENSIONS


def _label(shard: str, member: str | None, picture: str) -> str:
    if member is None:
        raise ImageError(picture, "no label", "expected a .cls, .txt or .json beside it")
    content = read_member(shard, member, f"{shard}/{member}", _MOST_LABEL)
    try:
        text = content.decode("utf-8-sig").strip()
        if member.lower().endswith(".json"):
            value = json.loads(text)
            value = value.get("label") if isinstance(value, dict) else value
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ImageError(picture, "no label", f'{member} has no text or number "label"')
            text = str(value).strip()
    except (ValueError, RecursionError):
        raise ImageError(picture, "no label", f"{member} cannot be read as text") from None
    if not text or "\n" in text or "\0" in text:
        raise ImageError(picture, "no label", f"{member} is {'empty' if not text else 'no label'}")
    return unicodedata.normalize("NFC", text)


def _split(shard: str, root: Path | None) -> str:
    """By the folder, or by a word of the name: `train-000.tar`, `imagenet-val-07.tar`."""
    folder, _, base = shard.rpartition("/")
    above = "" if root is not None and Path(folder) == root else folder.rpartition("/")[2]
    for words in (
        [above.lower().replace("-", "_").replace(" ", "_")],
        re.split(r"[^a-z]+", base.lower()),
    ):
        found = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
        if len(found) == 1:
            return found.pop()
    return ""
