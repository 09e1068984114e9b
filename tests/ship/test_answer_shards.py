"""Answers in files: one row per input, resumable, known to be of what they are of."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tellapart
from ship.made_export import made_export
from tellapart.cli.main import app
from tellapart.errors import DatasetError, EngineError, UsageError
from tellapart.ship.input_table import Input, inputs_of_table, rows_of_table
from tellapart.ship.predict_to import answers_to


@pytest.fixture
def model(tmp_path):
    return made_export(tmp_path / "model.onnx", ("red", "green", "Ré/d"), strange_from=0.9)


@pytest.fixture
def names(tmp_path, write_picture, monkeypatch):
    """Of 23 inputs; two of them are no pictures."""
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        write_picture(tmp_path / "pictures" / f"{number}.png", seed=number)
    (tmp_path / "pictures" / "3.txt").write_text("text")
    names = [f"pictures/{i % 4}.png" for i in range(21)]
    return [*names[:11], "gone.png", *names[11:], "pictures/3.txt"]


def parts(folder):
    return sorted(Path(folder).glob("part-*"))


def rows(folder):
    return [json.loads(line) for file in parts(folder) for line in file.read_text().splitlines()]


def wanted(model, names):
    return [answer.to_json() for answer in tellapart.load(model).predict_many(names)]


def test_rows_are_those_of_predict_in_the_order_of_the_inputs(model, names, tmp_path):
    seen = []
    done = tellapart.predict_to(
        model, names, "out", rows=5, progress=lambda *told: seen.append(told)
    )
    assert rows("out") == wanted(model, names)
    assert [len(file.read_text().splitlines()) for file in parts("out")] == [5, 5, 5, 5, 3]
    assert (done.rows, done.failed, done.parts, done.kept) == (23, 2, 5, 0)
    assert done.labels == {"red": 0, "green": 0, "Ré/d": 0} | Counter(
        row["label"] for row in rows("out") if row["label"]
    )
    told = json.loads((tmp_path / "out" / "done.json").read_text())
    assert told == {"rows": 23, "failed": 2, "labels": dict(done.labels), "parts": 5}
    assert seen[-1] == ("predict", 23, 23)
    assert all(before[1] <= after[1] for before, after in pairwise(seen))


def test_parquet_holds_the_same(model, names):
    parquet = pytest.importorskip("pyarrow.parquet")
    hostile = [*names, "\udcff.png"]
    tellapart.predict_to(model, hostile, "out", rows=9, format="parquet")
    tables = [parquet.read_table(file) for file in parts("out")]
    assert len({table.schema for table in tables}) == 1
    found = [row for table in tables for row in table.to_pylist()]
    answers = wanted(model, hostile)
    assert len(found) == 24
    for row, answer in zip(found, answers, strict=True):
        assert row["path"] == answer["path"].replace("\udcff", "\\udcff")
        for field in ("label", "probability", "verdict", "reason", "possible", "error"):
            assert row[field] == answer[field]
        for name, probability in (answer["probabilities"] or {}).items():
            assert row[f"p_{name}"] == probability
        assert (row["p_red"] is None) == (answer["error"] is not None)
    again = tellapart.predict_to(model, hostile, "out", rows=9, format="parquet")
    # Those of two files that are not there are looked at again.
    assert (again.kept, again.failed, sum(again.labels.values())) == (9, 3, 21)


def times(folder):
    return {file.name: file.stat().st_mtime_ns for file in parts(folder)}


def test_what_is_there_is_kept_and_what_is_not_is_done(model, names):
    first = tellapart.predict_to(model, names, "out", rows=5)
    before = times("out")
    (gone, cut, torn, *_) = parts("out")
    content = {file: file.read_bytes() for file in parts("out")}
    gone.unlink()
    cut.write_bytes(b"".join(cut.read_bytes().splitlines(keepends=True)[:4]))
    torn.write_bytes(torn.read_bytes()[:-20])
    for name in (f".{gone.name}.0123456789abcdef", ".job.json.0123456789abcdef"):
        Path("out", name).write_bytes(b"x")
    again = tellapart.predict_to(model, names, "out", rows=5)
    assert (again.rows, again.failed, again.labels, again.kept) == (23, 2, first.labels, 8)
    assert {file: file.read_bytes() for file in parts("out")} == content
    assert [name for name, time in times("out").items() if time == before[name]] == sorted(before)[
        3:
    ]
    assert not [name for name in os.listdir("out") if name.startswith(".")]


def test_inputs_that_change_before_the_end_do_their_parts_again(model, names):
    tellapart.predict_to(model, names, "out", rows=5)
    Path("out", "done.json").unlink()  # as if it had been killed at its end
    changed = [*names[:7], "pictures/0.png", *names[8:14]]  # one other, and a shorter list
    finished = []
    done = tellapart.predict_to(
        model, changed, "out", rows=5,
        progress=lambda *told: finished.append(Path("out", "done.json").exists()),
    )  # fmt: skip
    assert not any(finished)
    assert (done.rows, done.kept) == (14, 5)
    assert rows("out") == wanted(model, changed)


def test_finished_answers_are_not_replaced_by_those_of_other_inputs(
    model, names, tmp_path, monkeypatch, write_picture
):
    tellapart.predict_to(model, names, "out", rows=5)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write_picture(tmp_path / "other" / "pictures" / "0.png", seed=9)
    place = tmp_path / "out"
    longer = [*names, "pictures/1.png"]
    for others in (names[:-1], names[:10], [], longer, ["pictures/2.png", *names[1:]]):
        with pytest.raises(UsageError, match=r"finished answers for other inputs.*--overwrite"):
            tellapart.predict_to(model, others, place, rows=5)
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path / "other")  # the same names, and other pictures
        with pytest.raises(UsageError, match="other inputs"):
            tellapart.predict_to(model, names, place, rows=5)
    assert {path: path.read_bytes() for path in place.iterdir()} == before
    assert tellapart.predict_to(model, longer, place, rows=5, overwrite=True).kept == 0
    assert rows("out") == wanted(model, longer)


def test_files_of_others_are_never_touched(model, names, tmp_path, write_picture):
    for number in range(3):
        write_picture(tmp_path / "scans" / f"part-{number:07}.png")
    (tmp_path / "spark").mkdir()
    (tmp_path / "spark" / "part-00000-0123456789abcdef.jsonl").write_text("mine")
    (tmp_path / "spark" / "done.json").write_text("{}")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "job.json").write_text('{"name": "mine"}')
    (tmp_path / "foreign" / "part-1.mp4").write_text("mine")
    for folder in ("scans", "spark", "foreign"):
        before = {path: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="holds other files"):
                tellapart.predict_to(model, names, folder, overwrite=overwrite)
        assert {path: path.read_bytes() for path in (tmp_path / folder).iterdir()} == before
    tellapart.predict_to(model, names, "out", rows=5)
    (tmp_path / "out" / "part-notes.txt").write_text("mine")
    tellapart.predict_to(model, names, "out", rows=5, overwrite=True)
    assert (tmp_path / "out" / "part-notes.txt").read_text() == "mine"


def test_what_could_not_be_reached_is_asked_for_again_once_all_is_done(model, names, write_picture):
    tellapart.predict_to(model, names, "out", rows=5)
    write_picture(Path("gone.png"), seed=3)
    again = tellapart.predict_to(model, names, "out", rows=5)
    assert (again.failed, again.kept) == (1, 18)
    assert rows("out") == wanted(model, names)
    assert tellapart.predict_to(model, names, "out", rows=5).kept == 23


def test_an_interrupted_beginning_anew_goes_on(model, names):
    tellapart.predict_to(model, names, "out", rows=5)
    anew = {"rows": 5, "overwrite": True, "workers": 1}

    def stop(stage, done, total):
        if done > 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tellapart.predict_to(model, names, "out", progress=stop, **anew)
    assert 0 < tellapart.predict_to(model, names, "out", **anew).kept < 23


def test_a_folder_of_another_job_is_refused(model, names, tmp_path):
    tellapart.predict_to(model, names, "out", rows=5)
    other = made_export(tmp_path / "other.onnx", seed=1)
    for arguments, why in (
        ({"rows": 6}, "rows"),
        ({"format": "parquet"}, "format"),
        ({"model": other}, "model, classes, rule"),
    ):
        asked = {"model": model, "rows": 5, **arguments}
        with pytest.raises(UsageError, match=rf"another job \({why}\).*--overwrite"):
            tellapart.predict_to(asked.pop("model"), names, "out", **asked)
    before = rows("out")
    Path("full").mkdir()
    Path("full", "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        tellapart.predict_to(model, names, "full", overwrite=True)
    assert rows("out") == before
    done = tellapart.predict_to(other, names, "out", rows=5, overwrite=True)
    assert done.kept == 0
    assert rows("out") == wanted(other, names)
    again = tellapart.predict_to(other, names, "out", rows=5, overwrite=True)
    assert again.kept == 0  # anew means anew


def test_what_vanishes_meanwhile_is_told(model, names):
    def vanish(stage, done, total):
        for file in parts("out")[:1]:
            file.unlink()

    with pytest.raises(EngineError, match=r"parts are gone, such as part-0000000.*does the rest"):
        tellapart.predict_to(model, names, "out", rows=5, progress=vanish)
    assert not Path("out", "done.json").exists()
    assert tellapart.predict_to(model, names, "out", rows=5).rows == 23
    assert rows("out") == wanted(model, names)


def test_arguments_that_do_not_go_together(model, names):
    for arguments, why in (
        ({"format": "csv"}, "jsonl, parquet"),
        ({"rows": 0}, "1 or more"),
        ({"engine": "spark"}, "local, ray"),
        ({"address": "auto"}, "add --engine ray"),
    ):
        with pytest.raises(UsageError, match=why):
            tellapart.predict_to(model, names, "out", **arguments)
    assert not Path("out").exists()
    Path("file").write_text("")
    with pytest.raises(DatasetError, match="file"):
        tellapart.predict_to(model, names, "file")


def test_no_input_is_a_finished_job(model, names):
    done = tellapart.predict_to(model, [], "out")
    assert (done.rows, done.parts) == (0, 0)
    assert Path("out", "done.json").exists()


@pytest.mark.parametrize("column", ["path", "URL", " file "])
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_csv_table_gives_an_input_a_row(model, names, tmp_path, column, delimiter):
    with (tmp_path / "pictures" / "table.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["n", column])
        writer.writerows(
            [[1, "0.png"], [], [2], [3, ""], [4, str(tmp_path / "pictures" / "1.png")]]
        )
        file.write(f'5{delimiter}"2".png\n6{delimiter}2.png\n7{delimiter}gone ü.png\n')
    found = list(inputs_of_table(Path("pictures") / "table.csv"))
    here = str(tmp_path / "pictures")
    assert found == [
        Input("0.png", f"{here}/0.png"), Input("", ""), Input("", ""),
        Input(f"{here}/1.png", f"{here}/1.png"), Input("", ""), Input("2.png", f"{here}/2.png"),
        Input("gone ü.png", f"{here}/gone ü.png"),
    ]  # fmt: skip
    done = tellapart.predict_to(model, "pictures/table.csv", "out")
    assert (done.rows, done.failed) == (7, 4)
    assert [row["path"] for row in rows("out")] == [name for name, _ in found]


def test_a_parquet_table_gives_an_input_a_row(model, names, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"label": [1, 2, 3], "Name": ["pictures/0.png", None, "s3://b/c.png"]})
    parquet.write_table(table, "table.parquet")
    assert rows_of_table("table.parquet") == 3
    assert list(inputs_of_table("table.parquet")) == [
        Input("pictures/0.png", f"{tmp_path}/pictures/0.png"), Input("", ""),
        Input("s3://b/c.png", "s3://b/c.png"),
    ]  # fmt: skip
    seen = []
    tellapart.predict_to(model, "table.parquet", "out", progress=lambda *told: seen.append(told))
    assert seen[-1] == ("predict", 3, 3)


def test_tables_that_cannot_be_read(names, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    Path("no.csv").write_text("a,b\n1,2\n")
    lines = ["path", *(f"{number}.png" for number in range(100)), ""]
    for name, ends in (("open.csv", (10,)), ("closed.csv", (10, 60))):
        spoilt = ['"' + line if number in ends else line for number, line in enumerate(lines)]
        Path(name).write_text("\n".join(spoilt).replace('\n"59.png', '\n59.png"'))
    images = arrow.array([{"path": "a.png", "bytes": b""}])
    parquet.write_table(arrow.table({"image": images, "label": ["a"]}), "structs.parquet")
    Path("no.parquet").write_bytes(b"PAR1 but no table")
    parquet.write_table(arrow.table({"path": [1, 2]}), "numbers.parquet")
    for file, why in (
        ("no.csv", "its columns are a, b"),
        ("no.parquet", "no Parquet table"),
        ("numbers.parquet", "columns of text are missing"),
        ("gone.parquet", "No such file"),
        ("open.csv", "lines 11 to 101: .*a quote is open"),
        ("closed.csv", "lines 11 to 61: a path of several lines"),
        ("structs.parquet", "columns of text are label; expected one of path"),
        ("odd://bucket/t.csv", "cannot be opened"),
        ("https://a.org/t.csv?sig=5ec7e7", "carries a password"),
    ):
        with pytest.raises(DatasetError, match=why):
            list(inputs_of_table(file))


def test_a_url_of_fsspec_takes_the_answers(model, names):
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("pyarrow")
    place = "memory://bucket/answers"
    assert tellapart.predict_to(model, names, place, rows=5).kept == 0
    system = fsspec.filesystem("memory")
    (first, *_) = sorted(system.glob("/bucket/answers/part-*"))
    system.rm(first)
    again = tellapart.predict_to(model, names, place, rows=5)
    assert (again.rows, again.kept) == (23, 13)  # one was gone, one has a missing picture
    content = b"".join(
        system.cat_file(name) for name in sorted(system.glob("/bucket/answers/part-*"))
    )
    assert [json.loads(line) for line in content.splitlines()] == wanted(model, names)
    with pytest.raises(UsageError, match="another job"):
        tellapart.predict_to(model, names, place, rows=4)


def test_the_command_writes_files_and_says_what_they_hold(model, names):
    run = CliRunner().invoke
    asked = ["predict", str(model), *names, "--out", "out", "--rows", "5"]
    done = run(app, asked)
    assert done.exit_code == 3, done.output
    assert "23 answers in 5 files" in done.stdout
    assert "2 of 23 pictures could not be used" in done.stderr
    assert rows("out") == wanted(model, names)
    assert "18 of them kept" in run(app, asked).stdout
    for wrong in (["--json"], ["--table", "t.csv"]):
        assert isinstance(run(app, [*asked, *wrong]).exception, UsageError)
    assert isinstance(run(app, ["predict", str(model)]).exception, UsageError)
    assert isinstance(run(app, ["predict", str(model), "--table", "t.xls"]).exception, UsageError)
    Path("t.csv").write_text("path\npictures/1.png\ngone.png\n")
    told = run(app, ["predict", str(model), "--table", "t.csv", "--json"])
    assert told.exit_code == 3
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert lines == wanted(model, ["pictures/1.png", "gone.png"])


def test_many_inputs_are_read_as_they_are_needed(model, names):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield names[0]

    answers = answers_to(tellapart.load(model, workers=2), endless())
    assert [next(answers).label for _ in range(3)]
    answers.close()
    assert taken < 30

    class Enough(Exception):
        pass

    def stop(stage, done, total):
        assert total == 0
        if done > 100:
            raise Enough

    taken = 0
    with pytest.raises(Enough):
        tellapart.predict_to(model, endless(), "out", rows=10, workers=2, progress=stop)
    assert taken < 200
    assert len(rows("out")) >= 90


def start(model, names, number):
    """The command in a process of its own, until some parts are there; then it gets the signal."""
    Path("table.csv").write_text("path\n" + "\n".join(names) + "\n")
    command = [sys.executable, "-m", "tellapart.cli.main", "predict", str(model), "--quiet"]
    command += ["--table", "table.csv", "--out", "out", "--rows", "50"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 60
        while len(parts("out")) < 3 and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_ended_in_the_middle_the_same_command_does_the_rest(model, names, number):
    many = (names * 150)[:3000]
    status, said = start(model, many, number)
    before = len(parts("out"))
    assert 3 <= before < 60
    assert not Path("out", "done.json").exists()
    if number == signal.SIGINT:
        assert status == 130
        assert "the same command goes on from there" in said
    else:
        assert status == -signal.SIGKILL
    done = tellapart.predict_to(model, "table.csv", "out", rows=50)
    assert (done.rows, done.kept, done.parts) == (3000, 50 * before, 60)
    assert not [name for name in os.listdir("out") if name.startswith(".")]
    assert rows("out") == (wanted(model, names) * 150)[:3000]


def test_a_slow_pipe_gets_each_answer_as_it_asks(model, names):
    command = [sys.executable, "-m", "tellapart.cli.main", "predict", str(model), "-", "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        for name in ("pictures/1.png", "gone.png", "pictures/2.png"):
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["path"] == name
        process.send_signal(signal.SIGINT)  # while it waits for a line
        assert process.wait(30) == 130
        assert process.stderr.read().strip() == "Error: Interrupted."


def peak_of(command):
    """The most of its own memory that a command has had, MB."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError:
                continue
            own = [int(line.split()[1]) for line in status if line.startswith("RssAnon")]
            peak = max([peak, *own])
            time.sleep(0.05)
    assert process.returncode == 3
    return peak / 1000


@pytest.mark.slow
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_memory_stays_flat(model, names, form):
    """The command's own memory over 5,000 rows and over 50,000."""
    pytest.importorskip("pyarrow")
    peaks = []
    for count in (5_000, 50_000):
        Path("table.csv").write_text("path\n" + "\n".join((names * count)[:count]) + "\n")
        command = [sys.executable, "-m", "tellapart.cli.main", "predict", str(model), "--quiet"]
        command += ["--table", "table.csv", "--out", f"out{count}", "--format", form]
        peaks.append(peak_of(command))
        assert sum(1 for _ in parts(f"out{count}")) == -(-count // 1024)
    assert peaks[1] - peaks[0] < 8, peaks
