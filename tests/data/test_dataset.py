"""The table of pictures: made from folders and tables, divided, checked."""

import hashlib
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tellapart.data.dataset import COLUMNS, Dataset
from tellapart.data.failure import Failure
from tellapart.data.hashing import sha256_of_files
from tellapart.errors import DatasetError, ImageError, UsageError

WritePicture = Callable[..., Path]
MakePile = Callable[..., Path]


@pytest.fixture
def make_pile(tmp_path: Path) -> MakePile:
    """`make_pile(cat=10, dog=5)`: that many files of different content in class folders."""

    def make(root: str = "pile", **counts: int) -> Path:
        for label, count in counts.items():
            (tmp_path / root / label).mkdir(parents=True)
            for i in range(count):
                (tmp_path / root / label / f"{i:03d}.jpg").write_text(f"{root} {label} {i}")
        return tmp_path / root

    return make


def split_of(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.paths, dataset.table["split"], strict=True))


def counts_of(dataset: Dataset) -> Counter[tuple[str, str]]:
    return Counter(zip(dataset.labels, dataset.table["split"], strict=True))


# What a dataset is.


def test_rows_are_sorted_and_classes_numbered() -> None:
    dataset = Dataset.from_rows("r", [("b.jpg", "dog"), ("c.jpg", "cat"), ("a.jpg", "dog")])
    assert dataset.paths == ["a.jpg", "b.jpg", "c.jpg"]
    assert dataset.labels == ["dog", "dog", "cat"]
    assert dataset.classes == ("cat", "dog")
    assert dataset.targets.tolist() == [1, 1, 0]
    assert list(dataset.table.columns) == list(COLUMNS)
    assert len(dataset) == 3


def test_rows_may_be_mappings() -> None:
    rows = [{"path": "a", "label": "x", "group": "g"}, {"path": "b", "label": "y", "split": "test"}]
    dataset = Dataset.from_rows(".", rows)
    assert dataset.table.to_numpy().tolist() == [
        ["a", "x", "", "g", ""],
        ["b", "y", "test", "", ""],
    ]


def test_an_empty_dataset_can_be_looked_at() -> None:
    dataset = Dataset.from_rows(".", [])
    assert (len(dataset), dataset.classes, dataset.is_split) == (0, (), False)
    assert dataset.targets.shape == dataset.groups.shape == (0,)
    assert dataset.leaks() == []
    assert dataset.counts().size == 0
    assert len(dataset.fingerprint) == 64
    assert "0 pictures" in dataset._repr_html_()
    assert len(dataset.with_split(0.2)) == 0


def test_counts_by_class_and_split() -> None:
    rows = [("1", "b", "valid"), ("2", "a", "train"), ("3", "b", "train"), ("4", "b", "train")]
    counts = Dataset.from_rows(".", rows).counts()
    assert list(counts.columns) == ["train", "valid"]
    assert counts.to_dict("index") == {
        "a": {"train": 1, "valid": 0}, "b": {"train": 2, "valid": 1},
    }  # fmt: skip
    assert Dataset.from_rows(".", [("1", "a")]).counts()[""].to_dict() == {"a": 1}


def test_the_html_shows_names_as_they_are() -> None:
    html = Dataset.from_rows("<root>", [("1", "<b>bold</b>")])._repr_html_()
    assert "<b>bold" not in html
    assert "&lt;b&gt;bold" in html
    assert "&lt;root&gt;" in html


def test_a_dataset_is_not_changed_by_what_is_made_of_it(make_pile: MakePile) -> None:
    dataset = Dataset.from_folder(make_pile(cat=5, dog=5))
    before = dataset.table.copy()
    dataset.hashed().with_split(0.4).without({0: Failure("a", "b")})
    assert dataset.table.equals(before)


# Content hashes and lost files.


def test_hashes_are_those_of_the_files(make_pile: MakePile) -> None:
    root = make_pile(cat=3, dog=2)
    dataset = Dataset.from_folder(root).hashed()
    expected = [hashlib.sha256((root / path).read_bytes()).hexdigest() for path in dataset.paths]
    assert list(dataset.table["sha256"]) == expected


def test_lost_files_stop_no_other(make_pile: MakePile) -> None:
    root = make_pile(cat=3, dog=2)
    (root / "cat" / "broken.jpg").symlink_to("nowhere.jpg")
    (root / "cat" / "empty.jpg").touch()
    dataset = Dataset.from_folder(root)
    seen: list[tuple[int, int]] = []
    answers = sha256_of_files(root, dataset.paths, progress=lambda *done: seen.append(done))
    assert seen[-1] == (7, 7)
    failures = {
        row: Failure.of(dataset.paths[row], answer)
        for row, answer in enumerate(answers)
        if isinstance(answer, ImageError)
    }
    assert {str(failure).split(" (")[0] for failure in failures.values()} == {
        "cat/broken.jpg: missing", "cat/empty.jpg: empty",
    }  # fmt: skip
    assert [hash == "" for hash in dataset.hashed().table["sha256"]] == [
        path in ("cat/broken.jpg", "cat/empty.jpg") for path in dataset.paths
    ]
    rest = dataset.without(failures)
    assert len(rest) == 5
    assert rest.failures == tuple(failures.values())
    assert rest.classes == dataset.classes
    assert rest.targets.tolist() == [0, 0, 0, 1, 1]
    assert rest.rows_of("").tolist() == [0, 1, 2, 3, 4]
    assert len(dataset.without({})) == 7


def test_names_that_are_not_utf8_go_all_the_way(tmp_path: Path) -> None:
    for name in (b"caf\xe9/\xff.jpg", b"caf\xe9/2.jpg", b"bar/3.jpg", b"bar/4.jpg"):
        path = tmp_path / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name)
    dataset = Dataset.from_folder(tmp_path).with_split(0.5)
    assert counts_of(dataset)[(os.fsdecode(b"caf\xe9"), "valid")] == 1
    assert len(dataset.fingerprint) == 64
    assert dataset.leaks() == []
    dataset.check_trainable()


# Dividing.


def test_a_division_is_stratified_and_complete(make_pile: MakePile) -> None:
    dataset = Dataset.from_folder(make_pile(cat=40, dog=20, fish=5, ox=1), valid_pct=0.2)
    assert dataset.is_split
    assert counts_of(dataset) == {
        ("cat", "train"): 32, ("cat", "valid"): 8, ("dog", "train"): 16, ("dog", "valid"): 4,
        ("fish", "train"): 4, ("fish", "valid"): 1, ("ox", "train"): 1,
    }  # fmt: skip
    assert not set(dataset.rows_of("train")) & set(dataset.rows_of("valid"))
    assert len(dataset.rows_of("train")) + len(dataset.rows_of("valid")) == 66
    dataset.check_trainable()


def test_a_share_of_nothing_leaves_all_for_training(make_pile: MakePile) -> None:
    dataset = Dataset.from_folder(make_pile(cat=4, dog=4), valid_pct=0)
    assert set(split_of(dataset).values()) == {"train"}


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, 20, float("nan")])
def test_a_share_that_cannot_be(make_pile: MakePile, share: float) -> None:
    dataset = Dataset.from_folder(make_pile(cat=2, dog=2))
    with pytest.raises(UsageError, match="expected 0 ≤ share < 1"):
        dataset.with_split(share)


def test_the_order_of_files_and_their_names_do_not_matter(make_pile: MakePile) -> None:
    root = make_pile(cat=20, dog=20)
    dataset = Dataset.from_folder(root, valid_pct=0.3)
    rows = [tuple(row) for row in dataset.table.to_numpy().tolist()]
    random.Random(1).shuffle(rows)
    shuffled = Dataset.from_rows(root, rows)
    assert shuffled.fingerprint == dataset.fingerprint
    undecided = Dataset.from_rows(root, [(row[0], row[1]) for row in rows])
    assert split_of(undecided.with_split(0.3)) == split_of(dataset)

    # The same files under other names, written in another order, fall on the same sides.
    other = root.with_name("other")
    for path in random.Random(2).sample(dataset.paths, len(dataset)):
        label, name = path.split("/")
        (other / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(root / path, other / label / f"{999 - int(name[:3])} renamed.jpg")
    again = Dataset.from_folder(other, valid_pct=0.3)
    sides = [dict(zip(d.table["sha256"], d.table["split"], strict=True)) for d in (dataset, again)]
    assert sides[0] == sides[1]


def test_another_seed_divides_otherwise(make_pile: MakePile) -> None:
    root = make_pile(cat=50, dog=50)
    splits = [split_of(Dataset.from_folder(root, valid_pct=0.2, seed=seed)) for seed in (0, 0, 1)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


@pytest.mark.parametrize("seed", range(4))
def test_copies_stay_on_one_side(make_pile: MakePile, seed: int) -> None:
    root = make_pile(cat=12, dog=12)
    for i in range(6):
        shutil.copy(root / "cat" / f"{i:03d}.jpg", root / "cat" / f"copy {i}.jpg")
        shutil.copy(root / "cat" / f"{i:03d}.jpg", root / "dog" / f"{i} by mistake.jpg")
    dataset = Dataset.from_folder(root, valid_pct=0.5, seed=seed)
    side = split_of(dataset)
    for i in range(6):
        copies = {
            side[f"cat/{i:03d}.jpg"],
            side[f"cat/copy {i}.jpg"],
            side[f"dog/{i} by mistake.jpg"],
        }
        assert len(copies) == 1
    assert set(side.values()) == {"train", "valid"}
    assert dataset.leaks() == []


def test_given_groups_stay_on_one_side(make_pile: MakePile) -> None:
    root = make_pile(cat=20, dog=20)
    rows = [
        (f"{label}/{i:03d}.jpg", label, "", f"scene {i // 4}") for label in ("cat", "dog") for i in range(20)
    ]  # fmt: skip
    dataset = Dataset.from_rows(root, rows).with_split(0.4)
    sides = {
        (group, split)
        for group, split in zip(dataset.table["group"], dataset.table["split"], strict=True)
    }
    assert len(sides) == 5
    assert set(split_of(dataset).values()) == {"train", "valid"}


def test_decided_rows_stay_where_they_are_and_their_copies_join_them(make_pile: MakePile) -> None:
    root = make_pile(cat=12, dog=12)
    decided = {f"cat/{i:03d}.jpg": side for i, side in enumerate(["test"] * 4 + ["valid"] * 4)}
    for i in range(8):
        shutil.copy(root / "cat" / f"{i:03d}.jpg", root / "cat" / f"copy {i}.jpg")
    rows = [
        (p, label, decided.get(p, ""))
        for p, label, *_ in Dataset.from_folder(root).table.to_numpy()
    ]
    dataset = Dataset.from_rows(root, rows).with_split(0.25)
    side = split_of(dataset)
    assert {path: side[path] for path in decided} == decided
    assert [side[f"cat/copy {i}.jpg"] for i in range(8)] == list(decided.values())
    assert dataset.is_split
    assert dataset.leaks() == []


@pytest.mark.timeout(30)
def test_a_division_of_files_that_are_all_lost(tmp_path: Path) -> None:
    """A table with a wrong root: whoever reads the pictures says so, for each of them."""
    dataset = Dataset.from_rows(
        tmp_path, [(f"{i}.jpg", "cat" if i % 2 else "dog") for i in range(20)]
    )
    divided = dataset.with_split(0.2)
    assert divided.is_split
    assert len(divided) == 20


# Copies on both sides of a division that was given.


def test_leaks_of_folders_that_are_split_already(make_pile: MakePile) -> None:
    make_pile("pile/train", cat=5, dog=5)
    make_pile("pile/valid", cat=3, dog=3)
    root = make_pile("pile/test", cat=2, dog=2).parent
    assert Dataset.from_folder(root).hashed().leaks() == []
    shutil.copy(root / "train/cat/002.jpg", root / "valid/cat/again.jpg")
    shutil.copy(root / "train/cat/003.jpg", root / "test/dog/again.jpg")
    shutil.copy(root / "valid/cat/001.jpg", root / "test/cat/no leak.jpg")
    leaks = Dataset.from_folder(root).hashed().leaks()
    assert sorted(leaks) == [
        ("test/dog/again.jpg", "train/cat/003.jpg"), ("valid/cat/again.jpg", "train/cat/002.jpg"),
    ]  # fmt: skip


@pytest.mark.timeout(20)
def test_leaks_take_no_long_time() -> None:
    rows = [
        (f"{i:05d}.jpg", "cat", "train" if i % 2 else "valid", "", f"{i // 4}")
        for i in range(40_000)
    ]
    dataset = Dataset.from_rows(".", rows)
    start = time.perf_counter()
    assert len(dataset.leaks()) == 20_000
    assert time.perf_counter() - start < 3


# Whether anything can be learned.


def refused(dataset: Dataset) -> str:
    with pytest.raises(DatasetError) as caught:
        dataset.check_trainable()
    assert str(dataset.root) in str(caught.value)
    return str(caught.value)


def test_a_class_of_the_validation_part_alone(make_pile: MakePile) -> None:
    make_pile("pile/train", cat=2, sketch=2)
    root = make_pile("pile/valid", cat=1, sketches=1).parent
    message = refused(Dataset.from_folder(root))
    assert "'sketches' has no training picture (is 'sketch' meant?)" in message
    assert "rename the folder" in message


def test_a_class_without_a_similar_name(make_pile: MakePile) -> None:
    make_pile("pile/train", cat=2, dog=2)
    message = refused(Dataset.from_folder(make_pile("pile/test", zebra=1).parent))
    assert "'zebra' has no training picture. Add some" in message


def test_a_class_of_the_training_part_alone_is_fine(make_pile: MakePile) -> None:
    make_pile("pile/train", cat=2, dog=2, zebra=1)
    Dataset.from_folder(make_pile("pile/valid", cat=1, dog=1).parent).check_trainable()


def test_one_class_or_none(make_pile: MakePile) -> None:
    message = refused(Dataset.from_folder(make_pile(cat=3)))
    assert "only the class 'cat'; a classifier needs two classes" in message
    assert "Put the pictures of each class into a subfolder" in message
    assert "no pictures" in refused(Dataset.from_rows("nothing", []))


def test_two_classes_of_one_picture_are_enough_to_begin(make_pile: MakePile) -> None:
    dataset = Dataset.from_folder(make_pile(cat=1, dog=1))
    dataset.check_trainable()
    dataset.with_split(0.2).check_trainable()


# From a table.


def test_a_table_beside_its_pictures(make_pile: MakePile) -> None:
    root = make_pile(cat=3, dog=3)
    table = root / "cleaned.csv"
    rows = [f"{label}/{i:03d}.jpg,{label}\n" for label in ("dog", "cat") for i in range(3)]
    table.write_text("name,label\n" + "".join(rows) + "cat/001.jpg,dog\n")
    dataset = Dataset.from_csv(table, valid_pct=1 / 3)
    assert dataset.root == root
    assert dataset.paths == sorted(dataset.paths)
    assert counts_of(dataset) == {
        ("cat", "train"): 2, ("cat", "valid"): 1, ("dog", "train"): 2, ("dog", "valid"): 1,
    }  # fmt: skip
    assert [str(failure) for failure in dataset.failures] == [
        "cleaned.csv line 8: two labels (cat/001.jpg: 'cat' before, 'dog' here)"
    ]
    elsewhere = table.rename(root.parent / "cleaned.csv")
    assert split_of(Dataset.from_csv(elsewhere, root=root, valid_pct=1 / 3)) == split_of(dataset)


def test_the_order_of_a_tables_lines_does_not_matter(make_pile: MakePile) -> None:
    root = make_pile(cat=9, dog=9)
    lines = [f"{label}/{i:03d}.jpg,{label}\n" for label in ("cat", "dog") for i in range(9)]
    found = []
    for number, some in enumerate((lines, lines[::-1])):
        (root / f"{number}.csv").write_text("name,label\n" + "".join(some))
        found.append(Dataset.from_csv(root / f"{number}.csv", valid_pct=0.3))
    assert found[0].fingerprint == found[1].fingerprint


def test_the_fingerprint_changes_with_all_that_matters(make_pile: MakePile) -> None:
    dataset = Dataset.from_folder(make_pile(cat=3, dog=3), valid_pct=0.3)
    seen = {dataset.fingerprint}
    for column in COLUMNS:
        table = dataset.table.copy()
        table.loc[2, column] = "other"
        seen.add(Dataset(dataset.root, table, dataset.classes).fingerprint)
    rows = dataset.table.to_numpy().tolist()
    seen.add(Dataset.from_rows(dataset.root, [tuple(row) for row in rows[1:]]).fingerprint)
    assert len(seen) == len(COLUMNS) + 2
    moved = Dataset.from_rows("elsewhere", [tuple(row) for row in rows])
    assert moved.fingerprint == dataset.fingerprint
    assert np.array_equal(moved.targets, dataset.targets)
