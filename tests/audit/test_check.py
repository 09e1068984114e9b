"""The verb check on pictures with faults that are known."""

import csv
import html
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import tellapart
from tellapart.audit.audit import HEADER
from tellapart.errors import DatasetError, UsageError

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


def test_one_class_is_no_question(tmp_path):
    (tmp_path / "in" / "a").mkdir(parents=True)
    Image.new("RGB", (30, 30), "red").save(tmp_path / "in" / "a" / "1.png")
    with pytest.raises(DatasetError, match="two classes"):
        tellapart.check(tmp_path / "in")


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
