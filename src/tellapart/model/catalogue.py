"""Which backbones there are, and which of them are at hand. Nothing here asks the network.

Embedded ones, those of the presets, those that were converted and kept, a few that are well known,
and on request all that timm has weights for. What timm knows is asked of the floor `finetuning`, by
name, since importing timm takes seconds.
"""

import importlib.util
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from tellapart.model.backbones import kept_conversions
from tellapart.model.embedded import BACKBONES, PACKAGES
from tellapart.model.presets import PRESETS

__all__ = ["KNOWN", "TIMM_MODELS", "AtHand", "BackboneEntry", "can_convert", "list_backbones"]

AtHand = Literal["package", "converted", "file", "hub cache"]

TIMM_MODELS: Final = 1_800
"""About so many pretrained models are in timm."""

_CONVERTING = ("torch", "torchvision", "timm")
_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".npz")


@dataclass(frozen=True)
class BackboneEntry:
    """What is known of a backbone without opening it; None stands for what is not known.

    `parameters` counts the trainable numbers without the classifier, `size` is the side of its
    pictures in px, `dimensions` are the lengths of a feature vector (`final`, `all`), `source` says
    where the weights come from, for most a repository of the Hugging Face hub. `preset` is the preset
    that takes it. `at_hand` says where the weights lie if nothing needs to be downloaded: in an
    installed `package`, `converted` in the cache, converted from a `file` (which `--weights` has to
    name), or in the `hub cache` on this disk.
    """

    name: str
    parameters: int | None
    size: int | None
    dimensions: dict[str, int] | None
    licence: str
    source: str
    preset: str | None = None
    at_hand: AtHand | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _known(
    name: str, parameters: int, size: int, final: int, whole: int, licence: str = "apache-2.0"
) -> BackboneEntry:
    own = BACKBONES.get(name)
    licence, source = (own.licence, own.source) if own else (licence, f"timm/{name}")
    return BackboneEntry(name, parameters, size, {"final": final, "all": whole}, licence, source)


KNOWN: Final[Mapping[str, BackboneEntry]] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            _known("tf_efficientnet_lite0", 3_371_008, 224, 1280, 2848),
            _known("tf_efficientnet_lite2", 4_811_072, 260, 1280, 2992),
            _known("convnext_base.clip_laion2b_augreg_ft_in12k", 87_566_464, 256, 1024, 4864),
            _known("convnext_small.in12k", 49_454_688, 224, 768, 3648),
            _known("convnext_tiny.in12k", 27_820_128, 224, 768, 3648),
            _known("caformer_s18.sail_in22k", 23_237_936, 224, 512, 2560),
            _known("densenet169.tv_in1k", 12_484_480, 224, 1664, 9216),
            _known("efficientnet_b0.ra_in1k", 4_007_548, 224, 1280, 2848),
            _known("mobilenetv3_large_100.ra_in1k", 4_202_032, 224, 1280, 4064),
            _known("resnet18.a1_in1k", 11_176_512, 224, 512, 2560),
            _known("resnet34.a1_in1k", 21_284_672, 224, 512, 2560),
            _known("resnet50.a1_in1k", 23_508_032, 224, 2048, 9856),
            _known("swin_tiny_patch4_window7_224.ms_in22k", 27_519_354, 224, 768, 3648, "mit"),
            _known("vit_base_patch16_clip_224.laion2b", 85_799_424, 224, 768, 6912),
            _known("vit_base_patch16_siglip_224.v2_webli", 92_884_224, 224, 768, 6912),
            _known("vit_small_patch14_dinov2.lvd142m", 22_056_192, 518, 384, 3456),
            _known("vit_small_patch16_224.augreg_in21k", 21_665_664, 224, 384, 3456),
        )
    }
)
"""The embedded ones, those of the presets, and some well-known ones whose weights are free to use."""


def can_convert() -> bool:
    """Whether the extra `finetune` is there, without importing any of it."""
    return all(importlib.util.find_spec(name) is not None for name in _CONVERTING)


def list_backbones(pattern: str | None = None) -> list[BackboneEntry]:
    """The backbones whose name fits the shell wildcard; without one a short selection.

    A pattern is held against all of timm's pretrained models, where timm is installed, with the tag
    of their weights and without it; `"*"` gives all. Without timm there are the embedded ones, those
    of the presets, and those that were converted and kept. Presets come first, then what is at hand,
    then the rest by name. The network is never asked.

    >>> [entry.name for entry in list_backbones("tf_efficientnet_lite?") if entry.preset]
    ['tf_efficientnet_lite0', 'tf_efficientnet_lite2']
    """
    there = can_convert()
    entries: dict[str, BackboneEntry] = {}
    if there and pattern is not None:
        timm_models = import_module("tellapart.finetuning.timm_models")
        entries |= {entry.name: entry for entry in timm_models.pretrained_entries()}
    presets = {preset.backbone: name for name, preset in PRESETS.items()}
    entries |= {n: entry for n, entry in KNOWN.items() if there or n in BACKBONES or n in presets}
    entries = {entry.name: entry for entry in _with_places(entries.values())}
    for entry in _converted():
        known = entries.get(entry.name)
        if known is None or known.at_hand is None or entry.at_hand != "file":
            entries[entry.name] = entry
    found = [
        replace(entry, preset=presets.get(entry.name))
        for entry in entries.values()
        if pattern is None or _fits(entry.name, pattern)
    ]
    return sorted(found, key=_rank)


def _converted() -> list[BackboneEntry]:
    """The kept conversions, one for each name; one of the hub's weights before one of a file's."""
    entries: dict[str, BackboneEntry] = {}
    for info, dimensions in kept_conversions():
        place: AtHand = "converted" if info.origin == "hub" else "file"
        if info.name not in entries or entries[info.name].at_hand == "file":
            entries[info.name] = BackboneEntry(
                info.name, info.parameters, info.preprocess.size, dimensions, info.licence,
                info.source, at_hand=place,
            )  # fmt: skip
    return list(entries.values())


def _with_places(entries: Iterable[BackboneEntry]) -> Iterable[BackboneEntry]:
    cached = _hub_cache()
    for entry in entries:
        if entry.name in PACKAGES:
            installed = importlib.util.find_spec(PACKAGES[entry.name].package) is not None
            yield replace(entry, at_hand="package" if installed else None)
        else:
            folder = "models--" + entry.source.replace("/", "--")
            yield replace(entry, at_hand="hub cache" if folder in cached else None)


def _hub_cache() -> set[str]:
    """The names of the folders in the Hugging Face hub's cache that hold weights."""
    environment = os.environ
    home = environment.get("HF_HOME") or Path(
        environment.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    folder = (
        environment.get("HF_HUB_CACHE")
        or environment.get("HUGGINGFACE_HUB_CACHE")
        or Path(home, "hub")
    )
    files = Path(folder).expanduser().glob("models--*/snapshots/*/*")
    return {path.parents[2].name for path in files if path.suffix in _WEIGHTS and path.exists()}


def _fits(name: str, pattern: str) -> bool:
    """With the tag of the weights, as in `resnet50.a1_in1k`, or without it."""
    wanted, given = pattern.lower(), name.lower()
    return fnmatchcase(given, wanted) or fnmatchcase(given.partition(".")[0], wanted)


def _rank(entry: BackboneEntry) -> tuple[int, bool, list[str | int]]:
    place = list(PRESETS).index(entry.preset) if entry.preset else len(PRESETS)
    parts = re.split(r"(\d+)", entry.name)  # so that resnet50 comes before resnet101
    return place, entry.at_hand is None, [int(p) if i % 2 else p for i, p in enumerate(parts)]
