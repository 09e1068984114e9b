"""What the README shows is run as it stands there."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory, gallery):
    """A folder such as the README supposes: pictures in `photos`, and a new one."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(gallery, folder / "photos")
    shutil.copyfile(next((gallery / "painting").glob("*.jpg")), folder / "new.jpg")
    return folder


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_commands(place, tellapart):
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("tellapart")]
    assert len(commands) >= 5
    for command in commands:
        done = tellapart(*command[1:], cwd=place)
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout


def test_python(place, environment, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("TELLAPART_CACHE", environment["TELLAPART_CACHE"])
    for block in blocks("python"):
        names: dict[str, object] = {}
        exec(block, names)
        assert names["category"] in names["run"].classes
    assert "95 % interval" in capsys.readouterr().out
