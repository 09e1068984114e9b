"""Odd pictures, drawn with faults that are known, and their fine counterparts."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from tellapart.audit.odd_pictures import ODD_PICTURES
from tellapart.audit.subject import Subject
from tellapart.data.copies.copies import Copies
from tellapart.data.dataset import Dataset
from tellapart.data.failure import Failure
from tellapart.data.images import read_picture
from tellapart.data.picture_facts import FACT, picture_facts

ART = Path(__file__).resolve().parents[3] / "shared" / "data" / "art_style"
NONE = np.zeros(0, np.intp)


def scene(size=(300, 240), seed=0):
    """Shapes of many colours with sharp edges, lit from one side."""
    rng = np.random.default_rng(seed)
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    pen = ImageDraw.Draw(image)
    for _ in range(25):
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        radius = rng.uniform(0.03, 0.15) * max(size)
        box, colour = (x - radius, y - radius, x + radius, y + radius), rng.integers(0, 256, 3)
        pen.ellipse(box, fill=tuple(colour.tolist()))
    return image


def lines(colour=(60, 60, 60), ground="white"):
    """A few thin strokes, and nothing else."""
    image = Image.new("RGB", (300, 240), ground)
    pen = ImageDraw.Draw(image)
    pen.ellipse((70, 40, 230, 200), outline=colour, width=2)
    pen.line((70, 120, 230, 120, 150, 40, 150, 200), fill=colour, width=2)
    return image


def encoded(image, kind="JPEG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def subject_of(facts, paths, failures=()):
    dataset = Dataset.from_rows(".", [(path, "a") for path in paths], failures=failures)
    assert dataset.paths == list(paths)
    n, groups = len(paths), np.arange(len(paths))
    copies = Copies(NONE, NONE, np.zeros(0, object), np.zeros(0, np.float32), groups)
    return Subject(dataset, np.zeros((n, 4), np.float32), 4, facts, copies)


def subject(*contents, names=None, failures=()):
    facts = [picture_facts(c, read_picture(BytesIO(c), shorter_side=224)) for c in contents]
    paths = names or [f"{row:03}" for row in range(len(contents))]
    return subject_of(np.array(facts, FACT), paths, failures)


def found(subject):
    """By path, which checks found it."""
    answers = {path: [] for path in subject.paths}
    for name, (find, _, _) in ODD_PICTURES.items():
        for finding in find(subject):
            assert finding.check == name
            assert 0 <= finding.score < 0.5
            assert finding.evidence
            assert finding.suggestion
            answers[finding.paths[0]].append(name)
    return answers


def only(image, kind="JPEG", **options):
    """What is found in one picture among others of usual size."""
    usual = [encoded(scene(seed=seed)) for seed in range(3)]
    answers = found(subject(encoded(image, kind, **options), *usual))
    own = answers.pop("000")
    assert not any(answers.values())
    return own


def test_the_order_and_the_words():
    assert list(ODD_PICTURES) == [
        "unreadable", "blank", "blurry", "dark", "light", "tiny", "odd_aspect", "low_information",
        "wrong_extension", "exif_rotated",
    ]  # fmt: skip
    for _, title, why in ODD_PICTURES.values():
        assert title[0].isupper()
        assert why.endswith(".")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_fine_picture_has_no_fault(kind):
    assert only(scene(), kind) == []


def test_no_pictures_have_no_faults():
    assert found(subject_of(np.zeros(0, FACT), [])) == {}


@pytest.mark.parametrize("level", [0, 1, 90, 200, 255])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_flat_picture_is_blank_and_nothing_else(level, kind):
    assert only(Image.new("RGB", (300, 240), (level, level // 2, level)), kind) == ["blank"]


def test_noise_that_no_eye_sees_is_still_blank():
    levels = np.random.default_rng(0).integers(200, 203, (240, 300)).astype(np.uint8)
    assert only(Image.fromarray(levels), "PNG") == ["blank"]


def test_equal_brightness_is_neither_blank_nor_blurry_where_the_colours_differ():
    image = Image.new("RGB", (300, 240), (200, 0, 0))
    image.paste((0, 102, 0), (150, 0, 300, 240))  # equally bright in grey
    assert only(image, "PNG") == []


@pytest.mark.parametrize("size", [(300, 240), (1200, 900), (120, 100)])
def test_a_blurred_picture_is_blurry(size):
    image = scene(size)
    assert only(image) == []
    assert only(image.filter(ImageFilter.GaussianBlur(max(size) / 30))) == ["blurry"]


def test_more_blur_is_a_lower_score():
    image = scene()
    blurred = [image.filter(ImageFilter.GaussianBlur(radius)) for radius in (16, 12, 8)]
    findings = ODD_PICTURES["blurry"][0](subject(*map(encoded, blurred)))
    assert [finding.paths[0] for finding in findings] == ["000", "001", "002"]
    scores = [finding.score for finding in findings]
    assert scores == sorted(set(scores))


def test_a_smooth_background_is_not_blurry():
    image = scene().filter(ImageFilter.GaussianBlur(12))
    image.paste(scene((90, 90), seed=4), (100, 80))
    assert only(image) == []


def test_one_large_dot_has_few_edges_and_is_not_blurry():
    image = Image.new("RGB", (300, 240), "white")
    ImageDraw.Draw(image).rectangle((150, 120, 181, 151), fill="black")  # 1.4 % of the area
    assert "blurry" not in only(image, "PNG")


def test_small_pictures_need_less_steep_edges():
    facts = np.zeros(3, FACT)
    facts["width"] = facts["height"] = (80, 200, 63)
    facts["light"], facts["lightest"], facts["edge"] = 1, 1, (0.1, 0.1, 0.02)
    facts["thumbnail"][:, ::2] = 255
    answers = found(subject_of(facts, ["a", "b", "c"]))
    assert answers == {"a": [], "b": ["blurry"], "c": []}  # c is too small to tell


def test_a_dark_picture_is_dark_and_not_blurry():
    blurred = scene().filter(ImageFilter.GaussianBlur(10))
    for share in (0.06, 0.03):
        assert only(scene().point(lambda value, share=share: value * share), "PNG") == ["dark"]
        assert only(blurred.point(lambda value, share=share: value * share), "PNG") == ["dark"]


def test_a_night_scene_with_a_light_is_not_dark():
    image = scene().point(lambda value: value * 0.06)
    ImageDraw.Draw(image).ellipse((200, 40, 216, 56), fill=(250, 240, 200))
    assert only(image) == []


def test_a_washed_out_picture_is_light():
    assert only(scene().point(lambda value: 228 + value * 0.1)) == ["light"]


@pytest.mark.parametrize("colour", [(0, 0, 0), (110, 110, 110), (190, 190, 190)])
def test_a_drawing_on_white_has_no_fault(colour):
    assert only(lines(colour), "PNG") == []


def test_chalk_on_black_has_no_fault():
    assert only(lines((220, 220, 220), "black"), "PNG") == []


def test_a_tiny_picture_is_tiny_and_not_blurry():
    assert only(scene().resize((24, 19))) == ["tiny"]
    assert only(scene().filter(ImageFilter.GaussianBlur(10)).resize((40, 32))) == ["tiny"]


def test_small_data_are_not_tiny_but_an_icon_among_photographs_is():
    icons = [encoded(scene(seed=seed).resize((32, 32)), "PNG") for seed in range(4)]
    assert not any(found(subject(*icons)).values())
    specks = [encoded(scene(seed=seed).resize((12, 12)), "PNG") for seed in range(4)]
    assert all("tiny" in names for names in found(subject(*specks)).values())


@pytest.mark.parametrize("size", [(1000, 50), (50, 1000)])
def test_a_strip_has_an_odd_aspect(size):
    assert "odd_aspect" in only(scene(size))


def test_a_panorama_of_three_to_one_has_not():
    assert only(scene((720, 240))) == []


def test_the_aspect_is_said_the_right_way_round():
    (wide,) = ODD_PICTURES["odd_aspect"][0](subject(encoded(scene((1000, 50)))))
    (high,) = ODD_PICTURES["odd_aspect"][0](subject(encoded(scene((50, 1000)))))
    assert wide.evidence == "1,000 × 50 px, 20.0 times as wide as high"
    assert "20.0 times as high as wide" in high.evidence
    assert wide.score == pytest.approx(high.score) == pytest.approx(0.1)


def test_noise_of_few_bits_is_low_in_information():
    levels = np.random.default_rng(0).integers(120, 132, (240, 300)).astype(np.uint8)
    assert only(Image.fromarray(levels), "PNG") == ["low_information"]


def test_a_dot_on_white_is_low_in_information_and_not_blank():
    image = Image.new("RGB", (300, 240), "white")
    ImageDraw.Draw(image).rectangle((150, 120, 165, 135), fill="black")
    assert only(image, "PNG") == ["low_information"]


def test_an_extension_that_tells_another_format():
    picture = scene()
    names = ["a.jpg", "b.PNG", "c.jpeg", "d", "e.php", "f.heic", "g.gif", "h.JFIF", "i.JPG"]
    kinds = ["PNG", "PNG", "JPEG", "PNG", "JPEG", "JPEG", "WEBP", "JPEG", "PNG"]
    contents = [encoded(picture, kind) for kind in kinds]
    findings = ODD_PICTURES["wrong_extension"][0](subject(*contents, names=names))
    assert {finding.paths[0] for finding in findings} == {"a.jpg", "f.heic", "g.gif", "i.JPG"}
    assert "PNG" in findings[0].evidence
    assert ".png" in findings[0].suggestion


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_picture_turned_by_exif(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    assert only(scene(), exif=exif.tobytes()) == ["exif_rotated"]


def test_upright_exif_is_nothing_to_report():
    exif = Image.Exif()
    exif[274] = 1
    assert only(scene(), exif=exif.tobytes()) == []


def test_every_failure_is_reported_with_its_reason():
    failures = [Failure("a/x.jpg", "truncated", "the file ends early"), Failure("y.gif", "empty")]
    findings = ODD_PICTURES["unreadable"][0](subject(encoded(scene()), failures=failures))
    assert [finding.paths for finding in findings] == [("a/x.jpg",), ("y.gif",)]
    assert findings[0].evidence == "truncated: the file ends early"
    assert findings[1].evidence == "empty"
    assert all(finding.score == 0 for finding in findings)


numbers = st.floats(0, 1, width=32)


@given(
    st.lists(numbers, min_size=4, max_size=4).map(sorted),
    numbers,
    st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    st.integers(0, 2**32 - 1),
)
def test_any_facts_give_scores_and_what_is_blank_is_only_that(levels, edge, size, seed):
    facts = np.zeros(1, FACT)
    facts["darkest"], facts["dark"], facts["light"], facts["lightest"] = levels
    facts["edge"], facts["format"] = edge, b"PNG"
    facts["width"], facts["height"] = size
    low, high = sorted(np.random.default_rng(seed).integers(0, 256, 2))
    facts["thumbnail"] = np.random.default_rng(seed).integers(low, high + 1, (1, 48, 48, 3))
    (names,) = found(subject_of(facts, ["a.png"])).values()
    if "blank" in names:
        assert not {"blurry", "dark", "light", "low_information"} & set(names)


@given(numbers, numbers)
def test_a_brighter_picture_is_never_judged_darker(one, other):
    facts = np.zeros(2, FACT)
    facts["width"], facts["height"], facts["thumbnail"][:, 0] = 300, 300, 255
    facts["lightest"] = sorted((one, other))
    findings = ODD_PICTURES["dark"][0](subject_of(facts, ["a", "b"]))
    scores = {"a": 1.0, "b": 1.0} | {finding.paths[0]: finding.score for finding in findings}
    assert scores["a"] <= scores["b"]


def test_the_answers_do_not_depend_on_how_many_are_looked_at_together():
    dot = Image.new("RGB", (300, 240), "white")
    dot.paste("black", (150, 120, 165, 135))
    images = [scene(seed=1), dot, Image.new("RGB", (300, 240), "white")]
    few = subject(*(encoded(image, "PNG") for image in images))
    many = subject_of(np.tile(few.facts, 700), [f"{row:04}" for row in range(2100)])
    answers = list(found(many).values())
    assert answers[:3] == [[], ["low_information"], ["blank"]]
    assert answers == list(found(few).values()) * 700


@pytest.mark.skipif(not ART.is_dir(), reason="the shared pictures are not here")
def test_paintings_photographs_and_sketches_are_no_faults():
    files = sorted(path for path in (ART / "test_set").rglob("*") if path.is_file())[::3]
    contents = [path.read_bytes() for path in files]
    names = [path.relative_to(ART).as_posix() for path in files]
    odd = {path: found for path, found in found(subject(*contents, names=names)).items() if found}
    assert len(files) >= 90
    assert len(odd) <= 0.02 * len(files), odd
