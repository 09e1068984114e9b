"""The table of pictures: which file, which label, which split.

An immutable value; pandas holds the columns, made from a folder or a CSV file by `scan.py` and
`csv_table.py`. What could not be taken in is kept beside it as `failures`, never dropped silently.
"""

import hashlib
import html
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tellapart.data.csv_table import read_csv_table
from tellapart.data.failure import Failure
from tellapart.data.hashing import sha256_of_files
from tellapart.data.parquet_table import read_parquet_table
from tellapart.data.places import (
    as_url,
    folder_of_url,
    joined,
    refuse_secret,
    secret_refusal,
    shown,
)
from tellapart.data.receipt import Receipt, is_receipt, read_receipt_counting
from tellapart.data.scan import SPLITS, scan_folder
from tellapart.data.shards import find_shards, read_shards
from tellapart.data.split import deal, group_rows
from tellapart.errors import DatasetError, UsageError

__all__ = ["COLUMNS", "Dataset"]

COLUMNS = ("path", "label", "split", "group", "sha256")
_MOST_SHOWN = 10  # classes


@dataclass(frozen=True, repr=False)
class Dataset:
    """N pictures: `table` has the columns path (relative to `root`, POSIX), label, split, group, sha256.

    A path may be a URL of any file system that fsspec knows, or lead into a tar file
    (`train-000.tar/cat/1.jpg`). `source` is the URL that the pictures were read from, if it was one; `root`
    does not matter then.

    `split` is train, valid, test, or "" while undecided; `group` and `sha256` are "" where unknown.
    Rows are sorted by path. `classes` are sorted and their order is what label numbers mean.
    `notes` are sentences for the user about what was seen while reading.

    >>> pictures = Dataset.from_rows(".", [("a.jpg", "cat"), ("b.jpg", "dog")])
    >>> pictures.classes, len(pictures)
    (('cat', 'dog'), 2)
    >>> pictures
    <Dataset of 2 pictures: 'cat' 1, 'dog' 1; in .>
    """

    root: Path
    table: pd.DataFrame
    classes: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = field(default=())
    source: str = ""

    @classmethod
    def from_rows(
        cls,
        root: str | Path,
        rows: Collection[tuple[str, ...] | Mapping[str, str]],
        *,
        failures: Sequence[Failure] = (),
        notes: Sequence[str] = (),
    ) -> "Dataset":
        """From tuples of (path, label, split, group, sha256), the last ones optional, or mappings.

        Paths are relative to `root`, which may be a URL. A URL that carries a password, token or signature is
        a failure, and is not repeated.
        """
        refuse_secret(root)
        base, lost = as_url(root), list(failures)
        columns: dict[str, list[str]] = {name: [] for name in COLUMNS}
        for row in rows:
            values = dict(row if isinstance(row, Mapping) else zip(COLUMNS, row, strict=False))
            if base is not None:
                values["path"] = joined(base, values.get("path") or "")
            path = values.get("path") or ""
            if refusal := secret_refusal(path):
                lost.append(Failure(shown(path), "holds a secret", refusal))
                continue
            for name in COLUMNS:
                columns[name].append(values.get(name) or "")
        # Plain objects: pandas' own text type cannot hold the names that are not valid UTF-8.
        table = pd.DataFrame({k: pd.Series(v, dtype=object) for k, v in columns.items()})
        table = table.sort_values("path", kind="stable", ignore_index=True)
        labels = tuple(sorted(set(table["label"])))
        own = Path(root) if base is None else Path()
        return cls(own, table, labels, tuple(lost), tuple(notes), base or "")

    @classmethod
    def from_folder(
        cls,
        root: str | Path,
        *,
        train: str | None = None,
        valid: str | None = None,
        test: str | None = None,
        valid_pct: float | None = None,
        seed: int = 0,
    ) -> "Dataset":
        """From a folder whose subfolders are the classes, or one with a folder per split above them.

        `train`, `valid` and `test` name the split folders where they have unusual names. With
        `valid_pct` an undivided folder is split at once.

        Raises DatasetError where there is nothing to learn from.
        """
        rows, notes = scan_folder(Path(root), train=train, valid=valid, test=test)
        dataset = cls.from_rows(root, rows, notes=notes)
        return dataset if valid_pct is None else dataset.with_split(valid_pct, seed=seed)

    @classmethod
    def from_csv(
        cls,
        file: str | Path,
        *,
        root: str | Path | None = None,
        valid_pct: float | None = None,
        seed: int = 0,
    ) -> "Dataset":
        """From a CSV file with the columns `name,label` (or `path`, `url`, and `split`, `group` if known).

        Paths are relative to `root`, by default the folder of the file, or URLs; the file may lie at one. A
        receipt of `tellapart gather` or `verify` gives the pictures that it calls ok.
        """
        refuse_secret(file)
        if as_url(file) is None and is_receipt(Path(file)):
            found, unreadable = read_receipt_counting(Path(file))
            received = cls.from_receipt(Receipt(Path(file), tuple(found.values())), root=root)
            if unreadable:
                failure = Failure(str(file), "odd rows", f"{unreadable} cannot be read")
                received = replace(received, failures=(failure,))
            return received if valid_pct is None else received.with_split(valid_pct, seed=seed)
        rows, failures = read_csv_table(file)
        dataset = cls.from_rows(_base(file) if root is None else root, rows, failures=failures)
        return dataset if valid_pct is None else dataset.with_split(valid_pct, seed=seed)

    @classmethod
    def from_parquet(cls, file: str | Path, *, root: str | Path | None = None) -> "Dataset":
        """From a Parquet file, or one at a URL, with the columns that `from_csv` knows.

        Raises DatasetError where it cannot be read, MissingExtra without pyarrow (extra `remote`).
        """
        refuse_secret(file)
        rows, failures = read_parquet_table(file)
        return cls.from_rows(_base(file) if root is None else root, rows, failures=failures)

    @classmethod
    def from_shards(cls, shards: str | Path) -> "Dataset":
        """From tar shards of WebDataset's convention: one, a folder of them, or a pattern such as
        `shards/train-{000..015}.tar` or `s3://bucket/*.tar`; `key.jpg` stands beside `key.cls`, `key.txt`
        or `key.json`.

        Raises DatasetError where there are none, or no picture with a label in them.
        """
        found = find_shards(shards)
        url = as_url(shards)
        root = None if url else Path(os.path.commonpath([os.path.dirname(path) for path in found]))  # noqa: PTH120
        rows, failures, notes = read_shards(found, root)
        dataset = cls.from_rows(root or Path(), rows, failures=failures, notes=notes)
        return replace(dataset, source=url or "")

    @classmethod
    def from_receipt(cls, receipt: Receipt, *, root: str | Path | None = None) -> "Dataset":
        """The pictures that a receipt calls ok, with the further column `source_url`.

        What it says was lost is not repeated as failures; its counts stand in the receipt.
        """
        rows = [
            {
                "path": row.path, "label": row.label, "sha256": row.sha256, "source_url": row.url,
                "split": row.split,
            }
            for row in receipt.stored
        ]  # fmt: skip
        dataset = cls.from_rows(receipt.file.parent if root is None else root, rows)
        urls = {row["path"]: row["source_url"] for row in rows}
        source = pd.Series([urls[path] for path in dataset.paths], dtype=object)
        return replace(dataset, table=dataset.table.assign(source_url=source))

    @property
    def place(self) -> str:
        """Where the pictures are, for people: the URL that was given, or the folder."""
        return self.source or str(self.root)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def paths(self) -> list[str]:
        return list(self.table["path"])

    @property
    def labels(self) -> list[str]:
        return list(self.table["label"])

    @cached_property
    def targets(self) -> NDArray[np.intp]:
        """The labels as numbers, (N,): places in `classes`."""
        places = {label: i for i, label in enumerate(self.classes)}
        return np.asarray([places[label] for label in self.labels], np.intp)

    @property
    def is_split(self) -> bool:
        return bool(len(self)) and bool((self.table["split"] != "").all())

    def rows_of(self, split: str) -> NDArray[np.intp]:
        """The row numbers of one split."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    @cached_property
    def groups(self) -> NDArray[np.intp]:
        """A number per row, the same for copies (equal bytes) and for rows of one given group."""
        return group_rows(list(self.table["sha256"]), list(self.table["group"]))

    def counts(self) -> pd.DataFrame:
        """Pictures by class (rows) and split (columns, those that occur)."""
        found = Counter(zip(self.labels, self.table["split"], strict=True))
        seen = {split for _, split in found}
        order = [split for split in ("", *SPLITS) if split in seen]
        return pd.DataFrame(
            {split: [found[name, split] for name in self.classes] for split in order},
            # As objects: with pyarrow there, pandas' own texts refuse names that are not UTF-8.
            index=pd.Index(self.classes, dtype=object, name="label"),
            columns=pd.Index(order, dtype=object, name="split"),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over path, label, split, group and content of every row; 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for row in self.table[list(COLUMNS)].itertuples(index=False):
            digest.update("\0".join(row).encode("utf-8", "surrogateescape") + b"\n")
        return digest.hexdigest()

    def with_hashes(self, sha256: Sequence[str]) -> "Dataset":
        return replace(self, table=self.table.assign(sha256=pd.Series(list(sha256), dtype=object)))

    def hashed(self) -> "Dataset":
        """With the SHA-256 of every file that can be read."""
        answers = sha256_of_files(self.root, self.paths)
        return self.with_hashes([a if isinstance(a, str) else "" for a in answers])

    def without(self, failures: Mapping[int, Failure]) -> "Dataset":
        """Without the rows that failed; they are kept as `failures`."""
        keep = np.setdiff1d(np.arange(len(self)), list(failures))
        table = self.table.iloc[keep].reset_index(drop=True)
        return replace(self, table=table, failures=(*self.failures, *failures.values()))

    def without_lost_classes(self) -> "Dataset":
        """Without the classes of which no picture is left; a note says which they were."""
        left = set(self.table["label"])
        lost = [name for name in self.classes if name not in left]
        if not lost or not left:
            return self
        note = f"no picture of {', '.join(map(repr, lost))} can be used: left out of the classes"
        classes = tuple(name for name in self.classes if name in left)
        return replace(self, classes=classes, notes=(*self.notes, note))

    def with_copies(self, groups: Sequence[int] | NDArray[np.intp]) -> "Dataset":
        """With one group for all rows that share a number in `groups` (N,), as copies of a picture do.

        Groups that were given stay together too, under their own names; others are named after their
        first picture.
        """
        given = list(self.table["group"])
        numbers = group_rows(list(self.table["sha256"]), given, [str(number) for number in groups])
        counts = np.bincount(numbers, minlength=1)
        names: dict[int, str] = {}
        for number, name in zip(numbers.tolist(), given, strict=True):
            if name:
                names.setdefault(number, name)
        for number, path in zip(numbers.tolist(), self.paths, strict=True):
            if counts[number] > 1:
                names.setdefault(number, path)
        named = pd.Series([names.get(number, "") for number in numbers.tolist()], dtype=object)
        return replace(self, table=self.table.assign(group=named))

    def check(self, **options: Any) -> Any:
        """Look for what is wrong with these pictures: `tellapart.check(self, **options)`."""
        return import_module("tellapart").check(self, **options)  # by the public surface alone

    def show_batch(self, rows: int = 3, columns: int | None = None, **options: Any) -> Any:
        """Pictures of every class as the network sees them, as a figure: `tellapart.show(self, …)`.

        With `transforms=tellapart.Transforms()` each row shows one picture as training would change it.
        """
        return import_module("tellapart").show(self, rows, columns, **options).plot()

    def plot_counts(self) -> Any:
        """How many pictures each class has, by split, as a figure."""
        return import_module("tellapart").plot_counts(self)

    def with_split(self, valid: float, *, seed: int = 0) -> "Dataset":
        """Divided into train and valid, stratified, copies on one side; decided rows stay, and their
        copies join them.

        `valid` is the share for validation, 0 ≤ valid < 1. Content hashes are computed if need be.
        """
        if not 0 <= valid < 1:
            raise UsageError(f"the share for validation is {valid}; expected 0 ≤ share < 1")
        if len(self) and not (self.table["sha256"] != "").any():
            return self.hashed()._divided(valid, seed)
        return self._divided(valid, seed)

    def _divided(self, valid: float, seed: int) -> "Dataset":
        decided: dict[int, str] = {}
        for group, side in zip(self.groups.tolist(), self.table["split"], strict=True):
            if side:
                decided.setdefault(group, side)
        split = self.table["split"].to_numpy(object, copy=True)
        for row in np.flatnonzero(split == ""):
            split[row] = decided.get(int(self.groups[row]), "")
        undecided = np.flatnonzero(split == "")
        labels, keys = self.table["label"], self.table["sha256"]
        parts = deal(
            list(labels.iloc[undecided]),
            self.groups[undecided],
            (1 - valid, valid),
            keys=list(keys.iloc[undecided]),
            seed=seed,
        )
        split[undecided] = np.asarray(SPLITS[:2], object)[parts]
        untrained = set(labels) - set(labels[split == "train"])
        own = np.unique(self.groups[labels.isin(untrained).to_numpy()])
        split[undecided[np.isin(self.groups[undecided], own)]] = "train"  # they cannot be divided
        return replace(self, table=self.table.assign(split=pd.Series(split, dtype=object)))

    def leaks(self) -> list[tuple[str, str]]:
        """Pairs (picture outside the training part, its copy inside)."""
        inside: dict[int, str] = {}
        paths = self.paths
        for row in self.rows_of("train"):
            inside.setdefault(int(self.groups[row]), paths[row])
        outside = np.concatenate([self.rows_of("valid"), self.rows_of("test")])
        return [
            (paths[row], inside[group])
            for row, group in zip(outside, self.groups[outside].tolist(), strict=True)
            if group in inside
        ]

    def check_trainable(self) -> None:
        """Raises DatasetError, with the next step, where no classifier can come of this."""
        if len(self.classes) < 2:
            found = f"only the class {self.classes[0]!r}" if self.classes else "no pictures"
            raise DatasetError(
                f"{self.place}: {found}; a classifier needs two classes or more. "
                "Put the pictures of each class into a subfolder of its own."
            )
        if not self.is_split:
            return
        counts = self.counts()
        train = counts["train"] if "train" in counts else counts.iloc[:, 0] * 0
        if missing := [name for name in self.classes if train[name] == 0]:
            name = missing[0]
            raise DatasetError(
                f"{self.place}: the class {name!r} has no training picture"
                f"{_similar(name, [c for c in self.classes if c not in missing])}. "
                "Add some to the training part, or rename the folder or label if it is misspelt."
            )

    def __repr__(self) -> str:
        counts = Counter(self.labels)
        classes = ", ".join(f"{name!r} {counts[name]:,}" for name in self.classes[:_MOST_SHOWN])
        more = ", …" if len(self.classes) > _MOST_SHOWN else ""
        return f"<Dataset of {len(self):,} pictures: {classes}{more}; in {self.place}>"

    def _repr_html_(self) -> str:
        counts = self.counts().rename(columns={"": "undecided"})
        title = f"{len(self):,} pictures, {len(self.classes)} classes, in {self.place}"
        return f"<p>{html.escape(title)}</p>{counts.to_html(escape=True)}"


def _base(file: str | Path) -> str | Path:
    """The folder of a table."""
    url = as_url(file)
    return Path(file).parent if url is None else folder_of_url(url)


def _similar(name: str, others: Sequence[str]) -> str:
    close = get_close_matches(name, others, n=1)
    return f" (is {close[0]!r} meant?)" if close else ""
