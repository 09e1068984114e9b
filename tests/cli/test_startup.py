"""Starting is quick: help and import load nothing heavy."""

import os
import statistics
import subprocess
import sys
import time

import pytest

HEAVY = {
    "onnxruntime",
    "onnx",
    "pandas",
    "sklearn",
    "scipy",
    "numpy",
    "PIL",
    "torch",
    "openvino",
    "aiohttp",
    "timm",
    "fastapi",
    "uvicorn",
    "starlette",
    "prometheus_client",
    "python_multipart",
    "matplotlib",
}


def loaded_output(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def loaded_by(code: str) -> set[str]:
    code += "\nimport sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()}


@pytest.mark.parametrize(
    "code",
    [
        "import tellapart",
        "import tellapart.cli.main",
        "from tellapart.cli.main import app\ntry: app(['--help'])\nexcept SystemExit: pass",
        "from tellapart.cli.main import app\ntry: app(['train', '--help'])\nexcept SystemExit: pass",
        "from tellapart.cli.main import app\ntry: app(['gather', '--help'])\nexcept SystemExit: pass",
        "from tellapart.cli.main import app\ntry: app(['backbones', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_nothing_heavy_is_loaded(code):
    assert not loaded_by(code) & HEAVY


def test_help_takes_little_longer_than_typer_and_rich_alone():
    """At most 2.5 times; in turn and by the median, since machines drift."""
    commands = (
        [sys.executable, "-m", "tellapart.cli.main", "--help"],
        [sys.executable, "-c", "import typer, rich"],
    )
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(7):
        for command, taken in zip(commands, seconds, strict=True):
            start = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            taken.append(time.perf_counter() - start)
    assert statistics.median(seconds[0]) <= 2.5 * statistics.median(seconds[1])


def test_predict_in_a_base_install_needs_no_pandas():
    loaded = loaded_by("import tellapart\n_ = tellapart.load, tellapart.Predictor, tellapart.Run")
    assert not loaded & {"pandas", "onnx", "sklearn", "torch"}


@pytest.mark.parametrize("module", ["pandas", "onnx", "safetensors"])
def test_a_missing_extra_names_its_pip_command(module, tmp_path):
    """Blocking an import stands for an installation without it."""
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "1.png").write_bytes(b"x")
    code = f"""
import sys; sys.modules[{module!r}] = None
sys.argv = ["tellapart", "train", {str(tmp_path / "data")!r}, "--out", {str(tmp_path / "run")!r}]
from tellapart.cli.main import main; main()"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**os.environ, "TELLAPART_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    if module != "safetensors":  # the pictures are looked at first
        assert 'pip install "tellapart[train]"' in done.stderr


def test_a_command_loads_no_other():
    code = """
import sys
from tellapart.cli.main import app
try: app(["predict", "--help"])
except SystemExit: pass
print(*(name for name in sys.modules if name.startswith("tellapart.cli.")))"""
    loaded = loaded_output(code).splitlines()[-1].split()
    assert "tellapart.cli.predict" in loaded
    assert not {"tellapart.cli.train", "tellapart.cli.clean", "tellapart.cli.gather"} & set(loaded)


def test_a_missing_extra_in_python():
    code = """
import sys; sys.modules["pandas"] = None
import tellapart
try: tellapart.Dataset
except tellapart.TellapartError as error: print(error)"""
    assert 'pip install "tellapart[train]"' in loaded_output(code)


def test_every_command_shows_examples():
    from typer.main import get_command
    from typer.testing import CliRunner

    from tellapart.cli.main import app

    commands = list(get_command(app).commands)
    assert {"train", "export", "predict", "serve"} <= set(commands)
    for command in commands:
        shown = CliRunner().invoke(app, [command, "--help"]).output
        assert f"tellapart {command}" in shown
        assert "Example" in shown
