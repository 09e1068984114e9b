"""`tellapart backbones` and `--preset`: what they print, and how they end."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tellapart.cli.main import app
from tellapart.errors import UsageError
from tellapart.model.catalogue import KNOWN, can_convert
from tellapart.model.presets import PRESETS

needs_timm = pytest.mark.skipif(not can_convert(), reason="needs the extra 'finetune'")
NO_NETWORK = """
import socket, sys
def refuse(*_): raise SystemExit("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
"""
WITHOUT = "for name in ('torch', 'timm', 'torchvision'): sys.modules[name] = None\n"


@pytest.fixture(autouse=True)
def caches_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TELLAPART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def tellapart(*words, without_timm=False):
    """As a user runs it, in a process that has no network."""
    code = NO_NETWORK + (WITHOUT if without_timm else "")
    code += f"sys.argv = {['tellapart', *words]!r}\nfrom tellapart.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=os.environ
    )


def rows(done):
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_in_a_pipe_it_is_columns():
    done = tellapart("backbones")
    assert done.returncode == 0
    assert {len(row) for row in rows(done)} == {9}
    lite0, lite2, best = rows(done)[:3]
    assert lite0[:8] == [
        "tf_efficientnet_lite0", "3371008", "224", "1280", "2848", "Apache-2.0", "fast", "package",
    ]  # fmt: skip
    assert (lite2[0], lite2[6]) == ("tf_efficientnet_lite2", "balanced")
    assert best[6:] == ["best", "-", f"timm/{PRESETS['best'].backbone}"]


def test_json_is_an_object_a_line():
    done = tellapart("backbones", "tf_efficientnet_lite?", "--json", without_timm=True)
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["name"] for entry in entries] == list(KNOWN)[:2]
    assert entries[0] == {
        "name": "tf_efficientnet_lite0",
        "parameters": 3_371_008,
        "size": 224,
        "dimensions": {"final": 1280, "all": 2848},
        "licence": "Apache-2.0",
        "source": KNOWN["tf_efficientnet_lite0"].source,
        "preset": "fast",
        "at_hand": "package",
    }


@needs_timm
def test_all_of_timms_without_the_network():
    done = tellapart("backbones", "--all", "--json")
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert len(entries) > 1000
    assert {tuple(entry) for entry in entries} == {tuple(entries[0])}
    assert all(entry["licence"] and entry["source"] for entry in entries)


def test_on_a_terminal_it_is_a_table(monkeypatch):
    from tellapart.cli.tables import print_backbones
    from tellapart.model.catalogue import BackboneEntry

    unknown = BackboneEntry("\x1b[31mred", None, None, None, "unknown", "")
    monkeypatch.setenv("COLUMNS", "100")
    lite0 = KNOWN["tf_efficientnet_lite0"]
    with pytest.MonkeyPatch.context() as patch:
        from io import StringIO

        patch.setattr("sys.stdout", shown := StringIO())
        print_backbones([BackboneEntry(**{**lite0.to_json(), "preset": "fast"}), unknown])
    text = shown.getvalue()
    assert "3.4 M" in text
    assert "1,280" in text
    assert "--preset fast: tf_efficientnet_lite0" in text
    assert "\x1b[31m" not in text
    assert "–" in text


def test_without_timm_it_says_what_would_give_more():
    done = tellapart("backbones", without_timm=True)
    assert done.returncode == 0
    assert [row[0] for row in rows(done)] == [preset.backbone for preset in PRESETS.values()]
    assert 'pip install "tellapart[finetune]" gives about 1,800 more' in done.stderr
    assert tellapart("backbones", "--quiet", without_timm=True).stderr == ""
    assert tellapart("backbones", "--all", without_timm=True).stdout == done.stdout


@pytest.mark.parametrize("pattern", ["no-such-net", "[", "\x1b[31m", "", "'; rm -rf /"])
def test_a_pattern_that_nothing_fits(pattern):
    done = tellapart("backbones", pattern, without_timm=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Error: no backbone is called" in done.stderr
    assert "pip install" in done.stderr
    assert "\x1b" not in done.stderr


@needs_timm
def test_a_part_of_a_name_is_told_what_to_ask_for():
    error = CliRunner().invoke(app, ["backbones", "laion2b"]).exception
    assert isinstance(error, UsageError)
    assert "try '*laion2b*', or --all" in str(error)


# --preset.


@pytest.fixture
def pictures(tmp_path, write_picture):
    for label in ("a", "b"):
        for i in range(5):
            write_picture(tmp_path / "data" / label / f"{i}.png", size=(48, 48))
    return str(tmp_path / "data")


def trained(pictures, tmp_path, *words):
    done = tellapart(
        "train",
        pictures,
        "--out",
        str(tmp_path / "run"),
        "--json",
        "--quiet",
        "--overwrite",
        *words,
    )
    assert done.returncode == 0, done.stderr
    info = json.loads(done.stdout)
    return info["backbone"]["name"], info["preprocess"]["size"]


def test_a_preset_sets_the_backbone_and_its_size(pictures, tmp_path):
    assert trained(pictures, tmp_path) == ("tf_efficientnet_lite0", 224)
    assert trained(pictures, tmp_path, "--preset", "balanced") == ("tf_efficientnet_lite2", 260)


def test_what_is_said_goes_before_the_preset(pictures, tmp_path):
    said = ("--preset", "balanced", "--backbone", "tf_efficientnet_lite0", "--size", "96")
    assert trained(pictures, tmp_path, *said) == ("tf_efficientnet_lite0", 96)
    best = ("--preset", "best", *said[2:], "--views", "0")
    assert trained(pictures, tmp_path, *best) == ("tf_efficientnet_lite0", 96)


def test_an_unknown_preset(pictures):
    done = tellapart("train", pictures, "--preset", "perfect")
    assert done.returncode == 2
    assert "preset 'perfect' is unknown; choose from fast, balanced, best" in done.stderr


def test_the_best_without_torch_names_its_pip_command(pictures, tmp_path):
    done = tellapart(
        "train", pictures, "--out", str(tmp_path / "run"), "--preset", "best", without_timm=True
    )
    assert done.returncode == 1
    assert 'pip install "tellapart[finetune]"' in done.stderr
    assert "Traceback" not in done.stderr


@needs_timm
def test_the_best_without_its_weights_names_the_next_step(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = tellapart("train", pictures, "--out", str(tmp_path / "run"), "--preset", "best")
    assert done.returncode == 1
    assert "could not be had from the Hugging Face hub" in done.stderr
    assert "--weights FILE" in done.stderr
