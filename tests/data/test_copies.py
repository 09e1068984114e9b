"""Copies of drawn pictures: every kind is found, its kind is told, and nothing else is."""

import hashlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tellapart.data.copies import connected, find_copies
from tellapart.data.copies.agreement import align_roughly, measure
from tellapart.data.copies.descriptor import cosine_basis, grey, turnless
from tellapart.data.copies.neighbours import nearest, principal
from tellapart.data.copies.turns import TURNS, turned
from tellapart.data.copies.windows import match_windows
from tellapart.data.picture_facts import FACT, SIDE


def drawing(seed, size=(240, 180)):
    """Some shapes of random colours on a sky of a random one."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = (rng.uniform(-0.1, 0.9) * side for side in size)
        w, h = rng.uniform(0.08, 0.5, 2) * size
        shape = (draw.ellipse, draw.rectangle)[rng.integers(2)]
        shape((x, y, x + w, y + h), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def jpeg(image, quality=60):
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(BytesIO(file.getvalue())).convert("RGB")


def cropped(image):
    w, h = image.size
    return image.crop((round(0.12 * w), round(0.05 * h), round(0.92 * w), round(0.9 * h)))


def framed(image):
    frame = Image.new("RGB", (image.width + 40, image.height + 40), "orange")
    frame.paste(image, (20, 20))
    return frame


def marked(image):
    made = image.copy()
    ImageDraw.Draw(made).ellipse((10, 10, 70, 70), fill="white", outline="black", width=6)
    return made


def seen(images):
    """Facts, and vectors as a network might give them: alike for what is drawn from the same seed."""
    facts = np.zeros(len(images), FACT)
    for fact, image in zip(facts, images, strict=True):
        fact["width"], fact["height"] = image.size
        fact["thumbnail"] = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    return facts


def vectors_of(sources, noise=0.35, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((max(sources) + 1, 128))
    made = base[sources] + noise * rng.standard_normal((len(sources), 128)) + 1
    return made.astype(np.float32)


def copies_of(images, sources, **options):
    hashes = [hashlib.sha256(image.tobytes() + bytes([i % 251])).hexdigest()
              for i, image in enumerate(images)]  # fmt: skip
    return find_copies(hashes, seen(images), vectors_of(np.array(sources)), **options)


CHANGES = {
    "re-encoded": jpeg,
    "resized": lambda image: image.resize((120, 90), Image.Resampling.LANCZOS),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "rotated": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "tilted": lambda image: image.rotate(5, Image.Resampling.BICUBIC),
    "cropped": cropped,
    "framed": framed,
    "resized, changed in part": lambda image: marked(image).resize((120, 90)),
    "changed in part": marked,
    "mirrored, cropped": lambda i: cropped(i).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.fixture(scope="module")
def pile():
    """80 drawings, and copies of the first ones by every change; which is a copy of which."""
    images = [drawing(seed) for seed in range(80)]
    sources = list(range(80))
    for number, change in enumerate(CHANGES.values()):
        for source in (2 * number, 2 * number + 1):
            images.append(change(images[source]))
            sources.append(source)
    return images, sources


def test_every_kind_is_found_and_nothing_else(pile):
    images, sources = pile
    copies = copies_of(images, sources)
    found = set(zip(copies.copy.tolist(), copies.original.tolist(), strict=True))
    planted = {(80 + i, sources[80 + i]) for i in range(2 * len(CHANGES))}
    assert {tuple(sorted(pair)) for pair in found} == {tuple(sorted(pair)) for pair in planted}
    kinds = dict(zip(copies.copy.tolist(), copies.kinds.tolist(), strict=True))
    for number, kind in enumerate(CHANGES):
        for row in (80 + 2 * number, 81 + 2 * number):
            told = kinds.get(row, kinds.get(sources[row], ""))
            assert set(kind.split(", ")) <= set(told.split(", ")), f"{kind}: {told}"
    assert ((copies.similarity > 0.5) & (copies.similarity <= 1)).all()


def lines(seed, size=(220, 220)):
    """Thin lines on white, as in a sketch: most of it agrees with any other such picture."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, "white")
    places = np.cumsum(rng.normal(0, 22, (60, 2)), axis=0)
    places = 25 + 170 * (places - places.min(0)) / np.ptp(places, axis=0)
    ImageDraw.Draw(image).line([tuple(place) for place in places], fill="black", width=2)
    return image


def test_sketches_in_narrow_frames_are_found():
    images, sources = [lines(seed) for seed in range(70)], [*range(70), *range(16)]
    for source in range(16):
        frame = Image.new("RGB", (230, 230), "black")
        frame.paste(images[source], (5, 5))
        images.append(frame)
    vectors = vectors_of(np.array(sources), noise=1.0)
    copies = find_copies([str(i) for i in range(len(images))], seen(images), vectors)
    found = set(zip(copies.copy.tolist(), copies.original.tolist(), strict=True))
    assert found <= {(70 + i, i) for i in range(16)}
    assert len(found) >= 15
    assert all("framed" in kind for kind in copies.kinds)


def test_workers_do_not_change_the_answer(pile):
    one, three = copies_of(*pile, workers=1), copies_of(*pile, workers=3)
    for name in ("copy", "original", "similarity", "groups"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))
    assert one.kinds.tolist() == three.kinds.tolist()


def test_equal_bytes_and_pixels_are_told_apart_and_many_make_few_pairs():
    images = [drawing(0)] * 200 + [drawing(1)]
    facts, vectors = seen(images), vectors_of(np.array([0] * 200 + [1]), noise=0)
    copies = find_copies(["a"] * 100 + ["b"] * 100 + ["c"], facts, vectors)
    assert len(copies) == 199
    assert sorted(set(copies.kinds)) == ["exact", "pixels"]
    assert (copies.kinds == "pixels").sum() == 1
    assert copies.groups.tolist() == [0] * 200 + [1]


def test_flat_pictures_are_no_near_copies():
    images = [Image.new("RGB", (60 + i, 60), (250, 250, 250 - i % 3)) for i in range(20)]
    assert len(copies_of(images, [0] * 20)) == 0


def test_files_that_could_not_be_hashed_equal_nothing():
    images = [drawing(seed) for seed in range(3)]
    assert len(find_copies(["", "", "a"], seen(images), vectors_of(np.arange(3)))) == 0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pictures_are_no_trouble(count):
    images = [drawing(seed) for seed in range(count)]
    copies = find_copies(
        [str(i) for i in range(count)], seen(images), vectors_of(np.arange(3))[:count]
    )
    assert copies.groups.tolist() == list(range(count))


def test_progress_ends_with_all(pile):
    calls = []
    copies_of(*pile, progress=lambda *call: calls.append(call))
    assert calls[-1][0] == "copies"
    assert calls[-1][1] == calls[-1][2] > 0


@given(st.integers(1, 30).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1),
                                                       st.integers(0, n - 1)), max_size=40))))  # fmt: skip
def test_connected_is_the_closure_of_the_pairs(given_pairs):
    count, pairs = given_pairs
    a, b = (np.array([pair[end] for pair in pairs], np.intp) for end in (0, 1))
    reach = np.eye(count, dtype=bool)
    reach[a, b] = reach[b, a] = True
    for _ in range(count):
        reach = reach | (reach.astype(int) @ reach.astype(int) > 0)
    groups = connected(a, b, count)
    np.testing.assert_array_equal(groups[:, None] == groups, reach)


@given(st.integers(0, 2**32 - 1), st.integers(0, TURNS - 1))
def test_the_turnless_look_is_the_same_for_all_turns(seed, turn):
    picture = np.random.default_rng(seed).integers(0, 256, (1, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(turnless(picture), turnless(turned(picture, turn)), atol=2e-3)


def test_low_frequencies_are_those_of_a_perceptual_hash():
    imagehash = pytest.importorskip("imagehash")
    image = drawing(3).resize((SIDE, SIDE), Image.Resampling.BOX).convert("L")
    values = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS), np.float32)
    basis = cosine_basis(32, 8)
    low = basis @ values @ basis.T
    scale = 2 * np.sqrt(np.outer([32, *[16] * 7], [32, *[16] * 7]) * 4)  # SciPy leaves it unscaled
    bits = low * scale > np.median(low * scale)
    theirs = imagehash.phash(image).hash
    assert (bits == theirs).mean() > 0.95


def test_neighbours_in_cells_are_nearly_those_of_all(monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3000, 24))
    rows[1500:] = rows[:1500] + 0.3 * rng.standard_normal((1500, 24))
    unit = principal(rows, np.arange(3000), 24, 0)
    exact = set(zip(*(part.tolist() for part in nearest(unit, 1)), strict=True))
    monkeypatch.setattr("tellapart.data.copies.neighbours.EXACT", 100)
    cells = set(zip(*(part.tolist() for part in nearest(unit, 1)), strict=True))
    planted = {(i, i + 1500) for i in range(1500)}
    assert planted <= exact
    assert len(planted & cells) > 0.95 * len(planted)


def test_a_crop_is_aligned_to_where_it_was_cut():
    images = [drawing(5), cropped(drawing(5))]
    thumbnails = seen(images)["thumbnail"]
    match = match_windows(thumbnails, np.array([0]), np.array([1]))
    assert (match.around[0], match.whole[0], match.turn[0]) == (0, 1, 0)
    rough = align_roughly(thumbnails, match)
    affine = measure(thumbnails, match, rough.affine).affine[0]
    np.testing.assert_allclose(np.diag(affine), [0.8, 0.85], atol=0.02)
    np.testing.assert_allclose(affine[:, 2], [0.04, -0.05], atol=0.02)


def test_grey_is_brightness():
    assert grey(np.full((1, 2, 2, 3), 200, np.uint8)) == pytest.approx(200, abs=0.1)
