"""Pictures as the page gets them: encoded anew, of bounded size, and only those that were judged."""

import hashlib
import threading
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tellapart.review import pictures as module
from tellapart.review.pictures import FULL, THUMB, Pictures


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def photo(tmp_path):
    """A large JPEG on its side, with EXIF, a comment, a profile and something behind its end."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    image = Image.fromarray(pixels).resize((4000, 3000))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "SECRET-exif"
    path = tmp_path / "photo.jpg"
    image.save(
        path, "JPEG", exif=exif, comment=b"SECRET-comment", icc_profile=b"SECRET-profile" * 20
    )
    path.write_bytes(path.read_bytes() + b"SECRET-tail<script>")
    return path


def opened(*paths, **options):
    root = paths[0].parent
    return Pictures(
        root, [path.name for path in paths], [sha256(path) for path in paths], **options
    )


@pytest.mark.parametrize(("side", "size"), [(THUMB, (192, 256)), (FULL, (1200, 1600))])
def test_they_are_encoded_anew_upright_and_small(photo, side, size):
    shown = opened(photo).shown(0, side)
    assert shown.readable
    assert b"SECRET" not in shown.jpeg
    image = Image.open(BytesIO(shown.jpeg))
    assert (image.format, image.size) == ("JPEG", size)
    assert not image.getexif()
    assert image.info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_small_ones_are_not_enlarged(tmp_path, write_picture):
    path = write_picture(tmp_path / "a.png", (32, 24))
    assert Image.open(BytesIO(opened(path).shown(0, FULL).jpeg)).size == (32, 24)


@pytest.mark.parametrize("fault", ["missing", "changed", "broken", "folder", "link away"])
def test_what_cannot_be_shown_is_drawn_instead(tmp_path, write_picture, fault):
    path = write_picture(tmp_path / "in" / "a.png")
    known = opened(path)
    path.unlink()
    if fault == "changed":
        write_picture(path)
    if fault == "broken":
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
    if fault == "folder":
        path.mkdir()
    if fault == "link away":  # to a picture that was not judged
        path.symlink_to(write_picture(tmp_path / "secret.png"))
    shown = known.shown(0, THUMB)
    assert not shown.readable
    assert Image.open(BytesIO(shown.jpeg)).size == (THUMB, THUMB)


def test_a_file_that_was_mended_is_shown_again(tmp_path, write_picture):
    path = write_picture(tmp_path / "a.png")
    raw, known = path.read_bytes(), opened(path)
    path.write_bytes(b"")
    assert not known.shown(0, THUMB).readable
    path.write_bytes(raw)
    assert known.shown(0, THUMB).readable


def test_what_is_kept_is_bounded_and_read_once(tmp_path, write_picture, monkeypatch):
    paths = [write_picture(tmp_path / f"{n}.png", (200, 200)) for n in range(6)]
    size = len(opened(paths[0]).shown(0, THUMB).jpeg)
    known, read = opened(*paths, most_bytes=3 * size + size // 2), []
    real = module.read_bytes
    monkeypatch.setattr(module, "read_bytes", lambda *a: read.append(a[1]) or real(*a))
    for row in (0, 1, 0, 1, 2, 0):
        known.shown(row, THUMB)
    assert read == ["0.png", "1.png", "2.png"]
    for row in (3, 4, 5):
        known.shown(row, THUMB)
    assert known._bytes == sum(len(s.jpeg) for s in known._kept.values()) <= 3.5 * size
    known.shown(1, THUMB)
    assert read[-1] == "1.png"


def test_few_are_decoded_at_a_time(tmp_path, write_picture, monkeypatch):
    paths = [write_picture(tmp_path / f"{n}.png") for n in range(12)]
    known, now, most = opened(*paths), [0], [0]
    lock, real = threading.Lock(), module.decode

    def decode(*arguments, **options):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.01)
        with lock:
            now[0] -= 1
        return real(*arguments, **options)

    monkeypatch.setattr(module, "decode", decode)
    threads = [threading.Thread(target=known.shown, args=(n, THUMB)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 2


def test_another_content_or_size_has_another_tag(tmp_path, write_picture):
    known = opened(write_picture(tmp_path / "a.png"), write_picture(tmp_path / "b.png"))
    assert len({known.tag(row, side) for row in (0, 1) for side in (THUMB, FULL)}) == 4
