"""What the README shows is run as it stands there."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from web.behaviours import picture
from web.server import Server

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory, gallery):
    """A folder such as the README supposes: pictures in `photos`, a new one, and lists of links."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(gallery, folder / "photos")
    shutil.copyfile(next((gallery / "painting").glob("*.jpg")), folder / "new.jpg")
    files = {f"/{p.name}": p for p in gallery.rglob("*.jpg")}
    with Server({path: picture(file.read_bytes()) for path, file in files.items()}) as server:
        for label, kind in (("anime", "painting"), ("cartoon", "engraving")):
            links = [server.url(path) for path, file in files.items() if file.parent.name == kind]
            (folder / f"urls_{label}.csv").write_text("\n".join(links))
        yield folder


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_commands(place, tellapart):
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("tellapart")]
    assert len(commands) >= 5
    for command in commands:
        private = ["--allow-private"] if command[1] == "gather" else []  # they lead to this machine
        done = tellapart(*command[1:], *private, cwd=place)
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
