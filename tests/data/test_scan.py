"""Folders of pictures as people have them."""

import os
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tellapart.data.scan import SPLIT_NAMES, scan_folder
from tellapart.errors import DatasetError

WritePicture = Callable[..., Path]
JPEG = b"\xff\xd8\xff\xe0 enough to be looked at"


def touch(root: Path, *names: str | bytes, content: bytes = b"") -> Path:
    for name in names:
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def rows_of(root: Path, **named: str) -> list[tuple[str, str, str]]:
    return sorted(scan_folder(root, **named)[0])


def test_subfolders_are_classes(tmp_path: Path, write_picture: WritePicture) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        write_picture(tmp_path / name)
    rows, notes = scan_folder(tmp_path)
    assert sorted(rows) == [
        ("cat/1.png", "cat", ""), ("cat/2.png", "cat", ""), ("dog/1.png", "dog", ""),
    ]  # fmt: skip
    assert notes == []


def test_folders_within_a_class_belong_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a/b/1.jpg", "cat/2.jpg", "dog/old/1.jpg")
    assert rows_of(tmp_path) == [
        ("cat/2.jpg", "cat", ""), ("cat/a/b/1.jpg", "cat", ""), ("dog/old/1.jpg", "dog", ""),
    ]  # fmt: skip


# Split folders.


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("train", "valid", "test"),
        ("training_set", "validation_set", "test_set"),
        ("Train", "val", "Testing"),
        ("training set", "dev", "test set"),
        ("TRAINING-SET", "Validation", "TEST"),
        ("training", "valid-set", "testing_set"),
    ],
)
def test_usual_names_of_split_folders(tmp_path: Path, train: str, valid: str, test: str) -> None:
    for folder in (train, valid, test):
        touch(tmp_path, f"{folder}/cat/1.jpg", f"{folder}/dog/2.jpg")
    assert Counter(split for _, _, split in rows_of(tmp_path)) == {
        "train": 2, "valid": 2, "test": 2,
    }  # fmt: skip
    assert (f"{valid}/dog/2.jpg", "dog", "valid") in rows_of(tmp_path)


@pytest.mark.parametrize("name", sorted(SPLIT_NAMES))
def test_every_name_that_is_known_is_found(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "train/cat/1.jpg", f"{name}/cat/2.jpg")
    assert (f"{name}/cat/2.jpg", "cat", SPLIT_NAMES[name]) in rows_of(tmp_path)


def test_a_training_folder_alone_is_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg")
    assert {(label, split) for _, label, split in rows_of(tmp_path)} == {
        ("cat", "train"), ("dog", "train"),
    }  # fmt: skip


def test_split_folders_that_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/cat/1.jpg", "b/cat/2.jpg", "c/deep/cat/3.jpg", "rest/cat/4.jpg")
    assert rows_of(tmp_path, train="a", valid="b", test="c/deep") == [
        ("a/cat/1.jpg", "cat", "train"),
        ("b/cat/2.jpg", "cat", "valid"),
        ("c/deep/cat/3.jpg", "cat", "test"),
    ]
    with pytest.raises(DatasetError, match="not the one for training"):
        scan_folder(tmp_path, valid="b")
    with pytest.raises(DatasetError, match=r"nowhere does not exist.* valid folder"):
        scan_folder(tmp_path, train="a", valid="nowhere")


def test_what_lies_beside_the_split_folders_is_mentioned(tmp_path: Path) -> None:
    """Nothing is dropped silently: a test folder without classes, as competitions have it, neither."""
    touch(
        tmp_path,
        "train/cat/1.jpg",
        "train/dog/2.jpg",
        "test/1.jpg",
        "test/2.jpg",
        "extra/cat/3.jpg",
    )
    rows, notes = scan_folder(tmp_path)
    assert {split for _, _, split in rows} == {"train"}
    said = " ".join(notes)
    assert "test" in said
    assert "extra" in said


def test_classes_may_be_called_as_split_folders_are(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train/2.jpg", "bus/3.jpg", "test/4.jpg")
    assert rows_of(tmp_path) == [
        ("bus/3.jpg", "bus", ""), ("test/4.jpg", "test", ""),
        ("train/1.jpg", "train", ""), ("train/2.jpg", "train", ""),
    ]  # fmt: skip


def test_a_class_called_train_within_split_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/train/1.jpg", "train/bus/2.jpg", "valid/train/3.jpg", "valid/bus/4.jpg")
    assert {(label, split) for _, label, split in rows_of(tmp_path)} == {
        ("train", "train"), ("bus", "train"), ("train", "valid"), ("bus", "valid"),
    }  # fmt: skip


def test_a_split_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "valid/cat/readme.txt")
    with pytest.raises(DatasetError, match=r"valid holds no pictures in subfolders"):
        scan_folder(tmp_path)


# Names.


def test_names_with_spaces_and_other_letters(tmp_path: Path) -> None:
    names = ["great white shark", "Tüpfelhyäne", "猫", "кот", "🐈", "a'b\"c", "100%", "--help"]
    touch(tmp_path, *(f"{name}/{name}.jpg" for name in names))
    found = rows_of(tmp_path)
    assert {label for _, label, _ in found} == set(names)
    assert all((tmp_path / path).is_file() for path, _, _ in found)


def test_one_word_in_two_spellings_is_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Hyäne") for form in ("NFC", "NFD"))
    touch(tmp_path, f"train/{composed}/1.jpg", f"valid/{decomposed}/2.jpg")
    found = rows_of(tmp_path)
    assert {label for _, label, _ in found} == {composed}
    assert all((tmp_path / path).is_file() for path, _, _ in found)
    touch(tmp_path / "flat", f"{composed}/1.jpg", f"{decomposed}/2.jpg")
    assert [label for _, label, _ in rows_of(tmp_path / "flat")] == [composed] * 2


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    touch(tmp_path, b"caf\xe9/\xff\xfe.jpg", b"dog/\xe9t\xe9.JPG")
    found = rows_of(tmp_path)
    assert {os.fsencode(path) for path, _, _ in found} == {
        b"caf\xe9/\xff\xfe.jpg", b"dog/\xe9t\xe9.JPG",
    }  # fmt: skip
    assert {os.fsencode(label) for _, label, _ in found} == {b"caf\xe9", b"dog"}


def test_control_characters_in_names(tmp_path: Path) -> None:
    names = ["new\nline.jpg", "tab\t.jpg", "bell\x07.jpg", "\x1b[31mred.jpg", " .jpg", "a\\b.jpg"]
    touch(tmp_path, *(f"cat/{name}" for name in names), "dog\n/1.jpg")
    assert {path for path, _, _ in rows_of(tmp_path)} == {
        *(f"cat/{n}" for n in names),
        "dog\n/1.jpg",
    }


# What is a picture, and what is not.


def test_extensions_in_upper_case(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.JPG", "cat/2.Jpeg", "cat/3.PNG", "cat/4.WebP")
    assert len(rows_of(tmp_path)) == 4


def test_pictures_without_an_extension(tmp_path: Path, write_picture: WritePicture) -> None:
    write_picture(tmp_path / "cat" / "IMG_0001")
    write_picture(tmp_path / "cat" / "photo.jpg.orig", format="JPEG")
    touch(tmp_path, "cat/notes")
    assert [path for path, _, _ in rows_of(tmp_path)] == ["cat/IMG_0001", "cat/photo.jpg.orig"]


def test_other_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "cat/labels.csv", "cat/deep/readme.txt", "dog/1.jpg", "readme.txt")
    rows, notes = scan_folder(tmp_path)
    assert len(rows) == 2
    assert [note for note in notes if "2 files in cat are no pictures" in note]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "cat/1.jpg", "cat/.hidden.jpg", "cat/._1.jpg", "cat/.thumbs/1.jpg", ".git/1.jpg",
        "__MACOSX/cat/1.jpg", "cat/__MACOSX/1.jpg", "dog/1.jpg", ".DS_Store",
    )  # fmt: skip
    rows, notes = scan_folder(tmp_path)
    assert sorted(path for path, _, _ in rows) == ["cat/1.jpg", "dog/1.jpg"]
    assert notes == []


def test_an_empty_class_is_left_out_and_mentioned(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "fish" / "deep").mkdir(parents=True)
    rows, notes = scan_folder(tmp_path)
    assert {label for _, label, _ in rows} == {"cat", "dog"}
    assert notes == ["fish holds no pictures; it is left out"]


def test_loose_pictures_are_mentioned(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg", "2.jpg", "3.jpg")
    rows, notes = scan_folder(tmp_path)
    assert len(rows) == 2
    assert [note for note in notes if note.startswith("2 pictures lie in")]


@pytest.mark.timeout(20)
def test_pipes_do_not_hang(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    os.mkfifo(tmp_path / "cat" / "pipe")
    os.mkfifo(tmp_path / "loose")
    assert len(rows_of(tmp_path)) == 2


# Links.


@pytest.mark.timeout(20)
@pytest.mark.parametrize("target", [".", "..", "../..", "loop", "../../cat", "../../.."])
def test_loops_of_links_are_not_followed(tmp_path: Path, target: str) -> None:
    root = touch(tmp_path / "up" / "root", "cat/1.jpg", "cat/deep/2.jpg", "dog/1.jpg")
    touch(tmp_path, "up/other/9.jpg")
    (root / "cat" / "deep" / "loop").symlink_to(target)
    assert rows_of(root) == [
        ("cat/1.jpg", "cat", ""), ("cat/deep/2.jpg", "cat", ""), ("dog/1.jpg", "dog", ""),
    ]  # fmt: skip


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.jpg", "elsewhere/deep/2.jpg", "root/dog/1.jpg")
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "elsewhere")
    assert [(path, label) for path, label, _ in rows_of(tmp_path / "root")] == [
        ("cat/1.jpg", "cat"), ("cat/deep/2.jpg", "cat"), ("dog/1.jpg", "dog"),
    ]  # fmt: skip
    (tmp_path / "link").symlink_to("root")
    assert len(rows_of(tmp_path / "link")) == 3


def test_a_link_to_a_file_is_a_picture_and_a_broken_one_a_lost_picture(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "cat" / "link.jpg").symlink_to("1.jpg")
    (tmp_path / "cat" / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "cat" / "broken folder").symlink_to("nowhere")
    rows, notes = scan_folder(tmp_path)
    assert {path for path, _, _ in rows} == {
        "cat/1.jpg", "cat/link.jpg", "cat/broken.jpg", "dog/1.jpg",
    }  # fmt: skip
    assert [note for note in notes if note.startswith("1 files in cat")]


# What cannot be used.


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"photos does not exist\. Give a folder"):
        scan_folder(tmp_path / "photos")
    (tmp_path / "table.txt").touch()
    with pytest.raises(DatasetError, match=r"is a file; a CSV file ends in \.csv"):
        scan_folder(tmp_path / "table.txt")


def test_pictures_without_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(DatasetError, match=r"2 pictures but no class folders\. Put the pictures"):
        scan_folder(tmp_path)


def test_no_pictures_at_all(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no pictures in subfolders\. Expected .*CLASS/picture"):
        scan_folder(tmp_path)
    touch(tmp_path, "cat/readme.txt")
    with pytest.raises(DatasetError, match="no pictures in subfolders"):
        scan_folder(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="to root every folder is open")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "cat").chmod(0)
    try:
        with pytest.raises(DatasetError, match=r"cat cannot be read"):
            scan_folder(tmp_path)
    finally:
        (tmp_path / "cat").chmod(0o700)


def test_a_folder_that_fails_on_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == "cat":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"cat cannot be read.*Permission denied"):
        scan_folder(tmp_path)


# Many files.


def fill(root: Path, count: int, classes: int = 20) -> Path:
    """Hard links to a few files, which take no room and little time."""
    for i in range(classes):
        folder = root / f"class {i:02d}"
        folder.mkdir(parents=True)
        (folder / "0.jpg").write_bytes(JPEG)
        for j in range(1, count // classes):
            os.link(folder / "0.jpg", folder / f"{j}{'.jpg' if j % 4 else ''}")
    return root


def seconds_of(root: Path) -> float:
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        scan_folder(root)
        best = min(best, time.perf_counter() - start)
    return best


def test_time_grows_as_the_number_of_files(tmp_path: Path) -> None:
    few, many = fill(tmp_path / "few", 5_000), fill(tmp_path / "many", 20_000)
    assert len(scan_folder(many)[0]) == 20_000
    assert seconds_of(many) < 12 * seconds_of(few)


@pytest.mark.slow
def test_a_hundred_thousand_files(tmp_path: Path) -> None:
    root = fill(tmp_path / "root", 100_000)
    start = time.perf_counter()
    assert len(scan_folder(root)[0]) == 100_000
    assert time.perf_counter() - start < 30
