"""The checks on pictures that are on disk already, where the truth is known."""

import hashlib
import json
import os

import pytest
from PIL import Image

import tellapart
from tellapart.data.gather.claim import locked
from tellapart.data.receipt import read_receipt
from tellapart.errors import DatasetError, UsageError
from web.behaviours import many, picture
from web.pictures import png_bomb, sample
from web.server import Server


@pytest.fixture
def photos(tmp_path, write_picture):
    """Three good pictures of each class, and one of each fault."""
    root = tmp_path / "photos"
    for label in ("cat", "dog"):
        for number in range(3):
            write_picture(root / label / f"{number}.png", (64, 48))
    good = (root / "cat" / "0.png").read_bytes()
    (root / "cat" / "copy.png").write_bytes(good)
    (root / "cat" / "cut.jpg").write_bytes(sample(1)[:4000])
    (root / "dog" / "page.jpg").write_text("<!doctype html><p>gone")
    (root / "dog" / "empty.jpg").touch()
    (root / "dog" / "bomb.png").write_bytes(png_bomb(50_000))
    write_picture(root / "dog" / "tiny.png", (80, 12))
    both = write_picture(root / "cat" / "both.png", (64, 48)).read_bytes()
    (root / "dog" / "both.png").write_bytes(both)
    return root


FAULTS = {
    "cat/copy.png": ("duplicate", "same picture"),
    "cat/cut.jpg": ("failed", "truncated"),
    "dog/page.jpg": ("failed", "not an image"),
    "dog/empty.jpg": ("failed", "empty"),
    "dog/bomb.png": ("failed", "too many pixels"),
    "dog/tiny.png": ("failed", "too small"),
    "cat/both.png": ("conflict", "in two classes"),
    "dog/both.png": ("conflict", "in two classes"),
}


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_planted_faults_are_found_and_nothing_else(photos):
    before = contents(photos)
    dataset, receipt = tellapart.verify(photos)
    found = {row.path: (row.status, row.reason) for row in receipt.rows if row.status != "ok"}
    assert found == FAULTS
    assert len(dataset) == 6
    assert not set(dataset.paths) & set(FAULTS)
    assert len(receipt.lost) == 7
    after = contents(photos)
    assert after.pop("receipt.csv")
    assert after == before


def test_the_receipt_can_be_trained_on(photos):
    dataset, _ = tellapart.verify(photos)
    again = tellapart.Dataset.from_csv(photos / "receipt.csv")
    assert again.paths == dataset.paths
    assert again.labels == dataset.labels
    assert list(again.table["sha256"]) == list(dataset.table["sha256"])
    assert tellapart.open_dataset(photos / "receipt.csv").paths == dataset.paths


def test_splits_are_kept(tmp_path, write_picture):
    for split in ("train", "valid"):
        for label in ("a", "b"):
            write_picture(tmp_path / split / label / "1.png", (40, 40))
    dataset, _ = tellapart.verify(tmp_path)
    assert list(dataset.table["split"]) == ["train", "train", "valid", "valid"]
    assert dataset.is_split


def test_decided_conflicts(photos):
    assert len(tellapart.verify(photos, conflicts="keep").dataset) == 8
    first = tellapart.verify(photos, conflicts="first")
    assert "cat/both.png" in first.dataset.paths
    assert "dog/both.png" not in first.dataset.paths
    dropped = tellapart.verify(photos, conflicts="drop")
    assert len(dropped.dataset) == 6
    assert len(dropped.receipt.lost) == 5


def test_a_clean_copy(photos, tmp_path, write_picture):
    turned = Image.new("RGB", (60, 90))
    turned.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(photos / "cat" / "turned.jpg", exif=exif)
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(photos / "cat" / "clear.webp", lossless=True)
    write_picture(photos / "dog" / "wide.png", (1000, 100))
    Image.new("P", (40, 40), 3).save(photos / "dog" / "palette.gif")
    before = contents(photos)
    dataset, receipt = tellapart.verify(photos, copy_to=tmp_path / "clean", max_size=500)
    assert dataset.root == tmp_path / "clean"
    assert len(dataset) == len(receipt.stored) == 10
    copies = contents(tmp_path / "clean")
    copies.pop("receipt.csv")
    assert set(copies) == set(dataset.paths)
    for row in tellapart.Dataset.from_csv(tmp_path / "clean" / "receipt.csv").table.itertuples():
        assert hashlib.sha256(copies[row.path]).hexdigest() == row.sha256
    assert copies["cat/1.png"] == before["cat/1.png"]
    with Image.open(tmp_path / "clean" / "cat" / "turned.jpg") as image:
        assert image.size == (90, 60)
        assert not image.getexif().get(0x0112)
    with Image.open(tmp_path / "clean" / "cat" / "clear.webp.jpg") as image:
        assert image.getpixel((25, 25)) == (255, 255, 255)
    with Image.open(tmp_path / "clean" / "dog" / "wide.png") as image:
        assert image.size == (500, 50)
    with Image.open(tmp_path / "clean" / "dog" / "palette.gif.png") as image:
        assert image.mode == "RGB"
    after = contents(photos)
    after.pop("receipt.csv")
    assert after == before
    assert not list(tmp_path.glob(".*"))


def test_copies_never_mix_with_what_is_there(photos, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for folder in (tmp_path / "full", photos / "clean", photos):
        with pytest.raises(UsageError):
            tellapart.verify(photos, copy_to=folder)
    with pytest.raises(UsageError, match="copy_to"):
        tellapart.verify(photos, max_size=300)
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_a_gathered_folder_keeps_its_links_and_what_went_bad_is_asked_for_again(get, tmp_path):
    with Server({"/many/*": many(4), "/gone/*": picture(sample(9))}) as server:
        urls = [server.url(f"/many/{n}.jpg") for n in range(4)]
        rows = get(urls)
        damaged = tmp_path / "data" / rows[urls[1]].path
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:5000])
        (tmp_path / "data" / rows[urls[2]].path).unlink()
        dataset, receipt = tellapart.verify(tmp_path / "data")
        assert [row.url for row in receipt.rows]
        assert {row.url for row in receipt.rows} == {urls[0], urls[1], urls[3]}  # those on disk
        states = {row.url: (row.status, row.reason) for row in read_receipt(receipt.file).values()}
        assert set(states) == set(urls)
        assert states[urls[1]] == ("failed", "truncated")
        assert states[urls[2]] == ("skipped", "removed by hand")
        assert len(dataset) == 2
        rows = get(urls)
        assert [rows[url].status for url in urls] == ["ok", "ok", "skipped", "ok"]
        assert damaged.read_bytes() == whole
        assert [server.hits[f"/many/{n}.jpg"] for n in range(4)] == [1, 2, 1, 1]


def test_a_receipt_elsewhere_for_a_folder_that_may_not_be_written(photos, tmp_path):
    dataset, receipt = tellapart.verify(photos, receipt=tmp_path / "elsewhere.csv")
    assert not (photos / "receipt.csv").exists()
    assert dataset.root == photos
    assert len(read_receipt(tmp_path / "elsewhere.csv")) == len(receipt.rows)
    (photos / "receipt.csv").write_text("something,else\n")
    with pytest.raises(DatasetError, match="no receipt"):
        tellapart.verify(photos)


def test_names_that_are_hostile(tmp_path, write_picture):
    odd = ["a,b.png", 'quote".png', "line\nbreak.png", "=1+1.png", "ünï ✓.png", "-rf.png"]
    for name in odd:
        write_picture(tmp_path / "photos" / "a" / name, (40, 40))
    write_picture(tmp_path / "photos" / "b" / "1.png", (40, 40))
    with_bytes = os.fsencode(tmp_path / "photos" / "b") + b"/\xff\xfe.png"
    with open(with_bytes, "wb") as file:
        file.write(write_picture(tmp_path / "x.png", (40, 40)).read_bytes())
    dataset, receipt = tellapart.verify(tmp_path / "photos")
    assert len(dataset) == len(odd) + 2
    assert json.dumps([row.path for row in receipt.rows])
    again = tellapart.Dataset.from_csv(tmp_path / "photos" / "receipt.csv")
    assert len(again) == len(dataset)
    readable = [path for path in again.paths if (tmp_path / "photos" / path).is_file()]
    assert len(readable) >= len(odd)


def test_no_two_write_one_receipt(photos):
    with locked(photos), pytest.raises(DatasetError, match="another gather or verify"):
        tellapart.verify(photos)
    assert len(tellapart.verify(photos).dataset) == 6


def test_a_pipe_is_not_waited_for(photos):
    os.mkfifo(photos / "cat" / "pipe.jpg")
    dataset, receipt = tellapart.verify(photos)
    assert {row.path: row.reason for row in receipt.rows}["cat/pipe.jpg"] == "not a file"
    assert len(dataset) == 6


def test_copies_whose_names_would_be_the_same(tmp_path, write_picture):
    for name, form in (("x.gif", "GIF"), ("x.gif.png", "PNG"), ("x.gif-2.png", "PNG")):
        write_picture(tmp_path / "photos" / "a" / name, (40, 40), format=form)
    dataset, _ = tellapart.verify(tmp_path / "photos", copy_to=tmp_path / "clean")
    copies = contents(tmp_path / "clean")
    assert len(dataset) == len(copies) - 1 == 3
    for path, sha256 in zip(dataset.paths, dataset.table["sha256"], strict=True):
        assert hashlib.sha256(copies[path]).hexdigest() == sha256


def test_copies_into_the_folder_where_one_stands(photos, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    dataset, _ = tellapart.verify(photos, copy_to=".")
    assert len(contents(tmp_path / "here")) == len(dataset) + 1
