"""Backbones by name: the embedded ones, and any of timm's, converted once.

An embedded graph is built from the weights in its package. Any other is looked for among the kept
conversions; only where it is not there is it converted, which needs torch and timm. So the floor
`finetuning`, which lies above, is called here by its name, and nothing of it is imported.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from tellapart.errors import MissingExtra, ModelError, TellapartError, UsageError, WeightsError
from tellapart.model.backbone import Backbone, BackboneInfo, dimensions_of
from tellapart.model.embedded import BACKBONES, PACKAGES, embedded_weights
from tellapart.model.graph_cache import (
    find_graph,
    graph_key,
    kept_facts,
    read_graph,
    write_graph,
)

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneInfo",
    "cache_folder",
    "keep_conversion",
    "kept_conversions",
    "open_backbone",
    "open_embedded",
    "reopen_backbone",
    "weights_file_hash",
]

_SOURCE = Path(__file__).parents[1]
_MAPS = _SOURCE / "model" / "maps.py"
_EMBEDDED_BUILDER = (_SOURCE / "model" / "efficientnet_lite.py", _MAPS)
_CONVERTER = (
    *(
        _SOURCE / "finetuning" / name
        for name in ("network.py", "weight_files.py", "final_rule.py", "convert.py")
    ),
    _MAPS,
)
_CONVERTING = {"torch", "torchvision", "timm"}


def cache_folder() -> Path:
    """Where graphs and features are kept: `TELLAPART_CACHE`, else XDG's cache folder."""
    if chosen := os.environ.get("TELLAPART_CACHE"):
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tellapart"


def open_backbone(name: str, weights: str | Path | None = None) -> Backbone:
    """The backbone of that name, with its own weights or those in the file `weights`.

    Names are the embedded ones (`BACKBONES`) and timm's. The latter's own weights come from the
    Hugging Face hub; they are converted once and open without torch from then on.

    Raises UsageError for an unknown name, MissingExtra where a package is not installed, and
    WeightsError where the weights cannot be had or do not fit.

    >>> open_backbone("tf_efficientnet_lite0").dimensions["final"]
    1280
    """
    if name in BACKBONES and weights is None:
        return open_embedded(name)
    _check_name(name)
    file = None if weights is None else Path(weights)
    return _kept_conversion(name, file) or _convert(name, file)


def reopen_backbone(facts: Mapping[str, Any], weights: str | None = None) -> Backbone:
    """The very backbone of a run: `facts` is `backbone` in its run.json, `weights` its option.

    Raises ModelError, with the next step, where the graph is gone and cannot be made again.
    """
    name, wanted = facts["name"], facts["graph_sha256"]
    _check_name(name)
    if kept := find_graph(_graphs(), name, lambda _, graph_sha256: graph_sha256 == wanted):
        return kept
    try:
        backbone = open_backbone(name, weights)
    except TellapartError as error:
        if name in BACKBONES and weights is None:
            raise
        raise ModelError(
            f"the converted backbone {name} of this run is no longer in {_graphs()}, and converting "
            f"it again failed: {error} It needs the weights whose SHA-256 begins with "
            f"{facts['weights_sha256'][:12]}; put the file back, or train again."
        ) from error
    if backbone.graph_hash != wanted:
        raise ModelError(
            f"the run was trained on another graph of {name} than this version of tellapart, or of "
            "the weights, gives, so its answers would differ. Train again."
        )
    return backbone


def _check_name(name: str) -> None:
    """A name becomes a part of a file's name, so that it may hold no separator."""
    if not re.fullmatch(r"[A-Za-z0-9_.]+", name):
        raise UsageError(
            f"backbone {name!r} is unknown; use {', '.join(BACKBONES)} or a name of timm's, "
            "such as resnet18"
        )


@cache
def open_embedded(name: str) -> Backbone:
    """One of `BACKBONES`, its graph built from the weights in its package, once."""
    info = BACKBONES[name]
    key = graph_key(name, info.weights_sha256, _EMBEDDED_BUILDER)
    if (kept := read_graph(_graphs(), key)) is not None:
        return replace(kept, info=info)
    backbone = _build(info)
    write_graph(_graphs(), key, backbone)
    return backbone


def _build(info: BackboneInfo) -> Backbone:
    try:
        from tellapart.model.efficientnet_lite import build_efficientnet_lite, feature_layout
    except ImportError:
        raise MissingExtra("building a backbone's graph", "train") from None
    tensors, depth = embedded_weights(info.name), PACKAGES[info.name].depth
    graph = build_efficientnet_lite(tensors, depth).SerializeToString(deterministic=True)
    sha256 = hashlib.sha256(graph).hexdigest()
    return Backbone(info, graph, sha256, feature_layout(tensors, depth))


def keep_conversion(backbone: Backbone) -> None:
    """Put a converted backbone where `open_backbone` finds it."""
    key = graph_key(backbone.info.name, backbone.info.weights_sha256, _CONVERTER)
    write_graph(_graphs(), key, backbone)


def kept_conversions() -> Iterator[tuple[BackboneInfo, dict[str, int]]]:
    """The conversions that `open_backbone` finds, with their dimensions, the newest first."""
    for info, layout in kept_facts(_graphs(), _converter_code()):
        if info.origin in ("hub", "file"):
            yield info, dimensions_of(layout)


def _kept_conversion(name: str, weights: Path | None) -> Backbone | None:
    """By the file's hash, or without a file the one that was made from the hub's weights."""
    if weights is not None:
        return read_graph(_graphs(), graph_key(name, weights_file_hash(weights), _CONVERTER))
    return find_graph(
        _graphs(),
        name,
        lambda info, _: (info.name, info.origin) == (name, "hub"),
        _converter_code(),
    )


def _converter_code() -> str:
    """The part of a key that changes with the source files that convert."""
    return graph_key("", "", _CONVERTER).rpartition("-")[2]


def _convert(name: str, weights: Path | None) -> Backbone:
    try:
        converter = import_module("tellapart.finetuning.convert")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _CONVERTING:
            raise
        raise MissingExtra(
            f"converting the backbone {name} (embedded are {' and '.join(BACKBONES)})", "finetune"
        ) from None
    backbone: Backbone = converter.convert(name, weights)
    return backbone


def weights_file_hash(path: Path) -> str:
    """SHA-256 of the file, 64 hexadecimal digits; raises WeightsError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read ({error.strerror}); is the path right?"
        ) from None


def _graphs() -> Path:
    return cache_folder() / "graphs"
