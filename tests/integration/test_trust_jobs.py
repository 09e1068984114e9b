"""Data as people have it, through `check` and `train`: tables of a cleaner, ready-made splits, leaks."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SPLITS = ("training_set", "validation_set", "test_set")


def divided(gallery, root) -> Iterator[tuple[str, str, Path]]:
    """Split, label and path of the gallery's pictures, 10, 3 and 3 of each class."""
    for folder in sorted(path for path in gallery.iterdir() if path.is_dir()):
        for number, path in enumerate(sorted(folder.iterdir())):
            split = SPLITS[(number >= 10) + (number >= 13)]
            (root / split / folder.name).mkdir(parents=True, exist_ok=True)
            yield split, folder.name, path


def metrics_of(run):
    return json.loads((run / "run.json").read_text())


def test_a_table_that_a_cleaner_wrote(tellapart, gallery, tmp_path):
    """`name,label` beside the pictures: some are gone from it, one has got another label."""
    root = shutil.copytree(gallery, tmp_path / "art")
    rows = [(p.relative_to(root).as_posix(), p.parent.name) for p in sorted(root.glob("*/*"))]
    kept = [row for number, row in enumerate(rows) if number % 9]
    kept[0] = (kept[0][0], "sculpture")
    table = root / "cleaned.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("name", "label"), *kept])
    checked = tellapart("check", table, "--out", tmp_path / "check", "--json")
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["pictures"] == len(kept)
    trained = tellapart("train", table, "--out", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        assert {(row["path"], row["label"]) for row in csv.DictReader(file)} == set(kept)


def test_a_ready_made_split(tellapart, gallery, tmp_path):
    for split, label, path in divided(gallery, tmp_path / "data"):
        shutil.copyfile(path, tmp_path / "data" / split / label / path.name)
    checked = tellapart("check", tmp_path / "data", "--out", tmp_path / "check", "--json")
    assert checked.returncode == 0, checked.stderr
    trained = tellapart("train", tmp_path / "data", "--out", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    info = metrics_of(tmp_path / "run")
    assert (info["metrics"]["valid"]["n"], info["metrics"]["test"]["n"]) == (15, 15)
    assert info["leaks"] is None


def test_the_leaked_score_differs_as_when_leaks_are_taken_out_by_hand(tellapart, gallery, tmp_path):
    """A third of the held-out pictures are training pictures, saved anew, smaller, or mirrored."""
    for folder in ("leaky", "clean"):
        for split, label, path in divided(gallery, tmp_path / folder):
            target = tmp_path / folder / split / label / path.name
            if split == "validation_set" and label == "painting":
                target = (
                    tmp_path / folder / split / "engraving" / path.name
                )  # wrong, so not all right
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    made = 0
    for path in sorted((tmp_path / "leaky" / "training_set").glob("*/*"))[::7]:
        image = Image.open(path).convert("RGB")
        image = (image, image.reduce(2), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))[made % 3]
        folder = tmp_path / "leaky" / "validation_set" / path.parent.name
        folder.mkdir(exist_ok=True)
        image.save(folder / f"leak{made}.jpg", quality=80)
        made += 1
    for folder in ("leaky", "clean"):
        done = tellapart("train", tmp_path / folder, "--out", tmp_path / f"{folder}-run")
        assert done.returncode == 0, done.stderr
    leaky, clean = metrics_of(tmp_path / "leaky-run"), metrics_of(tmp_path / "clean-run")
    by_hand = [clean["metrics"][split] for split in ("valid", "test")]
    assert leaky["leaks"]["n"] == made == 8
    honest = leaky["leaks"]["honest"]
    assert honest["n"] == sum(part["n"] for part in by_hand) == 30
    assert honest["errors"] == sum(part["errors"] for part in by_hand) >= 3
    assert leaky["leaks"]["all"]["accuracy"] > honest["accuracy"]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no pictures in {SHARED}")
def test_the_split_of_art_style(tellapart, tmp_path):
    """Twenty pictures of each of its twelve folders, linked, in the split that they came in."""
    for folder in sorted((SHARED / "art_style").glob("*/*")):
        target = tmp_path / "data" / folder.parent.name / folder.name
        target.mkdir(parents=True)
        for path in sorted(folder.iterdir())[:20]:
            (target / path.name).symlink_to(path)
    done = tellapart("check", tmp_path / "data", "--out", tmp_path / "c", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pictures"] == 240
