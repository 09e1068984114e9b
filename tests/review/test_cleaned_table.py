"""cleaned.csv: what was decided, written so that it reads back as it was meant, and nothing else harmed."""

import csv
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from few_photos import WRONG, draw_photos
from hypothesis import example, given
from hypothesis import strategies as st

import tellapart
from tellapart.data.dataset import Dataset
from tellapart.data.hashing import sha256_of_files
from tellapart.errors import DatasetError, UsageError
from tellapart.review.cleaned import (
    HEADER,
    apply_decisions,
    cleaned_rows,
    standing_labels,
    write_cleaned,
)
from tellapart.review.decisions import Decision
from tellapart.review.journal import Journal
from tellapart.review.labels_now import LabelsNow


@pytest.fixture
def own(tmp_path):
    """A folder of pictures to be worked on."""
    return draw_photos(tmp_path / "photos")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "review.sqlite"


def decide(data, file, *decisions, who="ann"):
    """Each decision is a path, an action and perhaps a label; about the contents as they are now."""
    dataset = data if isinstance(data, Dataset) else tellapart.open_dataset(data)
    hashes = sha256_of_files(dataset.root, [path for path, *_ in decisions])
    with Journal(file, root=dataset.root, classes=dataset.classes) as journal:
        journal.append(
            f"batch-{len(journal.since(0)):04d}", who,
            [
                Decision(path, sha256, action, label[0] if label else None)
                for (path, action, *label), sha256 in zip(decisions, hashes, strict=True)
            ],
        )  # fmt: skip


def table(file):
    with Path(file).open(encoding="utf-8", newline="") as opened:
        header, *rows = csv.reader(opened)
    assert tuple(header) == HEADER
    return {row[0]: row[1:] for row in rows}


SOME = (
    (WRONG[0], "relabel", "red"),
    (WRONG[2], "relabel", "blue"),
    ("blue/copy.png", "remove"),
    ("red/3.png", "keep"),
    ("red/4.png", "unsure"),
)


def test_it_holds_what_was_decided_and_reads_back(own, file):
    decide(own, file, *SOME)
    cleaned = apply_decisions(own, journal=file)
    assert cleaned.file == own / "cleaned.csv"
    assert (cleaned.rows, cleaned.failures) == (40, ())
    assert cleaned.counts == {"keep": 1, "relabel": 2, "remove": 1, "unsure": 1}
    assert "40 pictures in" in cleaned.sentence()
    assert "2 relabelled, 1 removed, 1 unsure" in cleaned.sentence()
    rows = table(cleaned.file)
    assert list(rows) == sorted(rows)
    assert "blue/copy.png" not in rows
    assert rows[WRONG[0]] == ["red", "", "", "blue", "relabel"]
    assert rows["red/3.png"] == ["red", "", "", "red", "keep"]
    assert rows["red/4.png"] == ["red", "", "", "red", "unsure"]
    assert rows["red/5.png"] == ["red", "", "", "red", ""]
    back = Dataset.from_csv(cleaned.file)
    before = dict(zip(*(lambda d: (d.paths, d.labels))(Dataset.from_folder(own)), strict=True))
    expected = {path: label for path, label in before.items() if path != "blue/copy.png"}
    expected |= {WRONG[0]: "red", WRONG[2]: "blue"}
    assert dict(zip(back.paths, back.labels, strict=True)) == expected
    assert back.failures == ()


def test_the_journal_gives_the_same_bytes_again_wherever_it_lies(own, file, tmp_path):
    decide(own, file, *SOME)
    decide(own, file, ("red/9.png", "remove"), who="bob")
    apply_decisions(own, journal=file)
    first = (own / "cleaned.csv").read_bytes()
    apply_decisions(own, journal=file)
    assert (own / "cleaned.csv").read_bytes() == first
    shutil.copy(file, tmp_path / "copied.sqlite")
    (own / "cleaned.csv").unlink()
    os.utime(own / "red" / "1.png")
    apply_decisions(own, journal=tmp_path / "copied.sqlite")
    assert (own / "cleaned.csv").read_bytes() == first


def test_it_reads_back_from_another_folder_and_through_links(own, file, tmp_path):
    decide(own, file, *SOME)
    far = tmp_path / "far" / "away"
    far.mkdir(parents=True)
    (tmp_path / "link").symlink_to(far, target_is_directory=True)
    places = (tmp_path / "b" / "new.csv", tmp_path / "link" / "t.csv", own / "red" / "t.csv")
    for out in places:
        apply_decisions(own, out, journal=file)
        back = Dataset.from_csv(out)
        found = sha256_of_files(back.root, back.paths)
        assert all(isinstance(answer, str) for answer in found)
        assert len(back) == 40
    linked = tmp_path / "photos-link"
    linked.symlink_to(own, target_is_directory=True)
    assert apply_decisions(linked, journal=file).rows == 40
    assert table(linked / "cleaned.csv").keys() == table(own / "cleaned.csv").keys()


def test_undone_decisions_do_not_count(own, file):
    decide(own, file, *SOME)
    with Journal(file, root=own, classes=("blue", "red")) as journal:
        journal.undo("undo-0001", "ann")
    cleaned = apply_decisions(own, journal=file)
    assert (cleaned.rows, sum(cleaned.counts.values())) == (41, 0)


def test_what_changed_on_disk_or_is_gone_is_counted_and_not_applied(own, file):
    decide(own, file, *SOME, ("red/7.png", "remove"), ("red/8.png", "relabel", "blue"))
    shutil.copy(own / "red" / "5.png", own / WRONG[0])
    (own / "red" / "3.png").write_bytes(b"")
    (own / "red" / "7.png").unlink()
    (own / "red" / "8.png").unlink()
    cleaned = apply_decisions(own, journal=file)
    reasons = {failure.path: failure.reason for failure in cleaned.failures}
    assert reasons == {WRONG[0]: "changed", "red/3.png": "changed", "red/8.png": "gone"}
    assert cleaned.reasons() == {"changed": 2, "gone": 1}
    assert table(cleaned.file)[WRONG[0]] == ["blue", "", "", "blue", ""]
    assert "decided was: relabel" in str(cleaned.failures[0])
    assert cleaned.to_json()["failures"][0]["reason"] == "changed"


def test_originals_stay_as_they_are(own, file):
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    decide(own, file, *SOME)
    apply_decisions(own, journal=file)
    after = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    del after[own / "cleaned.csv"]
    assert after == before


def test_splits_and_groups_are_those_of_the_data(own, file, tmp_path):
    given_table = own / "given.csv"
    rows = sorted(path.relative_to(own).as_posix() for path in own.glob("*/*.png"))
    lines = [
        f"{path},{path.split('/')[0]},{'valid' if i % 4 == 0 else 'train'},{'g' if i < 2 else ''}\n"
        for i, path in enumerate(rows)
    ]
    given_table.write_text("name,label,split,group\n" + "".join(lines))
    decide(given_table, file, *SOME)
    apply_decisions(given_table, journal=file)
    for line in lines:
        name, label, split, group = line.rstrip("\n").split(",")
        if name != "blue/copy.png":
            found = table(own / "cleaned.csv")[name]
            assert found[1:4] == [split, group, label]
    assert given_table.read_text() == "name,label,split,group\n" + "".join(lines)


def test_of_a_run_the_split_is_kept_and_near_copies_are_no_groups(own, tmp_path):
    run = tellapart.train(own, tmp_path / "run", workers=1)
    stored = (run.folder / "dataset.csv").read_text()
    assert "blue/copy.png,blue,train,blue/copy.png" in stored  # a group of copies, named by the run
    journal = run.folder / "review.sqlite"
    decide(Dataset.from_rows(own, [(row[0], row[2]) for row in run.predictions()]), journal, *SOME)
    apply_decisions(run.folder)
    rows = table(own / "cleaned.csv")
    assert {row[2] for row in rows.values()} == {""}
    splits = {row[0]: row[1] for row in run.predictions()}
    assert {path: row[1] for path, row in rows.items()} == {p: splits[p] for p in rows}
    again = tellapart.train(own / "cleaned.csv", tmp_path / "again", workers=1)
    assert again.metrics["valid"].n == run.metrics["valid"].n


HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    'comma, quote " and\nline.png',
    "=1+1.png",
    "🎉é.png",
    "'; DROP TABLE.png",
    "-x.png",
    "e\u0301.png",
)
LOST = (" before.png", "after.png ", "carriage\rreturn.png", "byte\udcff.png", "next\x85")


def test_hostile_names_read_back_and_those_that_cannot_are_counted(own, file):
    content = (own / "red" / "1.png").read_bytes()
    for name in (*HOSTILE, *LOST):
        (own / "red" / name).write_bytes(content)
    lost = [f"red/{name}" for name in LOST]
    decide(own, file, *[(f"red/{name}", "relabel", "blue") for name in (*HOSTILE, *LOST[:1])])
    dataset = Dataset.from_folder(own)
    cleaned = apply_decisions(own, journal=file)
    back = Dataset.from_csv(cleaned.file)
    labels = dict(zip(back.paths, back.labels, strict=True))
    assert {labels[f"red/{name}"] for name in HOSTILE} == {"blue"}
    # A blank within a path, behind the folder, is none at its beginning.
    assert labels["red/ before.png"] == "blue"
    assert {f.path for f in cleaned.failures} == set(lost[1:])
    assert {f.reason for f in cleaned.failures} == {"name"}
    assert len(back) == len(dataset) - 4
    assert back.failures == ()


def test_labels_that_cannot_be_written_are_counted(tmp_path, file):
    root = draw_photos(tmp_path / "photos")
    (root / "red").rename(root / "red\udcff")
    shutil.copytree(root / "blue", root / "blue ")
    dataset = Dataset.from_folder(root)
    decide(root, file, ("red\udcff/1.png", "relabel", "blue"), ("blue /2.png", "relabel", "blue"))
    cleaned = apply_decisions(root, journal=file)
    assert len(cleaned.failures) == len(dataset) - cleaned.rows > 0
    assert set(Dataset.from_csv(cleaned.file).labels) == {"blue"}


TEXT = st.text(
    st.sampled_from("ab /,;\"'\n\r\t\0\x1f\x85\u3000\ufeffé\u0301\udcff=<🎉"), max_size=6
)


@given(
    st.lists(
        st.tuples(TEXT.filter(bool), TEXT.filter(bool), TEXT), min_size=1, max_size=6,
        unique_by=lambda row: row[0],
    )
)  # fmt: skip
@example([("a", "b", "")])
def test_every_row_reads_back_or_is_counted(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("back")
    rows = [(path, unicodedata.normalize("NFC", label), "", group) for path, label, group in rows]
    dataset = Dataset.from_rows(folder, rows)
    now = LabelsNow(dataset.paths, [""] * len(dataset), dataset.targets, dataset.classes)
    written, failures = cleaned_rows(dataset, now, folder)
    assert len(written) + len(failures) == len(dataset)
    write_cleaned(folder / "t.csv", written)
    if not written:
        return
    back = Dataset.from_csv(folder / "t.csv")
    assert back.failures == ()
    lost = {failure.path for failure in failures}
    columns = ["path", "label", "group"]
    meant = dataset.table[~dataset.table["path"].isin(lost)][columns].to_numpy().tolist()
    assert back.table[columns].to_numpy().tolist() == meant


@pytest.mark.parametrize("what", ["data", "hard link", "other", "folder", "picture", "pipe"])
def test_nothing_else_is_ever_written_over(own, file, tmp_path, what):
    data, out = own, tmp_path / "out.csv"
    if what in ("data", "hard link"):
        data = own / "cleaned.csv"
        write_cleaned(
            data, [("red/1.png", "red", "", "", "red", ""), ("blue/1.png", "blue", "", "", "", "")]
        )
        decide(data, file, ("red/1.png", "keep"))
        out = None
        if what == "hard link":
            out = own / "same.csv"
            os.link(data, out)
    else:
        decide(own, file, ("red/1.png", "keep"))
    if what == "other":
        out.write_text("name,label,split,group,given\n")
    if what == "folder":
        out.mkdir()
    if what == "picture":
        out = own / "red" / "1.png"
    if what == "pipe":
        os.mkfifo(out)
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="--out"):
        apply_decisions(data, out, journal=file)
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


def test_an_earlier_table_of_ours_is_replaced(own, file):
    decide(own, file, ("red/1.png", "remove"))
    assert apply_decisions(own, journal=file).rows == 40
    decide(own, file, ("red/2.png", "remove"))
    assert apply_decisions(own, journal=file).rows == 39
    second = apply_decisions(own / "cleaned.csv", own / "second.csv", journal=_of(own, file))
    assert second.rows == 38


def _of(own, file):
    """A journal about the cleaned table itself."""
    other = file.with_name("second.sqlite")
    decide(own / "cleaned.csv", other, ("red/3.png", "remove"))
    return other


def test_where_nothing_is_left_nothing_is_written(own, file):
    every = [path.relative_to(own).as_posix() for path in own.glob("*/*.png")]
    decide(own, file, *[(path, "remove") for path in every])
    with pytest.raises(DatasetError, match=r"no picture .* is left"):
        apply_decisions(own, journal=file)
    assert not (own / "cleaned.csv").exists()


def test_a_place_that_cannot_be_written_is_said(own, file, tmp_path):
    decide(own, file, ("red/1.png", "keep"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"cannot be written: .* --out FILE"):
        apply_decisions(own, tmp_path / "file" / "t.csv", journal=file)


def test_without_decisions_it_is_said(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DatasetError, match=r"reviews/photos/review.sqlite does not exist.*nothing has"
    ):
        apply_decisions(own)
    assert not (tmp_path / "reviews").exists()


def test_only_what_was_decided_about_is_read(own, file, monkeypatch):
    decide(own, file, *SOME)
    read = []
    from tellapart.data import hashing

    real = hashing.read_bytes
    monkeypatch.setattr(hashing, "read_bytes", lambda *a, **k: read.append(a[1]) or real(*a, **k))
    with Journal(file, root=own, classes=("blue", "red")) as journal:
        now = standing_labels(Dataset.from_folder(own), journal)
    assert sorted(read) == sorted(path for path, *_ in SOME)
    assert np.flatnonzero(~now.kept).tolist() == [now.rows["blue/copy.png"]]


def test_rows_of_the_data_that_are_none_are_counted(own, file):
    labels = own / "labels.csv"
    labels.write_text("name,label\nred/1.png,red\nred/2.png,\nblue/1.png,blue\n")
    decide(labels, file, ("red/1.png", "keep"))
    cleaned = apply_decisions(labels, journal=file)
    assert (cleaned.rows, [f.reason for f in cleaned.failures]) == (2, ["odd row"])
