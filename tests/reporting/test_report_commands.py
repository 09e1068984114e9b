"""`tellapart report` and `tellapart show`: what they print, write and how they end."""

import json

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from tellapart.cli.report import report
from tellapart.cli.show import show
from tellapart.errors import UsageError

app = typer.Typer()
app.command()(report)
app.command()(show)


def tellapart(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_report_writes_the_page_beside_the_run(own_run):
    done = tellapart("report", own_run.folder, "--no-check", "--workers", 1, "--quiet")
    file = own_run.folder / "report.html"
    assert (done.exit_code, done.stdout.strip()) == (0, str(file))
    assert file.read_text("utf-8").startswith("<!doctype html>")


def test_report_as_json_elsewhere(run, tmp_path):
    done = tellapart("report", run.folder, "-o", tmp_path / "a.html", "--no-check", "--json", "-q")
    told = json.loads(done.stdout)
    assert told["report"] == str(tmp_path / "a.html")
    assert told["verdict"]["errors"] == run.metrics["valid"].errors
    assert not (run.folder / "report.html").exists()


def test_report_without_its_pictures_ends_with_3(own_run, tmp_path):
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    done = tellapart("report", own_run.folder, "--workers", 1)
    assert done.exit_code == 3
    assert "could not be read" in done.stderr
    assert "is not there any more" in done.stderr
    assert (own_run.folder / "report.html").exists()


def test_show_draws_a_sheet(drawn, tmp_path):
    done = tellapart("show", drawn, "-o", tmp_path / "new" / "sheet.png", "--rows", 2, "--quiet")
    assert done.stdout.strip() == str(tmp_path / "new" / "sheet.png")
    with Image.open(tmp_path / "new" / "sheet.png") as image:
        assert image.format == "PNG"
        assert image.width > image.height > 300


@pytest.mark.parametrize(("ending", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_show_draws_counts(drawn, tmp_path, ending, start):
    done = tellapart("show", drawn, "--counts", "-o", tmp_path / f"c.{ending}")
    assert done.exit_code == 0
    assert (tmp_path / f"c.{ending}").read_bytes().startswith(start)


def test_show_names_broken_pictures_and_ends_with_3(tmp_path, write_picture, monkeypatch):
    write_picture(tmp_path / "data" / "a" / "1.png")
    (tmp_path / "data" / "b").mkdir()
    (tmp_path / "data" / "b" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    monkeypatch.chdir(tmp_path)
    done = tellapart("show", "data")
    assert done.exit_code == 3
    assert done.stdout.strip() == "sheets/data.png"
    assert "b/1.png" in done.stderr
    assert (tmp_path / "sheets" / "data.png").exists()


def test_show_never_writes_among_the_pictures(drawn, tmp_path):
    before = sorted(drawn.rglob("*"))
    for out in (drawn / "sheet.png", next(drawn.rglob("*.png")), tmp_path / "sheet.jpg"):
        with pytest.raises(UsageError, match=r"among the pictures|ends in"):
            tellapart("show", drawn, "-o", out)
    picture = next(drawn.rglob("*.png"))
    (tmp_path / "list.csv").write_text(f"name,label\n{picture},a\n")
    with pytest.raises(UsageError, match="one of the pictures"):
        tellapart("show", tmp_path / "list.csv", "-o", picture)
    assert sorted(drawn.rglob("*")) == before


def test_show_augmented(drawn, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    done = tellapart("show", drawn, "--augmented", "--rows", 1, "-o", tmp_path / "a.png")
    assert done.exit_code == 0
    with pytest.raises(UsageError, match="exclude each other"):
        tellapart("show", drawn, "--augmented", "--counts")


def test_help_has_examples():
    for command in ("report", "show"):
        told = tellapart(command, "--help").stdout
        assert f"tellapart {command} " in told
        assert "Examples:" in told
