"""What a change does to a picture: letters, textures, answers made up, and fits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from tellapart.audit.changed_answers import Changed, changed_answers
from tellapart.audit.changed_views import CHANGES, ChangedView
from tellapart.audit.fit_choice import choose_fit, fit_choice, fit_findings
from tellapart.audit.transformations import (
    judge,
    paired_interval,
    sample_rows,
    transformation_findings,
    transformation_safety,
)
from tellapart.data.dataset import Dataset
from tellapart.errors import UsageError
from tellapart.model.backbones import open_backbone
from tellapart.model.preprocess import PreprocessSpec
from tellapart.training.embed import Embedder, embed

N = 28  # pictures of a class: three classes are enough to be sure


@pytest.fixture(scope="module")
def embedder():
    return Embedder(open_backbone("tf_efficientnet_lite0"), workers=2)


def write(root, draw, classes, seed):
    """`draw(rng, name)` makes each picture; the dataset and its features come back."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(N):
            draw(rng, name).save(root / name / f"{i:03}.png")
    return Dataset.from_folder(root)


def letter(rng, name):
    ink, paper = (tuple(int(v) for v in rng.integers(*r, 3)) for r in ((0, 100), (160, 256)))
    image = Image.new("RGB", (160, 160), paper)
    place = tuple(int(v) for v in 80 + rng.integers(-15, 16, 2))
    font = ImageFont.load_default(float(rng.integers(70, 120)))
    ImageDraw.Draw(image).text(
        place, name, ink, font, anchor="mm", stroke_width=int(rng.integers(0, 4)), stroke_fill=ink
    )
    return image.rotate(float(rng.uniform(-8, 8)), Image.Resampling.BICUBIC, fillcolor=paper)


def texture(rng, name):
    """Checkers, dots or noise, with no left or right."""
    a, b = rng.integers(0, 256, (2, 3))
    step = int(rng.integers(6, 25))
    y, x = np.mgrid[:160, :160] + rng.integers(0, 50, 2)[:, None, None]
    if name == "checkers":
        mask = ((x // step + y // step) % 2).astype(float)
    elif name == "dots":
        mask = np.hypot(x % (2 * step) - step, y % (2 * step) - step) < 0.6 * step
    else:
        side = 160 // step + 2
        small = Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8))
        mask = np.asarray(small.resize((160, 160), Image.Resampling.BICUBIC)) / 255
    pixels = a + (b - a) * np.asarray(mask)[..., None] + rng.normal(0, 6, (160, 160, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def panorama(rng, name):
    """Told by the two ends, which a centre crop cuts away."""
    image = Image.fromarray(rng.integers(0, 256, (12, 48, 3), dtype=np.uint8)).resize((480, 120))
    pen = ImageDraw.Draw(image)
    for x in (0, 420):
        box = (x + 5, 35, x + 55, 85)
        (pen.ellipse if name == "round" else pen.rectangle)(box, "white", "black", 4)
    return image


def flipped(dataset, embedder, changes=("flip",)):
    features = embed(dataset.root, dataset.paths, embedder).values
    return transformation_safety(dataset, embedder, features, changes=changes)


def test_letters_that_become_others_are_named(tmp_path, embedder):
    (safety,) = flipped(write(tmp_path, letter, "bdT", 5), embedder)
    assert safety.verdict == "unsafe"
    assert not safety.safe
    assert safety.unsafe_classes == ("b", "d")
    became = {c.name: c.became for c in safety.per_class}
    assert (became["b"], became["d"]) == ("d", "b")
    assert safety.lost > safety.gained
    (finding,) = transformation_findings([safety])
    assert finding.check == "flip"
    assert "--no-flip" in finding.suggestion
    assert "'b', 'd'" in finding.evidence
    assert finding.score < 0.5


def test_letters_that_become_no_letter_are_named(tmp_path, embedder):
    (safety,) = flipped(write(tmp_path, letter, "RFA", 6), embedder)
    assert safety.verdict == "unsafe"
    assert safety.unsafe_classes == ("F", "R")
    assert safety.lost <= 3  # the answers alone would call it safe


def test_textures_may_be_flipped_and_turned(tmp_path, embedder):
    dataset = write(tmp_path, texture, ("checkers", "dots", "noise"), 7)
    safeties = flipped(dataset, embedder, ("flip", "quarter turn"))
    assert [s.verdict for s in safeties] == ["safe", "safe"]
    assert transformation_findings(safeties) == []
    assert "flip is safe" in safeties[0].sentence()


def test_a_fit_that_cuts_the_difference_away_is_not_kept(tmp_path, embedder):
    dataset = write(tmp_path, panorama, ("round", "square"), 8)
    features = embed(dataset.root, dataset.paths, embedder).values
    choice = choose_fit(dataset, embedder, features)
    assert choice.current == "crop"
    assert choice.best != "crop"
    assert choice.errors["crop"] > choice.errors[choice.best] + 10
    (finding,) = fit_findings(choice)
    assert f"--fit {choice.best}" in finding.suggestion


def test_the_same_fit_is_kept_where_none_is_surely_better():
    right = np.arange(100) < 80
    choice = fit_choice({"crop": right, "pad": np.arange(100) < 83, "squish": right}, "crop")
    assert not choice.changes
    assert "keep --fit crop" in choice.sentence()
    assert fit_findings(choice) == []


def answers(targets, taken_for, told=0.5, farther=0.5):
    """Certain answers: plainly right, changed `taken_for`."""
    classes = int(targets.max()) + 1
    rank = np.arange(len(targets)) % 20 / 20
    return Changed(
        np.eye(classes)[targets], np.eye(classes)[taken_for], rank < told, rank < farther
    )


def test_a_sample_too_small_is_unclear_and_one_that_says_nothing_bad_is_safe():
    for n, verdict in ((40, "unclear"), (200, "safe")):
        targets = np.arange(n) % 2
        assert judge("flip", answers(targets, targets), targets, "ab").verdict == verdict


def test_one_class_that_changes_is_enough():
    targets = np.arange(200) % 10
    taken = np.where(targets == 3, 4, targets)
    safety = judge("flip", answers(targets, taken), targets, "0123456789")
    assert safety.verdict == "unsafe"
    assert safety.unsafe_classes == ("3",)
    assert safety.per_class[3].became == "4"


def test_pairs_told_apart_matter_where_pixels_only_change_places():
    targets = np.arange(200) % 2
    pairs = answers(targets, targets, told=0.95, farther=0.7)
    assert judge("flip", pairs, targets, "ab").unsafe_classes == ("a", "b")
    assert judge("tilt", pairs, targets, "ab").verdict == "safe"
    near = answers(targets, targets, told=0.95, farther=0.5)
    assert judge("flip", near, targets, "ab").verdict == "safe"


@pytest.mark.parametrize(("n", "verdict"), [(4, "unclear"), (8, "unclear"), (40, "unsafe")])
def test_a_handful_of_pairs_told_apart_says_nothing(n, verdict):
    targets = np.arange(n) % 2
    pairs = answers(targets, targets, told=1.0, farther=1.0)
    assert judge("flip", pairs, targets, "ab").verdict == verdict


def test_features_that_no_change_touches_are_safe_however_noisy():
    """The same distribution, another draw: at most 1 of 20 may be called unsafe."""
    unsafe = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        targets = np.arange(120) % 3
        shown = 0.3 * rng.normal(size=(3, 40))[targets] + rng.normal(size=(120, 40))
        noise = rng.normal(size=(2, 120, 40))
        plain, changed = (shown + 0.5 * own for own in noise)
        pairs = changed_answers(
            plain.astype(np.float32), changed.astype(np.float32), targets, 3, np.arange(120)
        )
        assert 0.2 < pairs.told.mean() < 0.8
        unsafe += judge("flip", pairs, targets, "abc").verdict == "unsafe"
    assert unsafe <= 1


@given(st.integers(1, 300), st.data())
def test_the_paired_interval_holds_the_estimate_and_turns_with_it(n, data):
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    low, high = paired_interval(lost, gained, n)
    assert -1 <= low <= (lost - gained) / n <= high <= 1
    assert low < high
    assert (-high, -low) == pytest.approx(paired_interval(gained, lost, n))


def test_the_sample_takes_each_group_once_and_no_more_than_it_may():
    targets, groups = np.arange(900) % 3, np.arange(900) // 10
    rows = sample_rows(targets, groups)
    assert len(np.unique(groups[rows])) == len(rows) == 90
    assert len(sample_rows(np.arange(4000) % 400, np.arange(4000))) <= 300
    assert (
        sample_rows(targets, np.arange(900), seed=1) != sample_rows(targets, np.arange(900))
    ).any()


@pytest.mark.parametrize("change", CHANGES)
def test_views_differ_from_the_picture_and_are_repeated(change):
    spec = PreprocessSpec(size=64)
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (90, 70, 3), dtype=np.uint8))
    view = ChangedView(change)
    first, second = (view.pixels(image, spec, "ab") for _ in range(2))
    assert first.shape == (1, 3, 64, 64)
    assert (first == second).all()
    assert (first != spec.apply(image)).any()
    assert len({ChangedView(other).key for other in CHANGES}) == len(CHANGES)


def test_a_change_that_is_unknown_is_refused():
    with pytest.raises(UsageError, match="choose from flip"):
        ChangedView("mirror")


def test_a_tilt_leaves_the_middle_and_brings_in_no_black():
    spec = PreprocessSpec(size=64, fit="squish")
    white = ChangedView("tilt").pixels(Image.new("RGB", (300, 200), "white"), spec, "cd")
    assert white.min() == pytest.approx(1.0)
