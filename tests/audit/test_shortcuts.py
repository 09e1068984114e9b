"""Shortcuts: clues that are no content, marks in one place, and data that has neither."""

import csv
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tellapart import draw_gallery
from tellapart.audit.finding import Finding
from tellapart.audit.marks import find_marks
from tellapart.audit.shortcut_clues import clue_scores, rows_that_count, score_guesses
from tellapart.audit.shortcuts import draw_where, shortcut
from tellapart.audit.subject import Subject
from tellapart.data.copies.copies import Copies
from tellapart.data.dataset import Dataset
from tellapart.data.images import read_picture
from tellapart.data.picture_facts import FACT, LEAST_SIDE, SIDE, picture_facts
from tellapart.errors import ImageError, UsageError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "art_style"
CORNERS = ["top left", "top right", "bottom left", "bottom right"]


def subject_of(dataset, facts, groups=None):
    """As `check` makes it, without features: shortcuts do not look at them."""
    n = len(dataset)
    groups = np.arange(n) if groups is None else groups
    none = np.zeros(0, np.intp)
    copies = Copies(none, none, none.astype(object), np.zeros(0, np.float32), groups)
    return Subject(dataset.with_copies(groups), np.zeros((n, 0), np.float32), 0, facts, copies)


def noise(n=120, classes=2, seed=0):
    """Facts that say nothing about the class, and a dataset of as many pictures."""
    rng = np.random.default_rng(seed)
    facts = np.zeros(n, FACT)
    facts["width"], facts["height"] = rng.integers(200, 800, (2, n))
    facts["bytes"] = rng.integers(20_000, 90_000, n)
    facts["format"] = rng.choice([b"JPEG", b"PNG"], n)
    facts["orientation"], facts["exif"] = 1, rng.random(n) < 0.5
    facts["thumbnail"] = rng.integers(0, 256, (n, SIDE, SIDE, 3))
    rows = [(f"{i:05}.jpg", f"class {i % classes}") for i in range(n)]
    return Dataset.from_rows(".", rows), facts


def facts_of(root, paths, change=lambda row, picture: picture):
    """The facts of files, and the rows that could be read."""
    rows, facts = [], []
    for row, path in enumerate(paths):
        content = (root / path).read_bytes()
        try:
            picture = read_picture(BytesIO(content), shorter_side=LEAST_SIDE)
        except ImageError:
            continue
        rows.append(row)
        facts.append(picture_facts(content, change(row, picture)))
    return np.asarray(rows), np.asarray(facts)


def clue(subject, name):
    return next(own for own in clue_scores(subject) if own.name == name)


def test_noise_raises_nothing_and_its_intervals_hold_chance():
    subject = subject_of(*noise())
    assert shortcut(subject) == []
    clues = clue_scores(subject)
    assert {own.name for own in clues} >= {"size", "aspect ratio", "file type", "EXIF data"}
    for own in clues:
        assert own.interval[0] - 0.1 <= own.chance <= own.interval[1] + 0.1, own.sentence()


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("file type", lambda f, own: f["format"].__setitem__(own, b"GIF")),
        ("EXIF data", lambda f, own: f["exif"].__setitem__(slice(None), own)),
        (
            "size",
            lambda f, own: (f["width"].__setitem__(own, 640), f["height"].__setitem__(own, 640)),
        ),
        ("aspect ratio", lambda f, own: f["width"].__setitem__(own, 3 * f["height"][own])),
    ],
)
def test_a_planted_clue_is_found_with_its_class(name, plant):
    dataset, facts = noise(n=200, classes=4)
    plant(facts, dataset.targets == 2)
    found = {f.details["clue"]: f for f in shortcut(subject_of(dataset, facts))}
    assert name in found, found
    finding = found[name]
    assert "'class 2'" in finding.evidence
    assert finding.details["lean"]["class 2"] > 0.7
    assert finding.details["accuracy"] > finding.details["chance"] + 0.15
    assert finding.score < 0.3


def test_a_source_host_is_a_shortcut_and_hosts_seen_once_are_none():
    dataset, facts = noise(n=100)
    urls = [f"https://www.host{i % 2}.org/{i}.jpg" for i in range(100)]
    own = Dataset(dataset.root, dataset.table.assign(source_url=urls), dataset.classes)
    assert clue(subject_of(own, facts), "source host").accuracy == 1.0
    once = [f"https://host{i}.org/x.jpg" for i in range(99)] + ["http://[broken"]
    own = Dataset(dataset.root, dataset.table.assign(source_url=once), dataset.classes)
    assert not clue(subject_of(own, facts), "source host").is_shortcut


def test_colour_and_bytes_are_measured_and_are_no_shortcut():
    dataset, facts = noise()
    facts["thumbnail"][dataset.targets == 0] //= 2
    facts["bytes"][dataset.targets == 0] //= 50
    subject = subject_of(dataset, facts)
    for name in ("mean colour", "border", "corners", "bytes per pixel"):
        own = clue(subject, name)
        assert own.accuracy > 0.9
        assert own.content
        assert not own.is_shortcut
    assert shortcut(subject) == []


def test_copies_count_once():
    dataset, facts = noise(n=200)
    facts["width"] = facts["height"] = 300
    facts["width"][(dataset.targets == 0) & (np.arange(200) < 100)] = 900
    groups = np.arange(200)
    wide = facts["width"] == 900
    assert shortcut(subject_of(dataset, facts))
    groups[wide] = groups[wide][0]  # fifty copies of one wide picture
    assert shortcut(subject_of(dataset, facts, groups)) == []
    assert len(rows_that_count(subject_of(dataset, facts, groups))) == 200 - wide.sum() + 1


def test_too_few_pictures_give_no_clue():
    dataset, facts = noise(n=18)
    assert clue_scores(subject_of(dataset, facts)) == ()
    assert shortcut(subject_of(dataset, facts)) == []


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_the_permutation_test_is_that_of_many_permutations(classes, seed):
    rng = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(classes).repeat(3), rng.integers(0, classes, 40)])
    guesses = rng.integers(0, classes, len(targets))
    own = score_guesses("any", guesses, targets, [str(i) for i in range(classes)])
    shuffled = np.stack([rng.permutation(targets) for _ in range(400)])
    recalls = [
        ((guesses == k) & (shuffled == k)).sum(1) / (targets == k).sum() for k in range(classes)
    ]
    means = np.mean(recalls, axis=0)
    z = (own.accuracy - means.mean()) / max(means.std(), 1e-9)
    if own.p < 0.9 and means.std() > 0:
        assert abs((means >= own.accuracy - 1e-9).mean() - own.p) < 0.15, z


def stamped(picture, corner):
    """A barred square in a corner, a seventh of the shorter side wide."""
    image = picture.pixels.copy()
    size = min(image.size) // 7
    gap = size // 4
    x = gap if "left" in corner else image.width - size - gap
    y = gap if "top" in corner else image.height - size - gap
    pen = ImageDraw.Draw(image)
    pen.rectangle((x, y, x + size, y + size), outline="white", width=max(2, size // 8))
    pen.line((x, y + size, x + size, y), fill="black", width=max(2, size // 8))
    return picture._replace(pixels=image)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_gallerys_watermark_is_found_where_it_sits(tmp_path, seed):
    draw_gallery(tmp_path / "g", per_class=40, seed=seed, faults=True)
    with (tmp_path / "g" / "faults.csv").open() as file:
        marks = [row for row in csv.DictReader(file) if row["fault"] == "shortcut"]
    label, corner = marks[0]["path"].split("/")[-2], marks[0]["detail"]
    dataset = Dataset.from_folder(tmp_path / "g")
    rows, facts = facts_of(dataset.root, dataset.paths)
    kept = [(dataset.paths[row], dataset.labels[row]) for row in rows]
    subject = subject_of(Dataset.from_rows(dataset.root, kept), facts)
    found = [f for f in shortcut(subject) if f.details["kind"] == "mark"]
    assert [(f.details["class"], f.details["place"]) for f in found] == [(label, corner)]
    assert corner in found[0].evidence
    left, top, right, bottom = found[0].details["box"]
    assert (right < 0.4) == ("left" in corner)
    assert (bottom < 0.4) == ("top" in corner)
    assert 0.05 < right - left < 0.3
    assert 0.05 < bottom - top < 0.3
    assert found[0].details["share"] >= 0.5


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data/art_style")
@pytest.mark.parametrize("trial", [0, 3])
def test_a_mark_on_real_pictures_is_found_and_there_is_none_without(trial):
    dataset = Dataset.from_folder(SHARED)
    rng = np.random.default_rng(trial)
    rows = [rng.permutation(np.flatnonzero(dataset.targets == k))[:50] for k in range(4)]
    marked = {dataset.paths[row] for row in rows[trial][:40]}
    every = np.sort(np.concatenate(rows))
    paths = [dataset.paths[row] for row in every]
    part = Dataset.from_rows(
        dataset.root, [(p, dataset.labels[r]) for p, r in zip(paths, every, strict=True)]
    )
    corner = CORNERS[trial]

    def change(row, picture):
        return stamped(picture, corner) if paths[row] in marked else picture

    def found(facts):
        marks = [
            f.details for f in shortcut(subject_of(part, facts)) if f.details["kind"] == "mark"
        ]
        return [(d["class"], d["place"]) for d in marks]

    assert found(facts_of(part.root, paths, change)[1]) == [(dataset.classes[trial], corner)]
    assert found(facts_of(part.root, paths)[1]) == []


def test_a_frame_is_called_the_border():
    dataset, facts = noise(n=100)
    facts["thumbnail"] //= 2
    own = dataset.targets == 1
    for edge in (slice(2, 4), slice(-4, -2)):
        facts["thumbnail"][own, edge, 2:-2] = 255
        facts["thumbnail"][own, 2:-2, edge] = 255
    sizes = np.full((100, 2), 300)
    marks = find_marks(
        facts["thumbnail"], sizes, dataset.targets, np.arange(100) % 5, dataset.classes
    )
    assert [(mark.label, mark.place, mark.box) for mark in marks] == [
        ("class 1", "border", (0.0, 0.0, 1.0, 1.0))
    ]


def test_what_a_class_shows_in_the_middle_is_no_mark():
    """A class of crosses over the whole picture matches everywhere: that is what it is about."""
    dataset, facts = noise(n=100)
    facts["thumbnail"] //= 2
    own = dataset.targets == 1
    for place in range(0, SIDE, 6):
        facts["thumbnail"][own, place : place + 2] = 255
    sizes = np.full((100, 2), 300)
    folds = np.arange(100) % 5
    assert find_marks(facts["thumbnail"], sizes, dataset.targets, folds, dataset.classes) == ()


@pytest.mark.parametrize("name", ["a", "$\\frac$ <b>", "\udcff"])
def test_where_is_drawn_for_marks_alone(name):
    dataset, facts = noise(n=100)
    labels = [name if label == "class 0" else label for label in dataset.labels]
    dataset = Dataset.from_rows(".", list(zip(dataset.paths, labels, strict=True)))
    own = dataset.targets == dataset.classes.index(name)
    facts["thumbnail"] //= 2
    facts["thumbnail"][own, 40:45, 3:8] = 255
    subject = subject_of(dataset, facts)
    finding = next(f for f in shortcut(subject) if f.details["kind"] == "mark")
    assert finding.details["place"] == "bottom left"
    assert np.asarray(finding.details["map"]).shape == (SIDE, SIDE)
    out = BytesIO()
    draw_where(subject, finding).savefig(out, format="png")
    assert Image.open(out).size[0] > 400
    with pytest.raises(UsageError, match="no place"):
        draw_where(subject, Finding("shortcut", (), 0.1, "", "", {"kind": "clue"}))
