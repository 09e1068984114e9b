"""The list of backbones: what is in it, where it finds weights, and that it asks no network."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from tellapart.model.backbone import Backbone, BackboneInfo
from tellapart.model.backbones import cache_folder, keep_conversion, open_backbone
from tellapart.model.catalogue import (
    KNOWN,
    TIMM_MODELS,
    BackboneEntry,
    can_convert,
    list_backbones,
)
from tellapart.model.embedded import BACKBONES
from tellapart.model.preprocess import PreprocessSpec
from tellapart.model.presets import PRESETS

needs_timm = pytest.mark.skipif(not can_convert(), reason="needs the extra 'finetune'")
WITHOUT = "import sys\nfor name in ('torch', 'timm', 'torchvision'): sys.modules[name] = None\n"


@pytest.fixture(autouse=True)
def caches_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TELLAPART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


def conversion(name, origin, sha256="ab" * 32, licence="mit"):
    info = BackboneInfo(
        name, licence, f"weights of {name}", origin, sha256, 12_345, PreprocessSpec(size=96)
    )
    return Backbone(info, b"graph", "cd" * 32, (("final", 8), ("stage0_mean", 4)))


def by_name(entries):
    named = {entry.name: entry for entry in entries}
    assert len(named) == len(entries)
    return named


# What is in it.


@needs_timm
def test_without_a_pattern_it_is_a_short_selection():
    entries = list_backbones()
    assert {entry.name for entry in entries} == set(KNOWN)
    assert [entry.preset for entry in entries[:4]] == [*PRESETS, None]
    assert all(entry.parameters and entry.dimensions and entry.size for entry in entries)


@needs_timm
def test_a_pattern_is_held_against_all_of_timms():
    names = [entry.name for entry in list_backbones("resnet50*")]
    assert {"resnet50.a1_in1k", "resnet50d.ra2_in1k"} <= set(names)
    tags = [entry.name for entry in list_backbones("resnet50")]
    assert "resnet50.a1_in1k" in tags
    assert all(name.startswith("resnet50.") for name in tags)
    assert list_backbones("RESNET50.A1_in1k") == list_backbones("resnet50.a1_in1k") != []
    assert abs(len(list_backbones("*")) - TIMM_MODELS) < 0.25 * TIMM_MODELS


@needs_timm
def test_numbers_in_names_count_as_numbers():
    names = [entry.name for entry in list_backbones("resnet[0-9]*[0-9].a1_in1k")]
    assert [name.partition(".")[0] for name in names] == [
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    ]  # fmt: skip


@needs_timm
def test_licences_are_timms():
    entries = by_name(list_backbones("convnext*"))
    assert entries["convnextv2_base.fcmae"].licence == "cc-by-nc-4.0"
    assert entries["convnext_tiny.in12k"].licence == "apache-2.0"
    assert entries["convnextv2_base.fcmae"].parameters is None


@pytest.mark.parametrize(
    "pattern", ["", "[", "[!", "\\", "../*", "*/*", "a" * 10_000, "\x00", "💥*", "*a" * 60 + "b", "?" * 500]
)  # fmt: skip
def test_hostile_patterns_find_nothing(pattern):
    assert list_backbones(pattern) == []


# Facts that are written down.


@needs_timm
@pytest.mark.parametrize("name", KNOWN)
def test_the_written_facts_are_those_of_the_networks(name):
    """On the device `meta`, where a network has shapes and no numbers."""
    import timm
    import torch

    from tellapart.finetuning.network import FeatureNetwork
    from tellapart.model.backbone import dimensions_of

    entry = KNOWN[name]
    facts = timm.get_pretrained_cfg(name)
    size = entry.size or 0
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False, num_classes=0)
        spec = PreprocessSpec(size=size)
        info = BackboneInfo(name, "", "", "random", "", 0, spec)
        layout = FeatureNetwork(model, info).layout
    assert entry.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert entry.dimensions == dimensions_of(layout)
    assert facts.input_size == (3, size, size)
    assert entry.licence.lower() == facts.license
    assert name in BACKBONES or entry.source == facts.hf_hub_id


@pytest.mark.parametrize("name", BACKBONES)
def test_the_written_facts_of_the_embedded_ones(name):
    backbone, entry = open_backbone(name), KNOWN[name]
    assert (entry.parameters, entry.size) == (
        backbone.info.parameters, backbone.info.preprocess.size,
    )  # fmt: skip
    assert entry.dimensions == backbone.dimensions


# What is at hand.


def test_embedded_ones_are_at_hand_where_their_package_is(monkeypatch):
    assert all(by_name(list_backbones())[name].at_hand == "package" for name in BACKBONES)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert all(by_name(list_backbones())[name].at_hand is None for name in BACKBONES)


def test_conversions_are_at_hand():
    assert "own_net" not in by_name(list_backbones())
    keep_conversion(conversion("own_net", "hub"))
    keep_conversion(conversion("from_file", "file", licence="unknown"))
    entries = by_name(list_backbones())
    own = entries["own_net"]
    assert (own.at_hand, own.parameters, own.size) == ("converted", 12_345, 96)
    assert (own.licence, own.dimensions) == ("mit", {"final": 8, "all": 12})
    assert entries["from_file"].at_hand == "file"
    assert [entry.name for entry in list_backbones("own_*")] == ["own_net"]


@pytest.mark.parametrize("first", ["hub", "file"])
def test_a_conversion_of_the_hubs_weights_goes_before_one_of_a_file(first):
    kinds = [conversion("own_net", "hub", "ab" * 32), conversion("own_net", "file", "ef" * 32)]
    for backbone in kinds if first == "hub" else reversed(kinds):
        keep_conversion(backbone)
    assert by_name(list_backbones())["own_net"].at_hand == "converted"


def test_what_open_backbone_would_not_open_is_not_at_hand():
    keep_conversion(conversion("own_random", "random"))
    keep_conversion(conversion("own_old", "hub"))
    keep_conversion(conversion("own_lost", "hub"))
    keep_conversion(conversion("own_cut", "hub"))
    folder = cache_folder() / "graphs"
    for path in folder.glob("own_old-*"):  # made by other code
        path.rename(path.with_name(path.name[: -len(path.suffix) - 12] + "0" * 12 + path.suffix))
    next(folder.glob("own_lost-*.onnx")).unlink()
    next(folder.glob("own_cut-*.json")).write_text('{"info": []}')
    assert not {name for name in by_name(list_backbones()) if name.startswith("own_")}


@needs_timm
def test_weights_in_the_hubs_cache_are_at_hand(tmp_path):
    snapshot = tmp_path / "hub" / "models--timm--resnet18.a1_in1k" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    broken = snapshot / "model.safetensors"
    broken.symlink_to(tmp_path / "a blob that never came")
    assert by_name(list_backbones())["resnet18.a1_in1k"].at_hand is None
    broken.unlink()
    (snapshot / "model.safetensors").write_bytes(b"weights")
    found = [entry.name for entry in list_backbones("resnet*") if entry.at_hand]
    assert found == ["resnet18.a1_in1k"]


def test_where_the_hubs_cache_lies(tmp_path):
    """As huggingface_hub has it, which reads the environment when it is imported."""
    pytest.importorskip("huggingface_hub", reason="no huggingface_hub; it comes with timm")
    code = """
import sys, pathlib
from huggingface_hub.constants import HF_HUB_CACHE
from tellapart.model.catalogue import _hub_cache
file = pathlib.Path(HF_HUB_CACHE, 'models--a--b', 'snapshots', '0', 'model.safetensors')
file.parent.mkdir(parents=True)
file.touch()
print(_hub_cache())"""
    for chosen in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"):
        environment = {"HOME": str(tmp_path / "home"), chosen: str(tmp_path / chosen)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert done.stdout == "{'models--a--b'}\n", (chosen, done.stderr)


# Without timm.


def test_without_timm_it_is_what_can_be_had_and_the_presets(tmp_path):
    keep_conversion(conversion("own_net", "hub"))
    code = """
import json, sys
from tellapart import list_backbones
for pattern in (None, "*", "resnet*"):
    print(json.dumps([entry.name for entry in list_backbones(pattern)]))"""
    done = subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True)
    default, everything, resnets = map(json.loads, done.stdout.splitlines())
    assert default == everything == [*(p.backbone for p in PRESETS.values()), "own_net"]
    assert resnets == []


def test_the_short_selection_imports_no_timm():
    code = "from tellapart import list_backbones\nlist_backbones()\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"timm", "torch", "onnxruntime", "huggingface_hub"} & set(done.stdout.split())


def test_an_entry_is_a_value():
    entry = next(iter(KNOWN.values()))
    assert replace(entry) == entry
    assert json.loads(json.dumps(entry.to_json()))["dimensions"] == entry.dimensions
    assert BackboneEntry(**entry.to_json()) == entry
