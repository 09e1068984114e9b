"""`tellapart train` in epochs: the table, the note, and what does without torch."""

import csv
import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from tellapart.cli.main import main
from tellapart.training.run import Run

needs_torch = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("torchvision") is None,
    reason="torch is not installed; it comes with the extra 'finetune'",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Dark and bright noise: 20 training and 8 validation pictures."""
    root = tmp_path_factory.mktemp("shades")
    generator = np.random.default_rng(0)
    for split, count in (("train", 10), ("valid", 4)):
        for label, brightest in (("bright", 255), ("dark", 120)):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, brightest, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number}.png")
    return root


@pytest.fixture
def train(data, tmp_path, monkeypatch, capsys):
    """`train("--epochs", 2)` in this process gives (exit status, standard output, standard error)."""

    def run(*options, data=data):
        arguments = ["train", data, "--out", tmp_path / "run", "--size", 32, *options]
        monkeypatch.setattr(sys, "argv", ["tellapart", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


def table_of(output):
    """The rows of the printed table, as words; its first is the header."""
    lines = output.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.split()[:2] == ["epoch", "train_loss"])
    rows = [line.split() for line in lines[begin:]]
    return [row for row in rows if row and (row[0] == "epoch" or row[0].isdecimal())]


@needs_torch
def test_epochs_print_the_table_that_is_kept(train, tmp_path):
    status, output, notes = train("--recipe", "one-cycle", "--epochs", 2)
    assert status == 0, notes
    header, *rows = table_of(output)
    assert header == ["epoch", "train_loss", "valid_loss", "error_rate", "wrong", "time"]
    with (tmp_path / "run" / "history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["0", "1"] == [row[0] for row in rows]
    for row, kept in zip(rows, history, strict=True):
        assert row[1:3] == [f"{float(kept[name]):.6f}" for name in ("train_loss", "valid_loss")]
        assert (row[4], row[6]) == (kept["errors"], "8")


@needs_torch
def test_epochs_are_compared_with_the_probe(train, tmp_path, monkeypatch):
    monkeypatch.setenv("TELLAPART_CACHE", str(tmp_path / "cache"))
    status, output, notes = train("--epochs", 2)
    assert status == 0, notes
    assert len(table_of(output)) == 3
    assert "by cross-validation, and is kept: probe log loss" in notes
    assert "; one-cycle log loss" in notes
    info = Run.load(tmp_path / "run").info
    kept = info["probe"]["compared"]["kept"]
    assert kept in ("probe", "one-cycle")
    assert (tmp_path / "run" / "history.csv").exists() == (kept == "one-cycle")
    assert info["computed"] == 2 * 20 + 8


@needs_torch
def test_a_hidden_head_by_name(train, tmp_path):
    options = ("--recipe", "one-cycle", "--head", "hidden", "--epochs", 1, "--views", 0)
    status, output, notes = train(*options, "--lr", "1e-3")
    assert status == 0, notes
    assert len(table_of(output)) == 2
    run = Run.load(tmp_path / "run")
    assert run.info["probe"]["recipe"] == "one-cycle"
    assert run.info["probe"]["lr"] == "0.001"
    assert run.info["probe"]["compared"] is None
    assert run.probe.hidden_weights.shape[1] == 512
    assert "is kept" not in notes


@needs_torch
def test_json_is_all_that_is_printed(train):
    status, output, _ = train("--epochs", 1, "--json")
    assert status == 0
    assert json.loads(output)["probe"]["compared"]
    status, output, notes = train("--epochs", 1, "--quiet")
    assert (status, notes) == (0, "")
    assert "train_loss" not in output


@needs_torch
def test_views_of_the_probe(train, tmp_path):
    status, output, notes = train("--views", 2, "--no-flip")
    assert status == 0, notes
    info = Run.load(tmp_path / "run").info
    assert (info["probe"]["recipe"], info["probe"]["views"]) == ("probe", 2)
    assert info["computed"] in (2 * 20, 3 * 20 + 8)  # others may have seen the plain ones
    assert "train_loss" not in output
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert len(set(config["recipe"]["views"])) == 2


@needs_torch
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--recipe", "probe", "--epochs", 2), "--epochs belongs to --recipe one-cycle or auto"),
        (("--recipe", "probe", "--head", "linear"), "--head belongs to"),
        (("--recipe", "two-cycle"), "probe, one-cycle, auto"),
        (("--head", "deep"), "choose from linear, hidden"),
        (("--epochs", 2, "--lr", "fast"), "learning rate 'fast'"),
        (("--epochs", 2, "--views", 65), "0 to 64"),
        (("--epochs", 2, "--seed", 10**20), "below 2 to the 62nd"),
    ],
)
def test_what_does_not_go_together_is_wrong_use(train, tmp_path, options, words):
    status, _, notes = train(*options)
    assert status == 2
    assert words in notes
    assert not (tmp_path / "run").exists()


@needs_torch
def test_epochs_without_validation_pictures_name_the_next_step(train, data):
    status, _, notes = train("--epochs", 1, "--valid", 0, data=data / "train")
    assert status == 1
    assert "--valid 0.2" in notes


def without_torch(data, folder, *options):
    code = """
import sys
for name in ("torch", "torchvision", "timm"): sys.modules[name] = None
from tellapart.cli.main import main; main()"""
    arguments = ["train", data, "--out", folder, "--size", 32, *options]
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.mark.parametrize("options", [(), ("--recipe", "probe", "--views", 0)])
def test_the_probe_does_without_torch(data, tmp_path, options):
    done = without_torch(data, tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    assert Run.load(tmp_path / "run").info["probe"]["recipe"] == "probe"
    assert not (tmp_path / "run" / "history.csv").exists()


@pytest.mark.parametrize("options", [("--epochs", 2), ("--recipe", "one-cycle"), ("--views", 1)])
def test_epochs_without_torch_name_the_pip_command(data, tmp_path, options):
    done = without_torch(data, tmp_path / "run", *options)
    assert done.returncode == 1
    assert 'pip install "tellapart[finetune]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
