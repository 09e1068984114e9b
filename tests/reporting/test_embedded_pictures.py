"""Pictures and figures in a page: bounded, whole, and apart from each other."""

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tellapart.audit.embedded_pictures import picture_url, svg_of, thumbnails
from tellapart.evaluation.figures import row_of_axes


def opened(url: str) -> Image.Image:
    kind, _, text = url.partition(";base64,")
    assert kind == "data:image/jpeg"
    return Image.open(BytesIO(base64.b64decode(text, validate=True)))


@pytest.mark.parametrize("most_bytes", [2_000, 14_000, 60_000])
def test_the_bound_holds_for_noise(most_bytes):
    noise = np.random.default_rng(0).integers(0, 256, (700, 500, 3), np.uint8)
    url = picture_url(Image.fromarray(noise), side=400, most_bytes=most_bytes)
    assert len(url) <= 4 * most_bytes / 3 + 40
    width, height = opened(url).size
    assert max(width, height) <= 400
    assert width / height == pytest.approx(5 / 7, abs=0.05)


def test_a_plain_picture_keeps_its_size():
    assert opened(
        picture_url(Image.new("RGB", (300, 200), "teal"), side=150, most_bytes=9000)
    ).size == (150, 100)


def test_what_cannot_be_read_is_empty(tmp_path, write_picture):
    write_picture(tmp_path / "a.png", size=(60, 40))
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    urls = thumbnails(tmp_path, ["a.png", "b.png", "c.png"], side=48, most_bytes=5000)
    assert (urls["b.png"], urls["c.png"]) == ("", "")
    assert opened(urls["a.png"]).size == (48, 32)


def test_two_figures_of_a_page_share_no_id():
    figure, (axes,) = row_of_axes(1)
    axes.plot([1, 2], [3, 4])
    axes.set_title("a < b & c")
    one, two = str(svg_of(figure, "one")), str(svg_of(figure, "two"))
    first, second = (set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, two))
    assert first
    assert not first & second
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', one))
    assert used
    assert used <= first
    assert one.startswith("<svg")
    assert "<metadata" not in one
    assert "<script" not in one
