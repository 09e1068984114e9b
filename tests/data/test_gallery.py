"""The gallery keeps its promises: same bytes, known faults, and nothing but style to tell by."""

import csv
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from tellapart.data.gallery import CLASSES, Fault, GallerySummary, draw_gallery, draw_picture
from tellapart.errors import DatasetError, UsageError

FAULTY: dict[str, Any] = {"per_class": 10, "seed": 3, "faults": True, "valid": 0.4}
PER_CLASS = 20


class StopHere(Exception):
    """No error: a user who has had enough."""


def digests(root: Path) -> dict[str, str]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> GallerySummary:
    return draw_gallery(tmp_path_factory.mktemp("plain"), PER_CLASS, workers=2)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> GallerySummary:
    return draw_gallery(tmp_path_factory.mktemp("faulty"), **FAULTY, workers=2)


def pictures(summary: GallerySummary) -> Iterator[tuple[str, Path]]:
    for label in CLASSES:
        for path in sorted((summary.root / label).iterdir()):
            yield label, path


def rows(summary: GallerySummary, *kinds: str) -> list[Fault]:
    found = [fault for fault in summary.faults if fault.fault in kinds]
    assert found, f"no fault of kind {kinds} was planted"
    return found


def pixels(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return np.asarray(upright.resize(size) if size else upright, dtype=np.float64)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def number(path: str) -> int:
    return int(Path(path).name.split("-")[1])


# One picture


@pytest.mark.parametrize("style", CLASSES)
def test_a_picture_depends_on_its_three_arguments_alone(style: str) -> None:
    first = draw_picture(style, 5, 1)
    draw_picture("painting", 0, 0)
    assert first.mode == "RGB"
    assert first.tobytes() == draw_picture(style, 5, 1).tobytes()
    assert first.tobytes() != draw_picture(style, 6, 1).tobytes()
    assert first.tobytes() != draw_picture(style, 5, 2).tobytes()


def test_an_unknown_style_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="drawings, engraving, iconography, painting, sculpture"):
        draw_picture("photograph", 0, 0)
    with pytest.raises(UsageError, match="count from 0"):
        draw_picture("painting", -1, 0)


# A plain gallery


def test_every_class_has_its_pictures_in_its_folder(plain: GallerySummary) -> None:
    assert plain.counts == dict.fromkeys(CLASSES, PER_CLASS)
    assert not plain.faults
    assert {path.name for path in plain.root.iterdir()} == {*CLASSES, "gallery.json"}
    names = [(label, path.name) for label, path in pictures(plain)]
    assert Counter(label for label, _ in names) == plain.counts
    assert all(name.startswith(f"{label}-") for label, name in names)


def test_size_shape_and_file_type_vary_and_tell_nothing(plain: GallerySummary) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    ensemble = pytest.importorskip("sklearn.ensemble")
    looks, labels = [], []
    for label, path in pictures(plain):
        with Image.open(path) as image:
            looks.append((*image.size, image.width / image.height, image.format == "PNG"))
        labels.append(label)
    table = np.array(looks, dtype=float)
    longer = table[:, :2].max(axis=1)
    assert longer.min() >= 180
    assert longer.max() <= 480
    assert np.mean((longer >= 235) & (longer <= 360)) > 0.6
    assert table[:, 2].min() < 0.8
    assert table[:, 2].max() > 1.25
    assert 0.1 < table[:, 3].mean() < 0.5
    forest = ensemble.RandomForestClassifier(30, random_state=0)
    assert selection.cross_val_score(forest, table, labels, cv=5).mean() < 0.36


def test_the_mean_colour_does_not_give_the_class_away(plain: GallerySummary) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    ensemble = pytest.importorskip("sklearn.ensemble")
    neighbors = pytest.importorskip("sklearn.neighbors")
    found = [(label, pixels(path).mean(axis=(0, 1))) for label, path in pictures(plain)]
    labels, colours = [label for label, _ in found], np.array([colour for _, colour in found])
    models = (
        ensemble.RandomForestClassifier(30, random_state=0),
        neighbors.KNeighborsClassifier(9),
    )
    for model in models:
        accuracy = selection.cross_val_score(model, colours, labels, cv=5).mean()
        assert 0.2 < accuracy < 0.70


def test_the_subject_does_not_give_the_class_away(plain: GallerySummary) -> None:
    shown = defaultdict(set)
    for label, path in pictures(plain):
        shown[path.stem.split("-", 2)[2]].add(label)
    assert len(shown) >= 7
    assert sum(len(labels) >= 4 for labels in shown.values()) >= 7


# The same again


def test_the_same_bytes_whatever_the_workers_and_interruptions(
    faulty: GallerySummary, tmp_path: Path
) -> None:
    def stop_at_twenty(done: int, total: int) -> None:
        assert total == 50
        if done == 20:
            raise StopHere

    with pytest.raises(StopHere):
        draw_gallery(tmp_path, **FAULTY, workers=1, progress=stop_at_twenty)
    seen: list[int] = []
    again = draw_gallery(tmp_path, **FAULTY, workers=1, progress=lambda done, _: seen.append(done))
    assert seen == list(range(20, 51))
    assert again.faults == faulty.faults
    assert digests(tmp_path) == digests(faulty.root)


def test_deleted_files_come_back_and_others_stay(plain: GallerySummary) -> None:
    before = digests(plain.root)
    paths = [path for _, path in pictures(plain)]
    kept = {path: path.stat().st_mtime_ns for path in paths[3:]}
    for path in paths[:3]:
        path.unlink()
    draw_gallery(plain.root, PER_CLASS)
    assert digests(plain.root) == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_another_seed_gives_other_pictures(tmp_path: Path) -> None:
    one = draw_gallery(tmp_path / "one", 1, 0, workers=1)
    two = draw_gallery(tmp_path / "two", 1, 1, workers=1)
    files = [value for name, value in digests(one.root).items() if name != "gallery.json"]
    others = [value for name, value in digests(two.root).items() if name != "gallery.json"]
    assert len(files) == len(others) == 5
    assert not set(files) & set(others)


# Faults


def test_the_table_says_what_the_summary_says(faulty: GallerySummary) -> None:
    with open(faulty.root / "faults.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["path", "fault", "other_path", "split", "detail"]
    assert [Fault(**row) for row in table] == list(faulty.faults)
    for fault in faulty.faults:
        assert (faulty.root / fault.path).is_file()
        assert fault.path.split("/")[0] == fault.split
    folders = Counter(path.parent for path in faulty.root.glob("*/*/*"))
    assert folders == {
        faulty.root / split / label: count
        for split, count in (("train", 6), ("valid", 4))
        for label in CLASSES
    }


def test_no_file_has_two_faults_but_for_the_watermark(faulty: GallerySummary) -> None:
    per_file = defaultdict(set)
    for fault in faulty.faults:
        if fault.fault not in ("shortcut", "leak"):
            per_file[fault.path].add(fault.fault)
    assert all(len(kinds) == 1 for kinds in per_file.values())
    sources = {fault.other_path for fault in faulty.faults if fault.other_path}
    assert not sources & set(per_file)


@pytest.mark.parametrize(
    "kind",
    ["exact_duplicate", "label_error", "blank", "blurry", "dark", "tiny", "unreadable",
     "exif_rotated", "shortcut"],
)  # fmt: skip
def test_faults_are_in_both_splits(faulty: GallerySummary, kind: str) -> None:
    assert {fault.split for fault in rows(faulty, kind)} == {"train", "valid"}


def test_copies_are_copies_and_nothing_else_is(faulty: GallerySummary) -> None:
    hashes = digests(faulty.root)
    exact = {(fault.path, fault.other_path) for fault in rows(faulty, "exact_duplicate")}
    same = {
        pair for pair in itertools.permutations(hashes, 2) if hashes[pair[0]] == hashes[pair[1]]
    }
    assert exact <= same
    assert len(same) == 2 * len(exact)


def test_near_copies_look_alike(faulty: GallerySummary) -> None:
    found = rows(faulty, "near_duplicate")
    assert {fault.detail for fault in found} == {"re-encoded", "resized", "cropped", "mirrored"}
    for fault in found:
        copy = pixels(faulty.root / fault.path, (24, 24))
        if fault.detail == "mirrored":
            copy = copy[:, ::-1]
        assert alike(copy, pixels(faulty.root / fault.other_path, (24, 24))) > 0.6, fault


def test_leaks_are_across_the_splits(faulty: GallerySummary) -> None:
    pairs = {
        (fault.path, fault.other_path)
        for fault in rows(faulty, "exact_duplicate", "near_duplicate")
        if fault.path.split("/")[0] != fault.other_path.split("/")[0]
    }
    assert {(fault.path, fault.other_path) for fault in rows(faulty, "leak")} == pairs


def test_a_wrong_label_names_the_true_class(faulty: GallerySummary) -> None:
    found = rows(faulty, "label_error")
    numbers = {number(fault.path) for fault in found}
    for fault in found:  # two pictures changed places, so its own number is among theirs
        assert fault.path.split("/")[1] != fault.detail
        there = pixels(faulty.root / fault.path)
        true = [np.asarray(draw_picture(fault.detail, index, 3), float) for index in numbers]
        assert any(there.shape == image.shape and alike(there, image) > 0.9 for image in true)


def test_odd_pictures_are_as_odd_as_they_say(faulty: GallerySummary) -> None:
    for fault in rows(faulty, "blank"):
        assert pixels(faulty.root / fault.path).std() < 1
    for fault in rows(faulty, "dark"):
        assert pixels(faulty.root / fault.path).mean() < 20
    for fault in rows(faulty, "tiny"):
        assert max(pixels(faulty.root / fault.path).shape) < 32
    for fault in rows(faulty, "blurry"):
        sharp = draw_picture(fault.path.split("/")[1], number(fault.path), 3)
        steps = np.abs(np.diff(np.asarray(sharp, dtype=np.float64), axis=1)).mean()
        assert np.abs(np.diff(pixels(faulty.root / fault.path), axis=1)).mean() < steps / 2


def test_unreadable_files_cannot_be_read(faulty: GallerySummary) -> None:
    found = rows(faulty, "unreadable")
    assert {fault.detail for fault in found} == {"truncated", "not an image"}
    for fault in found:
        path = faulty.root / fault.path
        assert path.suffix == ".jpg"
        if fault.detail == "truncated":
            with Image.open(path) as image, pytest.raises(OSError, match="truncated"):
                image.load()
        else:
            with pytest.raises(UnidentifiedImageError):
                Image.open(path)
            assert path.read_text(encoding="utf-8").startswith("<html>")


def test_exif_shows_the_picture_upright(faulty: GallerySummary) -> None:
    for fault in rows(faulty, "exif_rotated"):
        path = faulty.root / fault.path
        true = draw_picture(fault.path.split("/")[1], number(fault.path), 3)
        upright = pixels(path)
        assert upright.shape[:2] == true.size[::-1]
        assert alike(upright, np.asarray(true, dtype=np.float64)) > 0.95
        with Image.open(path) as image:
            assert image.getexif()[0x0112] in (3, 6, 8)


def test_the_watermark_is_in_one_corner_of_one_class(faulty: GallerySummary) -> None:
    found = rows(faulty, "shortcut")
    (label,) = {fault.path.split("/")[1] for fault in found}
    (corner,) = {fault.detail for fault in found}
    assert 5 <= len(found) <= 9
    faults = {fault.path for fault in faulty.faults if fault.fault != "shortcut"}
    for fault in found:
        if fault.path in faults:
            continue
        true = draw_picture(label, number(fault.path), 3)
        change = np.abs(pixels(faulty.root / fault.path) - np.asarray(true, dtype=np.float64)) > 45
        change = change[:: -1 if "bottom" in corner else 1, :: -1 if "right" in corner else 1]
        high, wide = change.shape[0] // 4, change.shape[1] // 4
        marked = change[:high, :wide].mean()
        change[:high, :wide] = False
        assert marked > 0.01 + 10 * change.mean()


def test_a_split_without_faults_and_faults_without_a_split(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise StopHere

    with pytest.raises(StopHere):  # the folders are there before the first picture
        draw_gallery(tmp_path / "split", 3, valid=0.3, progress=stop)
    assert sorted(path.name for path in (tmp_path / "split").iterdir()) == [
        "gallery.json", "train", "valid",
    ]  # fmt: skip
    with pytest.raises(StopHere):
        draw_gallery(tmp_path / "flat", 10, faults=True, valid=0, progress=stop)
    text = (tmp_path / "flat" / "faults.csv").read_text(encoding="utf-8")
    assert "valid" not in text
    assert "leak" not in text
    with pytest.raises(StopHere):
        draw_gallery(tmp_path / "default", 10, faults=True, progress=stop)
    assert json.loads((tmp_path / "default" / "gallery.json").read_text())["valid"] == 0.2


# What is refused


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="new or an empty folder"):
        draw_gallery(tmp_path, 1)
    with pytest.raises(DatasetError, match="is a file"):
        draw_gallery(tmp_path / "mine.txt", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_gallery_with_other_arguments_is_refused(plain: GallerySummary) -> None:
    with pytest.raises(DatasetError, match="other arguments"):
        draw_gallery(plain.root, PER_CLASS + 1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"per_class": 0}, "per_class must be at least 1"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"valid": 1.0}, "below 1; got 1.0"),
        ({"valid": -0.1}, "below 1; got -0.1"),
        ({"valid": float("nan")}, "below 1; got nan"),
        ({"per_class": 1, "valid": 0.5}, "at least 2"),
        ({"per_class": 9, "faults": True}, "at least 10"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_arguments_that_make_no_sense(tmp_path: Path, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        draw_gallery(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


# Processes

SCRIPT = """
import sys
from pathlib import Path
from tellapart.data.gallery import draw_gallery
tell = lambda done, total: print(done, flush=True)
draw_gallery(Path(sys.argv[1]), int(sys.argv[2]), workers=2, progress=tell)
"""


def start_script(tmp_path: Path, per_class: int) -> "subprocess.Popen[str]":
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "out"), str(per_class)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_script_without_a_main_guard_may_draw(tmp_path: Path) -> None:
    with start_script(tmp_path, 4) as script:
        output, _ = script.communicate(timeout=60)
    assert script.returncode == 0
    assert output.split() == [str(done) for done in range(21)]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_ctrl_c_leaves_no_half_files(tmp_path: Path) -> None:
    with start_script(tmp_path, 200) as script:
        assert script.stdout is not None
        for line in script.stdout:
            if int(line) >= 6:
                break
        for _ in range(
            5
        ):  # one that comes while Python clears up an object is lost, as on a keyboard
            script.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                script.communicate(timeout=6)
                break
    assert script.returncode != 0
    assert not list((tmp_path / "out").rglob("*.part"))
    files = [path for path in (tmp_path / "out").glob("*/*") if path.is_file()]
    assert 6 <= len(files) < 1000
    for path in files:
        pixels(path)
