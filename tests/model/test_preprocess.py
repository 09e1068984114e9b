"""From a picture to the network's input: the geometry in known numbers."""

import json
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tellapart.errors import UsageError
from tellapart.model.preprocess import PreprocessSpec


def ramp(width: int, height: int) -> Image.Image:
    """Red grows from left to right, green from top to bottom."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.dstack([x, y, np.full_like(x, 7)]).round().astype(np.uint8))


def torchvision_box(
    size: tuple[int, int], shorter: int, crop: int
) -> tuple[tuple[int, int], int, int]:
    """torchvision's numbers, written out from `_compute_resized_image_output_size` and
    `center_crop`: the size after resizing, and the left and top of the crop."""
    width, height = size
    short, long = (width, height) if width <= height else (height, width)
    new_long = int(shorter * long / short)
    new = (shorter, new_long) if width <= height else (new_long, shorter)
    return new, int(round((new[0] - crop) / 2.0)), int(round((new[1] - crop) / 2.0))  # noqa: RUF046


# Crop.


@pytest.mark.parametrize(
    ("size", "resized", "left", "top"),
    [
        ((640, 480), (341, 256), 58, 16),  # (341 − 224) / 2 = 58.5: to the even one
        ((480, 640), (256, 341), 16, 58),
        ((500, 333), (384, 256), 80, 16),
        ((333, 500), (256, 384), 16, 80),
        ((499, 334), (382, 256), 79, 16),
        ((515, 256), (515, 256), 146, 16),  # 145.5: to the even one
        ((256, 256), (256, 256), 16, 16),
        ((101, 100), (258, 256), 17, 16),
        ((7, 5), (358, 256), 67, 16),
        ((1, 1), (256, 256), 16, 16),
    ],
)
def test_crop_takes_what_torchvision_takes(
    size: tuple[int, int], resized: tuple[int, int], left: int, top: int
) -> None:
    assert torchvision_box(size, 256, 224) == (resized, left, top)
    picture = ramp(*size)
    whole = np.asarray(picture.resize(resized, Image.Resampling.BICUBIC))
    expected = whole[top : top + 224, left : left + 224]
    assert np.array_equal(np.asarray(PreprocessSpec(size=224).resize(picture)), expected)


@settings(max_examples=40)
@given(
    st.integers(1, 400), st.integers(1, 400), st.sampled_from([32, 33, 97]),
    st.sampled_from([0.875, 0.9, 1.0]), st.sampled_from(["bicubic", "bilinear", "lanczos"]),
)  # fmt: skip
def test_crop_of_any_size(width: int, height: int, size: int, crop_pct: float, how: str) -> None:
    if max(width, height) > 20 * min(width, height):
        width = height
    picture = ramp(width, height)
    spec = PreprocessSpec(size=size, crop_pct=crop_pct, interpolation=how)
    resized, left, top = torchvision_box((width, height), int(size / crop_pct), size)
    whole = np.asarray(picture.resize(resized, Image.Resampling[how.upper()]))
    expected = whole[top : top + size, left : left + size]
    assert expected.shape == (size, size, 3)
    assert np.array_equal(np.asarray(spec.resize(picture)), expected)


def test_the_side_that_the_decoder_must_keep() -> None:
    assert PreprocessSpec(size=224).shorter_side == 256
    assert PreprocessSpec(size=260).shorter_side == 297
    assert PreprocessSpec(size=224, crop_pct=1).shorter_side == 224
    assert PreprocessSpec(size=224, fit="squish").shorter_side == 224


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (60_000, 2), (40_000, 3)])
@pytest.mark.parametrize("fit", ["crop", "pad", "squish"])
def test_a_thin_line_costs_no_gigabytes(size: tuple[int, int], fit: str) -> None:
    """Web pages are full of them; scaled up until their short side fits, they would not fit anywhere."""
    picture = Image.new("RGB", size, (0, 200, 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shown = np.asarray(PreprocessSpec(size=224, fit=fit).resize(picture))  # type: ignore[arg-type]
    assert shown.shape == (224, 224, 3)
    assert (shown == (0, 200, 0)).all(axis=2).sum() >= 224
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize("across", [False, True])
def test_of_a_thin_line_the_middle_is_seen(across: bool) -> None:
    pixels = np.zeros((8, 20_000, 3), np.uint8)
    pixels[:, 9_900:10_100] = 250
    picture = Image.fromarray(pixels.transpose(1, 0, 2).copy() if across else pixels)
    assert (np.asarray(PreprocessSpec(size=224).resize(picture)) == 250).all()


# Pad and squish.


@pytest.mark.parametrize(
    ("size", "box"),  # left, top, right, bottom of the picture within the square
    [
        ((200, 100), (0, 25, 100, 75)), ((100, 200), (25, 0, 75, 100)), ((50, 50), (0, 0, 100, 100)),
        ((100, 33), (0, 33, 100, 66)), ((1000, 1), (0, 49, 100, 50)), ((30, 20), (0, 16, 100, 83)),
    ],
)  # fmt: skip
def test_pad_keeps_the_shape_and_fills_with_white(
    size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    shown = np.asarray(PreprocessSpec(size=100, fit="pad").resize(Image.new("RGB", size, "navy")))
    expected = np.full((100, 100, 3), 255)
    expected[box[1] : box[3], box[0] : box[2]] = (0, 0, 128)
    assert np.array_equal(shown, expected)


def test_squish_shows_the_whole_picture() -> None:
    shown = np.asarray(PreprocessSpec(size=64, fit="squish").resize(ramp(300, 50)), int)
    assert shown.shape == (64, 64, 3)
    assert (shown[:, 0, 0] < 5).all()
    assert (shown[:, -1, 0] > 250).all()
    assert (shown[0, :, 1] < 5).all()
    assert (shown[-1, :, 1] > 250).all()
    assert (shown[..., 2] == 7).all()


# Numbers.


@pytest.mark.parametrize("fit", ["crop", "pad", "squish"])
@pytest.mark.parametrize("size", [(1, 1), (31, 77), (640, 480)])
def test_the_input_is_a_batch_of_one(fit: str, size: tuple[int, int]) -> None:
    values = PreprocessSpec(size=48, fit=fit).apply(Image.new("RGB", size))  # type: ignore[arg-type]
    assert (values.shape, values.dtype) == ((1, 3, 48, 48), np.float32)
    assert values.flags.c_contiguous


def test_values_are_normalised_by_channel() -> None:
    spec = PreprocessSpec(size=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    values = spec.apply(Image.new("RGB", (40, 40), (255, 0, 51)))[0]
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    assert values.reshape(3, -1).min(axis=1) == pytest.approx(expected, rel=1e-5)
    assert values.reshape(3, -1).max(axis=1) == pytest.approx(expected, rel=1e-5)
    diagonal = Image.fromarray(np.eye(32, dtype=bool)).convert("RGB")
    usual = PreprocessSpec(size=32, crop_pct=1).apply(diagonal)
    assert np.array_equal(usual[0, 0], np.eye(32) * 2 - 1)


def test_rows_and_columns_keep_their_places() -> None:
    values = PreprocessSpec(size=100, crop_pct=1).apply(ramp(100, 100))[0]
    assert (np.diff(values[0], axis=1) > 0).all()  # red grows along the width
    assert (np.diff(values[1], axis=0) > 0).all()  # green along the height


# As a value.


@pytest.mark.parametrize(
    "spec",
    [
        PreprocessSpec(size=224),
        PreprocessSpec(
            size=32,
            fit="pad",
            crop_pct=0.9,
            interpolation="lanczos",
            mean=(0.1, 0.2, 0.3),
            std=(1, 2, 3),
        ),
    ],
)
def test_json_round_trip(spec: PreprocessSpec) -> None:
    again = PreprocessSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert hash(again) == hash(spec)
    assert PreprocessSpec.from_json({"size": 224}) == PreprocessSpec(size=224)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fit": "stretch"}, "'stretch' is unknown; choose from crop, pad, squish"),
        ({"interpolation": "nearest"}, "'nearest'"),
        ({"size": 31}, "31 px: choose a size from 32 to 1024"),
        ({"size": 1025}, "1025 px"),
        ({"size": -224}, "-224 px"),
        ({"size": 224.5}, "224.5"),
        ({"size": float("nan")}, "nan"),
        ({"crop_pct": 0}, "above 0 and at most 1"),
        ({"crop_pct": 1.01}, "above 0 and at most 1"),
        ({"crop_pct": float("nan")}, "above 0 and at most 1"),
        ({"mean": (0.5, 0.5)}, "mean"),
        ({"std": (0.5, 0.5, 0)}, "std"),
        ({"std": (0.5, 0.5, 0.5, 0.5)}, "std"),
    ],
)
def test_values_that_cannot_be(values: dict[str, object], words: str) -> None:
    for make in (lambda v: PreprocessSpec(**v), PreprocessSpec.from_json):
        with pytest.raises(UsageError, match=words):
            make({"size": 224} | values)
