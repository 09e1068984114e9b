"""Presets: what each stands for, and what goes before them."""

from pathlib import Path

import pytest

from tellapart.errors import UsageError
from tellapart.model.catalogue import KNOWN
from tellapart.model.embedded import BACKBONES
from tellapart.model.presets import PRESETS, find_preset
from tellapart.training.train import TrainOptions

PERMISSIVE = {"apache-2.0", "mit", "bsd-3-clause"}


def test_the_default_is_the_fast_preset():
    assert TrainOptions.preset("fast") == TrainOptions()


def test_each_step_is_a_larger_network_with_free_weights():
    assert list(PRESETS) == ["fast", "balanced", "best"]
    entries = [KNOWN[preset.backbone] for preset in PRESETS.values()]
    parameters = [entry.parameters or 0 for entry in entries]
    assert parameters == sorted(set(parameters))
    assert {entry.licence.lower() for entry in entries} <= PERMISSIVE
    assert [entry.name in BACKBONES for entry in entries] == [True, True, False]
    assert all(preset.why for preset in PRESETS.values())


def test_what_is_said_goes_before_the_preset():
    options = TrainOptions.preset("balanced", seed=7)
    assert (options.backbone, options.size, options.seed) == ("tf_efficientnet_lite2", None, 7)
    options = TrainOptions.preset("best", backbone="resnet18", size=192)
    assert (options.backbone, options.size) == ("resnet18", 192)


@pytest.mark.parametrize("name", ["", "Fast", "bestest", "../fast", "fast\n"])
def test_an_unknown_preset(name):
    with pytest.raises(UsageError, match="choose from fast, balanced, best"):
        find_preset(name)


def test_presets_cannot_be_changed():
    with pytest.raises(TypeError):
        PRESETS["fast"] = PRESETS["best"]  # type: ignore[index]


def test_the_manual_names_what_each_preset_takes():
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text("utf-8")
    for name, preset in PRESETS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        entry = KNOWN[preset.backbone]
        assert f"`{preset.backbone}`" in row
        assert f"{preset.size or entry.size} px" in row
        assert entry.licence.lower() in row.lower()


def test_timms_licences_of_the_presets_are_permissive():
    """Of the weights themselves, as the installed timm has it."""
    timm = pytest.importorskip("timm", reason="no timm; it comes with the extra 'finetune'")
    for preset in PRESETS.values():
        assert timm.get_pretrained_cfg(preset.backbone).license in PERMISSIVE


@pytest.mark.slow
def test_the_best_preset_converts_and_takes_any_size():
    pytest.importorskip("torch", reason="no torch; it comes with the extra 'finetune'")
    from tellapart.finetuning.convert import as_backbone
    from tellapart.finetuning.network import load_network

    name = PRESETS["best"].backbone
    backbone = as_backbone(load_network(name, pretrained=False))
    assert backbone.info.any_size
    assert backbone.dimensions == KNOWN[name].dimensions
