"""The verb check on pictures with faults that are known."""

import csv
import html
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

import tellapart
from tellapart.audit.audit import HEADER
from tellapart.data.dataset import Dataset
from tellapart.errors import UsageError

PER_CLASS = 24


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A gallery with planted faults and a split, and the rows that say which."""
    root = tmp_path_factory.mktemp("check") / "gallery"
    tellapart.draw_gallery(root, per_class=PER_CLASS, valid=0.25, seed=11, faults=True)
    with (root / "faults.csv").open(encoding="utf-8", newline="") as file:
        return root, list(csv.DictReader(file))


@pytest.fixture(scope="module")
def audit(gallery):
    return tellapart.check(gallery[0], workers=1)


def found(audit, *checks):
    return {f.paths[0] for check in checks for f in audit.of(check)}


def planted(gallery, fault):
    return {row["path"] for row in gallery[1] if row["fault"] == fault}


@pytest.mark.parametrize("fault", ["unreadable", "blank", "tiny", "dark", "exif_rotated"])
def test_odd_pictures_are_found(gallery, audit, fault):
    assert planted(gallery, fault) <= found(audit, fault)


def test_every_leak_is_named_with_the_picture_it_copies(gallery, audit):
    pairs = {frozenset(f.paths[:2]) for f in audit.of("leak")}
    for row in gallery[1]:
        if row["fault"] == "leak":
            assert frozenset((row["path"], row["other_path"])) in pairs, row


def test_the_score_is_given_with_leaks_and_without(gallery, audit):
    outside = np.isin(audit.dataset.table["split"], ("valid", "test"))
    leaked = {row["path"] for row in gallery[1] if row["fault"] == "leak"}
    assert audit.leaks.all.n == outside.sum()
    assert audit.leaks.leaked.n >= len(leaked)
    assert audit.leaks.honest.n == audit.leaks.all.n - audit.leaks.leaked.n
    assert any("have a copy in training" in sentence for sentence in audit.summary())


def test_the_table_has_a_row_for_each_finding(audit, tmp_path):
    audit.save(tmp_path / "out")
    with (tmp_path / "out" / "findings.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == HEADER
    assert len(rows) == len(audit.findings)
    assert all(0 <= float(row[3]) <= 1 for row in rows)
    for name in audit.checks:
        scores = [f.score for f in audit.of(name)]
        assert scores == sorted(scores)


class Page(HTMLParser):
    """What a reader of the page would meet."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.outside = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href") and not value.startswith(("data:", "#")):
                self.outside.append(value)
            if name.startswith("on"):
                self.outside.append(name)


def test_the_page_needs_nothing_else(audit):
    page = Page(audit.to_html())
    assert "script" not in page.tags
    assert page.tags.count("img") > 5
    assert page.outside == []
    for name in audit.checks:
        if audit.of(name):
            assert f'id="{name}"' in audit.to_html()


def test_hostile_names_are_shown_as_text(gallery, tmp_path):
    hostile = "<img src=x onerror=alert(1)>.jpg"
    label = "<b>art&"
    for i in range(8):
        for name in (label, "plain"):
            (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([i, len(name)]).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "in" / name / f"{i}.png")
    shutil.copy(tmp_path / "in" / label / "0.png", tmp_path / "in" / label / hostile)
    audit = tellapart.open_dataset(tmp_path / "in").check(workers=1)
    assert audit.of("exact_duplicate")
    text = audit.to_html()
    assert html.escape(hostile) in text
    page = Page(text)
    assert page.outside == []
    assert page.tags.count("b") == 0


def test_originals_stay_as_they_are(gallery, audit):
    before = {p: p.read_bytes() for p in gallery[0].rglob("*") if p.is_file()}
    tellapart.check(gallery[0], workers=1)
    assert {p: p.read_bytes() for p in gallery[0].rglob("*") if p.is_file()} == before


def test_only_some_checks(gallery):
    audit = tellapart.check(gallery[0], only=["leak", "dark"], workers=1)
    assert audit.checks == ("dark", "leak")
    assert {f.check for f in audit.findings} == {"dark", "leak"}
    with pytest.raises(UsageError, match="choose from"):
        tellapart.check(gallery[0], only=["nonsense"])


def colours(root, **counts):
    """Folders of noisy pictures, red ones for the first class, green and blue ones for the next."""
    rng = np.random.default_rng(0)
    for channel, (label, count) in enumerate(counts.items()):
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.integers(0, 120, (10, 12, 3), np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).resize((96, 80)).save(root / label / f"{number}.png")
    return root


def test_without_two_classes_what_needs_none_is_looked_for(tmp_path):
    root = colours(tmp_path / "in", a=3, b=0)
    (root / "b" / "broken.jpg").write_bytes(b"<html>")
    shutil.copy(root / "a" / "0.png", root / "a" / "again.png")
    audit = tellapart.check(root, workers=1)
    assert [f.paths[0] for f in audit.of("unreadable")] == ["b/broken.jpg"]
    assert len(audit.of("exact_duplicate")) == 1
    assert "label_error" not in audit.counts()
    assert (audit.metrics, audit.curve) == (None, None)
    assert "a classifier needs two classes" in audit.summary()[0]
    assert "a classifier needs two classes" in audit.to_html()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_pictures_is_no_trouble(tmp_path, count):
    audit = tellapart.check(colours(tmp_path, a=count, b=count), workers=1)
    assert len(audit.of("tiny_class")) == 2
    assert audit.curve is None or audit.curve.points[0].pictures >= 1
    audit.save(tmp_path / "out")


def test_a_class_of_one_picture_and_its_copies_has_no_wrong_labels(tmp_path):
    root = colours(tmp_path, a=20, b=20, c=1)
    for number in range(1, 7):
        shutil.copy(root / "c" / "0.png", root / "c" / f"{number}.png")
    audit = tellapart.check(root, workers=1)
    assert not {f.paths[0] for f in audit.of("label_error")} & {f"c/{n}.png" for n in range(7)}
    (tiny,) = (f for f in audit.of("tiny_class") if f.details["class"] == "c")
    assert "'c' has 1 different pictures" in tiny.evidence
    assert "finds 0 of 1" in tiny.evidence


def test_lookalikes_on_plain_ground_are_no_copies(tmp_path):
    """Discs and boxes of any place, size and colour agree when they are laid over each other."""
    rng = np.random.default_rng(3)
    for label in ("box", "disc"):
        (tmp_path / label).mkdir()
        for number in range(50):
            image = Image.new("RGB", (96, 96), "white")
            x, y, side = rng.integers(5, 40), rng.integers(5, 40), rng.integers(30, 50)
            draw = ImageDraw.Draw(image)
            shape = draw.rectangle if label == "box" else draw.ellipse
            shape((x, y, x + side, y + side), fill=tuple(rng.integers(0, 200, 3).tolist()))
            image.save(tmp_path / label / f"{number}.png")
    audit = tellapart.check(tmp_path, workers=1)
    assert len(audit.of("near_duplicate")) <= 10
    assert audit.metrics.errors <= 3


def test_the_second_time_no_pictures_are_compared(tmp_path, monkeypatch):
    root = colours(tmp_path, a=8, b=8)
    shutil.copy(root / "a" / "0.png", root / "a" / "again.png")
    first = tellapart.check(root, only=["exact_duplicate"], workers=1)
    monkeypatch.setattr(
        "tellapart.training.usable.find_copies", lambda *a, **k: pytest.fail("again")
    )
    second = tellapart.check(root, only=["exact_duplicate"], workers=1)
    assert [f.paths for f in first.findings] == [f.paths for f in second.findings] != []


def test_other_changes_are_asked_about_where_they_are_named(tmp_path):
    root = colours(tmp_path, a=8, b=8)
    audit = tellapart.check(root, changes=("quarter turn", "zoom"), workers=1)
    assert [change.name for change in audit.changes] == ["quarter turn", "zoom"]
    with pytest.raises(UsageError, match="upside down"):
        tellapart.check(root, changes=("upside down",), workers=1)


def test_a_run_on_other_pictures_is_refused(gallery, tmp_path):
    other = colours(tmp_path / "other", a=8, b=8)
    run = tellapart.train(other, tmp_path / "run", workers=1)
    with pytest.raises(UsageError, match="none of these pictures"):
        tellapart.check(gallery[0], run=run, workers=1)
    shutil.copy(other / "a" / "0.png", other / "b" / "new.png")
    assert "16 of 17 pictures are known" in tellapart.check(other, run=run, workers=1).summary()[1]


def test_held_out_labels_have_no_part_in_what_is_answered_for_them(gallery):
    from tellapart.audit.leaks import _answers

    def answers(change):
        dataset = Dataset.from_folder(gallery[0])
        rng, n = np.random.default_rng(0), len(dataset)
        targets = dataset.targets.copy()
        outside = np.flatnonzero(dataset.table["split"].to_numpy() != "train")
        components = rng.normal(size=(n, 12)).astype(np.float32)
        components[:, :5] += 1.5 * np.eye(5, dtype=np.float32)[targets]
        targets[outside] = change(targets[outside])
        subject = SimpleNamespace(
            splits=dataset.table["split"].to_numpy(object), components=components, targets=targets,
            classes=dataset.classes, folds=np.arange(n) % 5, workers=1,
        )  # fmt: skip
        return _answers(subject, outside)

    np.testing.assert_array_equal(answers(lambda t: t), answers(lambda t: (t + 1) % 5))


def test_with_a_run_its_network_and_its_split_are_used(gallery, tmp_path):
    flat = tmp_path / "flat"
    for path in (gallery[0] / "train").rglob("*"):
        if path.is_file():
            (flat / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, flat / path.parent.name / path.name)
    run = tellapart.train(flat, tmp_path / "run", workers=1)
    audit = tellapart.check(flat, run=run.folder, workers=1)
    splits = {row[0]: row[1] for row in run.predictions()}
    assert dict(zip(audit.dataset.paths, audit.dataset.table["split"], strict=True)) == splits
    assert not audit.of("leak")  # copies are together in what is split here
