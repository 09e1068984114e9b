"""`tellapart check`: what it prints, what it writes, and how it ends."""

import csv
import json
import subprocess
import sys

import pytest

from tellapart import draw_gallery


def tellapart(*arguments):
    command = [sys.executable, "-m", "tellapart.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    root = tmp_path_factory.mktemp("checked") / "gallery"
    draw_gallery(root, per_class=10, valid=0.2, seed=3, faults=True)
    return root


@pytest.fixture(scope="module")
def done(gallery, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "check"
    return out, tellapart("check", gallery, "--out", out, "--workers", 1)


def test_it_prints_a_table_and_writes_two_files(done):
    out, answer = done
    assert answer.returncode == 3, answer.stderr  # broken files were lost, and are listed
    assert "Leaks" in answer.stdout
    assert "findings on" in answer.stdout
    assert sorted(path.name for path in out.iterdir()) == ["check.html", "findings.csv"]
    assert str(out / "check.html") in answer.stderr
    with (out / "findings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["check"] for row in rows} >= {"unreadable", "leak", "blank", "exact_duplicate"}


def test_json_and_one_check_alone(gallery, tmp_path):
    table = tmp_path / "leaks.csv"
    options = ("--only", " leak, ", "--csv", table, "--out", tmp_path / "c", "--json", "--quiet")
    answer = tellapart("check", gallery, *options)
    assert (answer.returncode, answer.stderr) == (3, "")
    found = json.loads(answer.stdout)
    assert set(found["counts"]) == {"leak"}
    assert len(table.read_text().splitlines()) == 1 + found["counts"]["leak"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--only", "spelling"), 2, "choose from unreadable, blank"),
        (("--run", "nowhere"), 1, "nowhere does not exist"),
    ],
)
def test_what_cannot_be_is_said(gallery, tmp_path, arguments, status, words):
    answer = tellapart("check", gallery, "--out", tmp_path / "c", *arguments)
    assert answer.returncode == status
    assert words in answer.stderr
    assert not (tmp_path / "c").exists()


def test_the_data_is_never_written_over(gallery, tmp_path):
    table = tmp_path / "labels.csv"
    rows = [f"{p.relative_to(gallery)},{p.parent.name}" for p in sorted(gallery.glob("train/*/*"))]
    table.write_text("name,label\n" + "\n".join(rows) + "\n")
    before = table.read_bytes()
    answer = tellapart("check", table, "--csv", table)
    assert answer.returncode == 2
    assert "is the data itself" in answer.stderr
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("option", "words"),
    [("--out", "cannot be made"), ("--csv", "is a folder")],
)
def test_a_place_that_cannot_be_written_is_said_before_anything_is_done(
    gallery, tmp_path, option, words
):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "below" if option == "--out" else tmp_path
    answer = tellapart("check", gallery, option, place)
    assert answer.returncode == 2
    assert words in answer.stderr
    assert "Reading" not in answer.stderr
