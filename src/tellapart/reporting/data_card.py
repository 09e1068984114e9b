"""What the pictures of a run are: where, how many of what, how large, from whom, and what was lost."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from json import loads
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from tellapart.data.images import FORMATS, read_bytes
from tellapart.data.places import is_there, is_url
from tellapart.data.receipt import Receipt, is_receipt, read_receipt
from tellapart.errors import DatasetError
from tellapart.training.run import Run, read_config

__all__ = ["DataCard", "Sizes", "data_card", "training_data"]

_MOST_OPENED = 2000  # pictures whose sizes are looked at
_MOST_SOURCES = 10
_MOST_REASONS = 8
_LICENCES: Final = ("licence", "license", "rights", "copyright")
"""Columns of a list of links that say under which terms a picture may be used."""

Named = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Sizes:
    """Width and height in px of `n` pictures: the smallest, the middle and the largest by area."""

    n: int
    smallest: tuple[int, int]
    middle: tuple[int, int]
    largest: tuple[int, int]
    formats: Named


@dataclass(frozen=True)
class DataCard:
    """The pictures that a run was made with. `counts` is by split, and then by class.

    `sources` are hosts with their numbers of pictures, the most frequent first, where links are known;
    `licences` likewise, and none where nothing is known of them. `there` says whether the folder is.
    """

    root: str
    there: bool
    given: str
    fingerprint: str
    counts: Mapping[str, Mapping[str, int]]
    failures: Named
    copies: int
    sizes: Sizes | None
    sources: Named
    sourced: int
    licences: Named

    @property
    def total(self) -> int:
        return sum(self.by_split.values())

    @property
    def by_split(self) -> dict[str, int]:
        return {split: sum(own.values()) for split, own in self.counts.items()}

    def to_json(self) -> dict[str, Any]:
        return {
            "root": self.root, "fingerprint": self.fingerprint, "pictures": self.total,
            "counts": {split: dict(own) for split, own in self.counts.items()},
            "failures": dict(self.failures), "copies": self.copies,
            "sources": dict(self.sources), "licences": dict(self.licences),
        }  # fmt: skip


def data_card(run: Run, trained: Run, paths: Sequence[str], groups: Sequence[str]) -> DataCard:
    """The card of a run or stage; `trained` is the run that has read the data, of which it may be a stage.

    `paths` and `groups` (N,) are those of its pictures.
    """
    facts = run.info["dataset"]
    given, root = str(facts["root"]), Path(facts["root"])
    sizes = np.unique([group for group in groups if group], return_counts=True)[1]
    reasons = Counter(failure.reason for failure in trained.failures)
    sources, licences, sourced = _provenance(trained, set(paths), root)
    return DataCard(
        given, is_there(given), training_data(trained), facts["fingerprint"], facts["counts"],
        tuple(reasons.most_common(_MOST_REASONS)), int((sizes - 1).sum()), _sizes(root, paths), sources,
        sourced, licences,
    )  # fmt: skip


def training_data(trained: Run) -> str:
    """What `train` was given: a folder or a CSV file; "" where it was a Dataset."""
    config = read_config(trained.folder)
    if not isinstance(config, dict) or "fingerprint" in config:
        return ""
    return str(config.get("data", ""))


def _sizes(root: Path, paths: Sequence[str]) -> Sizes | None:
    """By the heads of the files alone; of many pictures an even choice is opened."""
    step = -(-len(paths) // _MOST_OPENED) or 1
    found: list[tuple[int, int]] = []
    formats: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in paths[::step]:
            if is_url(path):
                continue  # its size is not worth the way
            file = root / path
            try:
                source = file if file.is_file() else BytesIO(read_bytes(file, path))
                with Image.open(source, formats=FORMATS) as image:
                    found.append(image.size)
                    formats[image.format or "?"] += 1
            except Exception:  # noqa: S112  # Pillow raises nearly anything; training has said what was lost
                continue
    if not found:
        return None
    ordered = sorted(found, key=lambda size: (size[0] * size[1], size))
    middle = ordered[len(ordered) // 2]
    return Sizes(len(found), ordered[0], middle, ordered[-1], tuple(formats.most_common()))


def _provenance(trained: Run, paths: set[str], root: Path) -> tuple[Named, Named, int]:
    """Hosts, licences, and of how many pictures the link is known, from the receipt if there is one."""
    receipt = _receipt(trained, root)
    rows = [] if receipt is None else [row for row in receipt.stored if row.path in paths]
    hosts = Counter(host for row in rows if (host := _host(row.final_url or row.url)))
    licences: Counter[str] = Counter()
    for row in rows:
        if licence := _licence(row.provenance):
            licences[licence] += 1
    return (
        tuple(hosts.most_common(_MOST_SOURCES)), tuple(licences.most_common(_MOST_SOURCES)),
        sum(hosts.values()),
    )  # fmt: skip


def _receipt(trained: Run, root: Path) -> Receipt | None:
    """What was trained on if that is a receipt, else receipt.csv beside the pictures."""
    for file in (Path(training_data(trained) or "."), root / "receipt.csv"):
        try:
            if file.is_file() and is_receipt(file):
                return Receipt(file, tuple(read_receipt(file).values()))
        except (DatasetError, OSError):
            continue
    return None


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").removeprefix("www.")
    except ValueError:
        return ""


def _licence(provenance: str) -> str:
    """What a row's own list said of it; "" where it said nothing."""
    try:
        facts = loads(provenance) if provenance else {}
    except ValueError:
        return ""
    if not isinstance(facts, dict):
        return ""
    named = {str(key).strip().lower(): str(value).strip() for key, value in facts.items()}
    return next((named[key] for key in _LICENCES if named.get(key)), "")
