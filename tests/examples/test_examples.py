"""The examples run from end to end, as scripts and as notebooks, and print what they promise."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SHARED = ROOT.parent / "shared" / "data"
NAMES = ("anime_or_cartoon", "art_type")

pytestmark = pytest.mark.timeout(900)  # seconds to minutes, by what else the machine does

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs torch: the extra finetune"
)
needs_jupyter = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("nbclient", "ipykernel"))),
    reason="needs nbclient and ipykernel",
)

TINY = {
    "anime_or_cartoon": {"pictures": 12, "epochs": 1, "quick": True, "port": 0},
    "art_type": {"pictures": 10, "epochs": 1, "quick": True},
}
METRIC = {"anime_or_cartoon": "error_rate", "art_type": "accuracy"}
PROMISED = {
    "anime_or_cartoon": [
        r"22 pictures are good, 0 are not",
        r"loss \d\.\d{3}  http://127\.0\.0\.1:\d+/sculpture/",
        r"All to cleaned: of \d+ pictures",
        r"stage-1: error rate .* 95 % interval",
        r"model\.onnx: \d+\.\d MB\. \d+ files of 14 kinds, made of held-out",
        r"A page for the phone: \S+page",
        r"drawings-\d+-\S+, of drawings: \w+ with 0\.\d{4}, (not_)?sure",
        r"validation pictures is .* the error rate moves in such steps",
        r"Cross-validated, all pictures: error rate .* 95 % interval",
        r"From half to all: of \d+ pictures .*McNemar",
        r"From stage-1 to more epochs: of \d+ pictures .*McNemar",
    ],
    "art_type": [
        r"valid: stage-1 error rate .* of 10; 95 % interval",
        r"valid: stage-3 error rate .* of 10; 95 % interval",
        r"From stage-1 to stage-3: of 10 pictures .*McNemar",
        r"model\.onnx: \d+\.\d MB\. \d+ files of 14 kinds, made of held-out",
        r"A page for the phone: \S+page",
        r"of painting: \w+ with 0\.\d{4}, (not_)?sure",
        r"(?m)^(not_)?sure: error rate .* 95 % interval",
    ],
}
WRITTEN = {
    "anime_or_cartoon": [
        "cleaned.csv",
        "pictures.png",
        "top_losses.png",
        "lr_find.png",
        "model.onnx",
        "model.md",
        "page/index.html",
        "page/model.onnx",
        "pictures/receipt.csv",
    ],
    "art_type": [
        "lr_find-1.png",
        "lr_find-2.png",
        "report.html",
        "run/stages/stage-3/network.onnx",
        "model.onnx",
        "page/index.html",
    ],
}

EXECUTE = """
import sys

import nbformat
from nbclient import NotebookClient

book = nbformat.read(sys.argv[1], 4)
[place] = [i for i, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", ())]
book.cells.insert(place + 1, nbformat.v4.new_code_cell(sys.argv[2]))
NotebookClient(book, timeout=800, kernel_name="python3").execute()
nbformat.write(book, sys.argv[3])
"""


def run(*arguments, cwd, warnings="error"):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "PYTHONWARNINGS": warnings, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def promised(name, text, out):
    for pattern in PROMISED[name]:
        assert re.search(pattern, text), f"{pattern} is not in:\n{text}"
    for file in WRITTEN[name]:
        assert (out / file).stat().st_size


@needs_torch
@pytest.mark.parametrize("name", NAMES)
def test_script(name, tmp_path):
    options = [
        f"--{key}" if value is True else f"--{key}={value}" for key, value in TINY[name].items()
    ]
    out = tmp_path / "out"
    printed = run(EXAMPLES / name / "run.py", "--out", out, *options, cwd=tmp_path)
    promised(name, printed, out)
    assert re.search(rf"{METRIC[name]} +wrong", printed)


@needs_torch
@needs_jupyter
@pytest.mark.parametrize("name", NAMES)
def test_notebook(name, tmp_path, monkeypatch):
    import nbformat

    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    out = tmp_path / "out"
    settings = [f"args.{key} = {value!r}\n" for key, value in TINY[name].items()]
    settings.append(f"args.out = Path({str(out)!r})")
    run(
        "-c", EXECUTE, EXAMPLES / name / f"{name}.ipynb", "".join(settings), tmp_path / "done.ipynb",
        cwd=tmp_path, warnings="default",
    )  # fmt: skip
    cells = nbformat.read(tmp_path / "done.ipynb", 4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    shown = [output.data for output in outputs if "data" in output]
    tables = [data["text/html"] for data in shown if "text/html" in data]
    assert any(f"<th>{METRIC[name]}</th>" in table for table in tables)
    assert any("image/png" in data for data in shown)  # the plot of lr_find
    promised(name, text, out)


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_small_and_hold_no_output(name):
    file = EXAMPLES / name / f"{name}.ipynb"
    assert file.stat().st_size < 40_000
    book = json.loads(file.read_text("utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


def test_notebooks_are_as_their_scripts(tmp_path):
    run(EXAMPLES / "make_notebooks.py", "--check", cwd=tmp_path)


@needs_torch
@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the pictures of ../shared/data")
@pytest.mark.parametrize(("name", "data"), [(NAMES[0], "anime_cartoon"), (NAMES[1], "art_style")])
def test_on_real_pictures(name, data, tmp_path):
    options = ["--port=0"] if name == "anime_or_cartoon" else []
    out = tmp_path / "out"
    printed = run(EXAMPLES / name / "run.py", SHARED / data, "--out", out, *options, cwd=tmp_path)
    assert printed.count("95 % interval") >= 6
    for file in WRITTEN[name]:
        assert (out / file).stat().st_size
