"""The numbers that are noted of each picture while it is decoded."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from tellapart.data.images import read_picture
from tellapart.data.picture_facts import FACT, LEAST_SIDE, SIDE, picture_facts

NUMBERS = ("darkest", "dark", "light", "lightest", "edge", "entropy")


def scene(size=(640, 480)):
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    pen, rng = ImageDraw.Draw(image), np.random.default_rng(3)
    for _ in range(20):
        (x, y), radius = rng.uniform(0, 1, 2) * size, rng.uniform(0.04, 0.12) * max(size)
        box, colour = (x - radius, y - radius, x + radius, y + radius), rng.integers(0, 256, 3)
        pen.ellipse(box, fill=tuple(colour.tolist()))
    return image


def encoded(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def facts_of(content, shorter_side=None):
    return picture_facts(content, read_picture(BytesIO(content), shorter_side=shorter_side))


def thumbnail(facts):
    return facts["thumbnail"].astype(np.int16)


def test_a_record_has_a_fixed_length_and_survives_as_bytes():
    facts = facts_of(encoded(scene()))
    assert facts.dtype == FACT
    assert not FACT.hasobject
    assert np.frombuffer(facts.tobytes(), FACT)[0] == facts
    assert facts["thumbnail"].shape == (SIDE, SIDE, 3)


def test_the_numbers_hardly_depend_on_the_scale_of_decoding():
    content = encoded(scene((2400, 1800)), "JPEG", quality=92)
    small = read_picture(BytesIO(content), shorter_side=LEAST_SIDE // 2)
    assert small.pixels.width < 2400  # otherwise nothing is tested
    whole, part = facts_of(content), facts_of(content, LEAST_SIDE // 2)
    assert (part["width"], part["height"]) == (whole["width"], whole["height"]) == (2400, 1800)
    for name in ("darkest", "dark", "light", "lightest"):
        assert part[name] == pytest.approx(whole[name], abs=0.03)
    assert part["entropy"] == pytest.approx(whole["entropy"], abs=0.3)
    assert part["edge"] == pytest.approx(whole["edge"], rel=0.35)
    assert np.abs(thumbnail(part) - thumbnail(whole)).mean() < 3


def test_a_blurred_picture_has_the_same_edge_at_every_size():
    edges = []
    for width in (200, 400, 800, 1600, 3200):
        image = scene((1600, 1200)).filter(ImageFilter.GaussianBlur(40))
        edges.append(facts_of(encoded(image.resize((width, width * 3 // 4))))["edge"])
    assert max(edges) < 1.3 * min(edges)
    assert max(edges) < 0.2 * facts_of(encoded(scene()))["edge"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_the_format_is_that_of_the_content(kind):
    content = encoded(scene((96, 64)), kind)
    facts = facts_of(content)
    assert facts["format"].decode() == kind
    assert facts["bytes"] == len(content)
    assert (facts["width"], facts["height"]) == (96, 64)
    assert not facts["exif"]
    assert facts["orientation"] == 1


TURNS = {
    3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
}  # fmt: skip


@pytest.mark.parametrize("orientation", TURNS)
def test_a_turned_picture_is_seen_upright(orientation):
    image, exif = scene((320, 240)), Image.Exif()
    exif[274] = orientation
    stored = image.transpose(TURNS[orientation])
    facts = facts_of(encoded(stored, "JPEG", quality=95, exif=exif.tobytes()))
    upright = facts_of(encoded(image, "JPEG", quality=95))
    assert (facts["width"], facts["height"]) == (320, 240)
    assert (facts["orientation"], facts["exif"]) == (orientation, True)
    assert (upright["orientation"], upright["exif"]) == (1, False)
    assert np.abs(thumbnail(facts) - thumbnail(upright)).mean() < 3


def test_exif_without_a_turn_is_noted_as_exif():
    exif = Image.Exif()
    exif[271] = "a camera"
    facts = facts_of(encoded(scene((64, 48)), "JPEG", exif=exif.tobytes()))
    assert (facts["orientation"], facts["exif"]) == (1, True)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 2)])
def test_pictures_of_next_to_no_pixels(size):
    facts = facts_of(encoded(Image.new("RGB", size, (255, 0, 0))))
    assert (facts["width"], facts["height"]) == size
    assert facts["edge"] == facts["entropy"] == 0
    assert (facts["thumbnail"] == (255, 0, 0)).all()


def test_a_strip_of_a_few_rows():
    assert facts_of(encoded(scene((6000, 3))))["width"] == 6000


def test_grey_is_as_its_colour():
    grey = scene().convert("L")
    one, other = facts_of(encoded(grey)), facts_of(encoded(grey.convert("RGB")))
    for name in (*NUMBERS, "width", "height"):
        assert one[name] == other[name]
    assert (one["thumbnail"] == other["thumbnail"]).all()


def test_a_palette_shows_its_colours():
    image = Image.new("RGB", (60, 40), (10, 200, 30)).quantize(4)
    facts = facts_of(encoded(image))
    assert not facts["alpha"]
    assert (facts["thumbnail"] == (10, 200, 30)).all()


def test_what_is_transparent_is_white_and_noted():
    image = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    facts = facts_of(encoded(image))
    assert facts["alpha"]
    assert facts["darkest"] == 1
    assert (facts["thumbnail"] == 255).all()
    colour = facts_of(encoded(Image.new("L", (60, 40), 0), transparency=0))
    assert colour["alpha"]
    assert not facts_of(encoded(image.convert("RGB")))["alpha"]


def test_quantiles_leave_out_the_rarest_pixels():
    pixels = np.full((200, 200), 128, np.uint8)
    pixels.flat[:20] = 0  # 0.05 %
    pixels.flat[-200:] = 255  # 0.5 %
    facts = facts_of(encoded(Image.fromarray(pixels)))
    assert facts["darkest"] == facts["dark"] == facts["light"] == np.float32(128 / 255)
    assert facts["lightest"] == 1


def test_entropy_counts_the_bits_of_brightness():
    pixels = np.tile(np.arange(16, dtype=np.uint8) * 16, (160, 10))
    assert facts_of(encoded(Image.fromarray(pixels)))["entropy"] == pytest.approx(4)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_every_picture_has_numbers_within_their_ranges(width, height, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    facts = facts_of(encoded(Image.fromarray(pixels), compress_level=0))
    assert 0 <= facts["darkest"] <= facts["dark"] <= facts["light"] <= facts["lightest"] <= 1
    assert 0 <= facts["entropy"] <= 8
    assert facts["edge"] >= 0
    low, high = pixels.min(axis=(0, 1)), pixels.max(axis=(0, 1))
    assert (facts["thumbnail"] >= low).all()
    assert (facts["thumbnail"] <= high).all()
