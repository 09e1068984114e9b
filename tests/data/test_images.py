"""The decoder: what goes in by its content, what comes out as upright 8-bit RGB, what is refused and how."""

import os
import resource
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, features

from tellapart.data.images import decode, looks_like_image, open_image, read_bytes
from tellapart.errors import DataError, ImageError

RED, GREEN, BLUE, YELLOW = (250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)
Pixels = NDArray[np.uint8]


def encoded(picture: Image.Image | NDArray[Any], format: str = "PNG", **options: Any) -> bytes:
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    file = BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def pixels_of(content: bytes, **options: Any) -> Pixels:
    return np.asarray(decode(content, "picture", **options))


def corners() -> Pixels:
    """Upright: red and green above, blue and yellow below; 48 px wide, 32 px high."""
    picture = np.empty((32, 48, 3), np.uint8)
    picture[:16, :24], picture[:16, 24:] = RED, GREEN
    picture[16:, :24], picture[16:, 24:] = BLUE, YELLOW
    return picture


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    """Something like a photograph: noise that is strong at coarse scales and weak at fine ones."""
    generator = np.random.default_rng(seed)
    total = np.full((height, width, 3), 128.0)
    for cells in (4, 16, 64):
        small = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        large = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(large, np.float64) - 128) * (2 / cells)
    return np.clip(total, 0, 255).astype(np.uint8)


def png(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int = 8,
    colour: int = 2,
    more: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """A PNG file by hand; `rows` are the filtered rows, `more` are chunks before the pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + b"".join(chunk(kind, body) for kind, body in more)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


# The format is told by the content.


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF", "ICO", "PPM", "WEBP"])
def test_the_name_does_not_matter(tmp_path: Path, format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    (tmp_path / "photo.jpg").write_bytes(encoded(corners(), format, **options))
    shown = open_image(tmp_path / "photo.jpg")
    assert shown[0, 0].tolist() == list(RED)
    assert shown[-1, -1].tolist() == list(YELLOW)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"])
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo"])
def test_every_format_gives_rgb_bytes(tmp_path: Path, format: str, name: str) -> None:
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    (tmp_path / name).write_bytes(encoded(corners(), format))
    shown = open_image(tmp_path / name)
    assert (shown.shape, shown.dtype) == ((32, 48, 3), np.uint8)
    middle = shown[8:24:15, 12:36:23].reshape(4, 3).astype(int)
    assert np.abs(middle - [RED, GREEN, BLUE, YELLOW]).max() < 30


def test_open_image_takes_text_and_paths(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(corners()))
    assert np.array_equal(open_image(str(tmp_path / "a.png")), open_image(tmp_path / "a.png"))


def test_the_result_is_a_plain_picture_that_outlives_its_file() -> None:
    picture = decode(encoded(corners()))
    assert type(picture) is Image.Image
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == RED


# EXIF orientation: the sides on which the stored picture's first row and first column belong.

SIDES = {
    1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
    5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
}  # fmt: skip


def stored(upright: Pixels, orientation: int) -> Pixels:
    """The pixels as a camera stores them, by the words of the EXIF standard."""
    row, column = SIDES[orientation]
    turned = upright if row in ("top", "bottom") else upright.transpose(1, 0, 2)
    turned = turned[::-1] if row in ("bottom", "right") else turned
    turned = turned[:, ::-1] if column in ("bottom", "right") else turned
    return np.ascontiguousarray(turned)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = pixels_of(encoded(stored(corners(), orientation), format, exif=exif))
    assert shown.shape == (32, 48, 3)
    found = shown[[2, 2, -3, -3], [2, -3, 2, -3]].astype(int)
    assert np.abs(found - [RED, GREEN, BLUE, YELLOW]).max() < 40


def test_exif_orientation_is_applied_to_a_drafted_jpeg() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    large = corners().repeat(20, axis=0).repeat(20, axis=1)
    shown = pixels_of(encoded(stored(large, 6), "JPEG", exif=exif), shorter_side=50)
    assert shown.shape[0] < 640
    assert shown.shape[1] == round(shown.shape[0] * 1.5)
    assert np.abs(shown[2, 2].astype(int) - RED).max() < 40
    assert np.abs(shown[-3, 2].astype(int) - BLUE).max() < 40


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(range(100)),
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff\0\0\0\0" * 30,
        b"II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",  # orientation 99
        b"II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0",  # orientation "abc"
        b"II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x05\0\x01\0\0\0\xff\xff\xff\x7f\0\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01"
        + b"\x01\x12\0\x03\0\0\0\x00\0\0\0\0\0\0\0\x08",  # points at itself
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_does_not_matter(body: bytes) -> None:
    plain = encoded(corners(), "JPEG")
    content = encoded(corners(), "JPEG", exif=b"Exif\0\0" + body)
    assert np.array_equal(pixels_of(content), pixels_of(plain))
    assert pixels_of(encoded(corners(), "PNG", exif=b"Exif\0\0" + body)).shape == (32, 48, 3)


# Modes.


def test_transparent_parts_become_white() -> None:
    picture = np.zeros((1, 3, 4), np.uint8)
    picture[0, :] = [[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 128]]
    shown = pixels_of(encoded(picture))[0]
    assert shown[:2].tolist() == [[200, 100, 0], [255, 255, 255]]
    half = 128 / 255
    expected = [value * half + 255 * (1 - half) for value in (200, 100, 0)]
    assert np.abs(shown[2] - expected).max() <= 1


def test_grey_with_alpha_becomes_grey_over_white() -> None:
    picture = Image.new("LA", (3, 1))
    picture.putpixel((0, 0), (60, 255))
    picture.putpixel((1, 0), (60, 0))
    picture.putpixel((2, 0), (0, 51))
    assert pixels_of(encoded(picture))[0, :, 0].tolist() == [60, 255, 204]


def palette_picture() -> Image.Image:
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *BLUE])
    picture.putpixel((1, 0), 1)
    return picture


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF"])
def test_palettes_are_looked_up(format: str) -> None:
    assert pixels_of(encoded(palette_picture(), format))[0].tolist() == [list(RED), list(BLUE)]


def test_a_transparent_entry_of_a_palette_becomes_white() -> None:
    for format in ("PNG", "GIF"):
        content = encoded(palette_picture(), format, transparency=1)
        assert pixels_of(content)[0].tolist() == [list(RED), [255] * 3], format
    some = encoded(palette_picture(), "PNG", transparency=bytes([255, 51]))  # an alpha per entry
    assert pixels_of(some)[0, 1].tolist() == [204, 204, 254]


def test_one_transparent_colour_becomes_white() -> None:
    colour = encoded(np.array([[RED, BLUE]], np.uint8), transparency=BLUE)
    assert pixels_of(colour)[0].tolist() == [list(RED), [255] * 3]
    grey = encoded(np.array([[7, 9]], np.uint8), transparency=9)
    assert pixels_of(grey)[0, :, 0].tolist() == [7, 255]


def test_black_and_white_and_grey() -> None:
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    for format in ("PNG", "TIFF", "GIF", "BMP"):
        assert pixels_of(encoded(bits, format))[0].tolist() == [[0] * 3, [255] * 3], format
    grey = np.array([[0, 77, 255]], np.uint8)
    assert np.array_equal(pixels_of(encoded(grey)), grey[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format: str) -> None:
    picture = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow ink: red
    assert np.abs(pixels_of(encoded(picture, format))[8, 8].astype(int) - (255, 0, 0)).max() < 12


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_grey_of_16_bits_keeps_its_values(format: str) -> None:
    steps = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    shown = pixels_of(encoded(steps, format))
    assert np.array_equal(shown, (steps // 257).astype(np.uint8)[..., None].repeat(3, axis=2))
    dark = np.array([[0, 128, 129, 400]], np.uint16)  # a dark picture stays dark
    assert pixels_of(encoded(dark, format))[0, :, 0].tolist() == [0, 0, 1, 2]


def test_grey_of_16_bits_with_its_bytes_the_other_way_round() -> None:
    content = (
        b"MM\0*\0\0\0\x08\0\x09"
        + b"".join(
            struct.pack(">HHI", tag, kind, 1) + value
            for tag, kind, value in [
                (256, 3, b"\0\x02\0\0"), (257, 3, b"\0\x01\0\0"), (258, 3, b"\0\x10\0\0"),
                (259, 3, b"\0\x01\0\0"), (262, 3, b"\0\x01\0\0"), (273, 4, struct.pack(">I", 122)),
                (277, 3, b"\0\x01\0\0"), (278, 3, b"\0\x01\0\0"), (279, 4, struct.pack(">I", 4)),
            ]
        )
        + b"\0\0\0\0"
        + struct.pack(">HH", 257 * 3, 257 * 200)
    )  # fmt: skip
    assert pixels_of(content)[0, :, 0].tolist() == [3, 200]


def test_colour_of_16_bits() -> None:
    row = b"\0" + struct.pack(">6H", 0, 257 * 100, 65535, 257 * 7, 257 * 8, 257 * 9)
    assert pixels_of(png(2, 1, row, depth=16))[0].tolist() == [[0, 100, 255], [7, 8, 9]]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (np.array([[0, 0.25, 0.5, 1]], np.float32), [0, 64, 128, 255]),
        (np.array([[0, 30.4, 200.6, 255]], np.float32), [0, 30, 201, 255]),
        (np.array([[-5, 10, 255, 999]], np.float32), [0, 10, 255, 255]),
        (np.array([[np.nan, 0.2, 1, 0]], np.float32), [0, 51, 255, 0]),
        (np.array([[0, 100, 250]], np.int32), [0, 100, 250]),
        (np.array([[0, 257 * 9, 65535]], np.int32), [0, 9, 255]),
    ],
)
def test_floats_and_integers_of_32_bits(values: NDArray[Any], shown: list[int]) -> None:
    found = pixels_of(encoded(values, "TIFF"))
    assert found[0].tolist() == [[value] * 3 for value in shown]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(format: str) -> None:
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    options = {"lossless": True} if format == "WEBP" else {}
    content = encoded(first, format, save_all=True, append_images=[second], **options)
    assert pixels_of(content)[4, 4].tolist() == list(RED)


def test_two_pictures_of_a_stereo_camera() -> None:
    first, second = Image.new("RGB", (64, 64), RED), Image.new("RGB", (64, 64), BLUE)
    shown = pixels_of(encoded(first, "MPO", save_all=True, append_images=[second]))
    assert shown.shape == (64, 64, 3)
    assert np.abs(shown[4, 4].astype(int) - RED).max() < 12


# What is refused, and in which words.


def refused(content: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(content, "holiday.jpg")
    assert caught.value.name == "holiday.jpg"
    assert "holiday.jpg" in str(caught.value)
    assert caught.value.reason in str(caught.value)
    return caught.value


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_file_is_said_to_be_one(format: str, kept: float) -> None:
    content = encoded(noise(60, 80), format)
    error = refused(content[: int(len(content) * kept)])
    assert error.reason == "truncated"
    assert "fetch it again" in error.detail


@pytest.mark.parametrize("format", ["WEBP", "AVIF"])
def test_formats_that_do_not_tell_are_refused_all_the_same(format: str) -> None:
    if format not in Image.SAVE:
        pytest.skip(f"this Pillow was built without {format}")
    content = encoded(noise(60, 80), format)
    assert refused(content[: len(content) // 2]).reason in ("truncated", "damaged", "not an image")


def test_a_progressive_jpeg_that_was_cut() -> None:
    content = encoded(noise(200, 200), "JPEG", progressive=True)
    assert refused(content[: len(content) * 2 // 3]).reason == "truncated"


def test_what_is_no_picture() -> None:
    text = refused(b"Dear Mary, here are our holiday pictures.\n")
    assert text.reason == "not an image"
    assert "Dear Mar" in text.detail
    for page in (b"<!DOCTYPE html><title>404</title>", b"\n  <HTML><body>Sorry", b"<html>"):
        error = refused(page)
        assert error.reason == "not an image"
        assert "web page" in error.detail
    for drawing in (b'<?xml version="1.0"?><svg/>', b'<svg xmlns="http://www.w3.org/2000/svg"/>'):
        assert "SVG" in refused(drawing).detail
    assert refused(b"").reason == "not an image"
    assert refused(b"\0" * 4096).reason == "not an image"


def test_formats_that_are_not_read() -> None:
    for format in ("EPS", "PDF", "SGI"):
        assert refused(encoded(corners(), format)).reason == "not an image", format


def test_an_error_is_one_of_ours_and_survives_a_journey() -> None:
    import pickle

    error = refused(b"text")
    assert isinstance(error, DataError)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason, again.detail) == (str(error), error.reason, error.detail)


def unreadable(path: Path) -> ImageError:
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert str(path) in str(caught.value)
    return caught.value


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert unreadable(tmp_path / "empty.jpg").reason == "empty"
    assert unreadable(tmp_path / "lost.jpg").reason == "missing"
    assert unreadable(tmp_path).reason == "not a file"
    (tmp_path / "broken.jpg").symlink_to("nowhere.jpg")
    assert unreadable(tmp_path / "broken.jpg").reason == "missing"
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert unreadable(tmp_path / "loop.jpg").reason == "cannot be read"
    assert unreadable(tmp_path / ("x" * 300 + ".jpg")).reason == "cannot be read"
    assert unreadable(tmp_path / "empty.jpg" / "a.jpg").reason == "cannot be read"
    assert unreadable(tmp_path / "nul\0.jpg").reason == "cannot be read"


@pytest.mark.timeout(10)
def test_a_pipe_or_a_device_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert unreadable(tmp_path / "pipe.jpg").reason == "not a file"
    assert unreadable(Path("/dev/zero")).reason == "not a file"
    os.mkfifo(tmp_path / "pipe")
    assert not looks_like_image(tmp_path / "pipe")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "film.jpg").open("wb") as file:
        file.truncate((256 << 20) + 1)  # sparse: it takes no room
    assert unreadable(tmp_path / "film.jpg").reason == "too large"


def test_read_bytes_gives_the_bytes_and_names_the_file_as_asked(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0\xffabc")
    assert read_bytes(tmp_path / "a.bin") == b"\0\xffabc"
    with pytest.raises(ImageError, match=r"^cats/b\.jpg: missing"):
        read_bytes(tmp_path / "b.jpg", "cats/b.jpg")


# Bombs.


def jpeg_bomb() -> bytes:
    content = bytearray(encoded(corners(), "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    return bytes(content)


def gif_bomb() -> bytes:
    content = bytearray(encoded(corners(), "GIF"))
    content[6:10] = struct.pack("<HH", 65535, 65535)
    return bytes(content)


def gif_frame_bomb() -> bytes:
    """A small screen, and a frame on it that is far larger."""
    content = bytearray(encoded(palette_picture(), "GIF"))
    frame = content.index(b",\0\0\0\0")
    content[frame + 5 : frame + 9] = struct.pack("<HH", 65535, 65535)
    return bytes(content)


def icon_bomb() -> bytes:
    inside = png(60_000, 60_000, b"\0" * 100)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inside), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + inside


@pytest.mark.parametrize(
    "make",
    [
        lambda: png(60_000, 60_000, b"\0" * 1000),
        lambda: png(60_000, 60_000, b"\0" * 8_000_000, depth=1, colour=0),
        lambda: png(14_000, 14_000, b"\0" * 1000),  # below 2³¹ bytes, and still too many
        jpeg_bomb,
        gif_bomb,
        gif_frame_bomb,
        icon_bomb,
        lambda: b"P6 60000 60000 255\n" + b"\0" * 100,
    ],
)
def test_a_decompression_bomb_is_refused_at_once(make: Callable[[], bytes]) -> None:
    content = make()
    assert len(content) < 20_000
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    assert refused(content).reason == "too many pixels"
    assert time.perf_counter() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_the_bound_holds_where_pillows_own_was_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as many programs do
    for content in (png(60_000, 60_000, b"\0" * 1000), jpeg_bomb(), gif_bomb()):
        error = refused(content)
        assert error.reason == "too many pixels"
        assert "at most 178,956,970" in error.detail  # and no memory was asked for first


def test_text_that_unpacks_to_gigabytes_is_no_bomb() -> None:
    """Compressed text beside the pixels is bounded too, and small pictures with much of it are read
    or refused, but cost little."""
    packed = zlib.compress(b"a" * 150_000_000, 1)
    content = png(1, 1, b"\0\1\2\3", more=((b"zTXt", b"Comment\0\0" + packed),))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        assert pixels_of(content).shape == (1, 1, 3)
    except ImageError as error:
        assert error.reason in ("damaged", "truncated", "not an image")  # noqa: PT017
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


# Draft mode: less is decoded where less is wanted.


@pytest.mark.parametrize(
    "size", [(1600, 1200), (1200, 1600), (2049, 1025), (1000, 999), (640, 480)]
)
@pytest.mark.parametrize("shorter_side", [64, 100, 256])
def test_draft_keeps_twice_what_is_needed(size: tuple[int, int], shorter_side: int) -> None:
    width, height = size
    content = encoded(noise(height, width), "JPEG")
    full, drafted = pixels_of(content), pixels_of(content, shorter_side=shorter_side)
    assert full.shape[:2] == (height, width)
    assert min(drafted.shape[:2]) >= min(2 * shorter_side, min(size))
    if min(size) >= 4 * shorter_side:
        assert drafted.size < full.size / 2
    ratio = drafted.shape[1] / drafted.shape[0]
    assert ratio == pytest.approx(width / height, rel=0.01)
    target = (shorter_side, shorter_side * height // width)
    one, other = (
        np.asarray(Image.fromarray(a).resize(target, Image.Resampling.BICUBIC), float)
        for a in (full, drafted)
    )
    assert np.abs(one - other).mean() < 1.5  # of 255
    assert np.abs(one - other).max() < 24


def test_draft_leaves_other_pictures_alone() -> None:
    small = encoded(noise(100, 120), "JPEG")
    assert np.array_equal(pixels_of(small, shorter_side=256), pixels_of(small))
    flat = encoded(noise(500, 600), "PNG")
    assert np.array_equal(pixels_of(flat, shorter_side=10), pixels_of(flat))


# Whatever the bytes are, there is a picture or an ImageError.


def valid_files() -> dict[str, bytes]:
    picture = noise(24, 32)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.fromarray(noise(24, 32, seed)) for seed in (1, 2)]
    files = {
        "JPEG": encoded(picture, "JPEG", exif=exif),
        "progressive": encoded(picture, "JPEG", progressive=True),
        "PNG": encoded(picture, "PNG", exif=exif),
        "palette": encoded(Image.fromarray(picture).quantize(16), "PNG", transparency=3),
        "GIF": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "WEBP": encoded(picture, "WEBP", exif=exif),
        "TIFF": encoded(picture, "TIFF", compression="tiff_lzw"),
        "BMP": encoded(picture, "BMP"),
        "ICO": encoded(picture, "ICO", sizes=[(16, 16), (32, 24)]),
        "PPM": encoded(picture, "PPM"),
    }
    return files


FILES = valid_files()


def decodes_or_raises(content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what is odd before it fails
        try:
            shown = np.asarray(decode(content, "fuzz.jpg", shorter_side=8))
        except ImageError as error:
            assert error.name == "fuzz.jpg"  # noqa: PT017
            return
    assert shown.dtype == np.uint8
    assert shown.ndim == 3
    assert shown.shape[2] == 3


@settings(max_examples=150)
@given(st.binary(max_size=400))
@example(b"BM" + b"\0" * 60)
@example(b"II*\0\x08\0\0\0")
@example(b"GIF89a" + b"\xff" * 40)
def test_random_bytes(content: bytes) -> None:
    decodes_or_raises(content)


@settings(max_examples=300)
@given(
    name=st.sampled_from(sorted(FILES)),
    cut=st.none() | st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
def test_cut_and_flipped_files(
    name: str, cut: float | None, flips: list[tuple[float, int]]
) -> None:
    content = bytearray(FILES[name])
    for place, value in flips:  # squared: the beginning is where the numbers that matter stand
        content[int(place * place * len(content))] = value
    decodes_or_raises(bytes(content[: None if cut is None else int(cut * len(content))]))


# What is taken for a picture while a folder is read.


@pytest.mark.parametrize("name", ["a.jpg", "a.JPG", "a.Jpeg", "a.PNG", "a.webp", "a.tif", "a.AVIF"])
def test_known_extensions_are_believed(tmp_path: Path, name: str) -> None:
    assert looks_like_image(tmp_path / name)  # even where it is missing: a lost picture is said so


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("name", ["IMG_0001", "photo.orig", "17.5"])
def test_other_files_are_looked_into(tmp_path: Path, format: str, name: str) -> None:
    if format not in Image.SAVE:
        pytest.skip(f"this Pillow was built without {format}")
    (tmp_path / name).write_bytes(encoded(corners(), format))
    assert looks_like_image(tmp_path / name)


def test_what_is_no_picture_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("cats and dogs, GIF8 and BM")
    (tmp_path / "nothing").touch()
    (tmp_path / "folder").mkdir()
    for name in ("notes.txt", "nothing", "folder", "missing", "nul\0"):
        assert not looks_like_image(tmp_path / name), name
