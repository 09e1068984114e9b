"""Graphs that were built or converted once, kept in a folder, two files each: KEY.onnx and KEY.json.

The JSON file holds what is known of the graph and a hash over both, so that a file that was cut or
changed is no graph. Keys begin with the backbone's name, which makes the folder its own index.
"""

import glob
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tellapart.data.atomic_file import write_atomically
from tellapart.model.backbone import Backbone, BackboneInfo, Layout

__all__ = ["find_graph", "graph_key", "kept_facts", "read_graph", "write_graph"]


def graph_key(name: str, weights_sha256: str, builders: Iterable[Path]) -> str:
    """Changes with the weights and with the source files that build the graph from them."""
    code = hashlib.sha256(b"\0".join(path.read_bytes() for path in builders)).hexdigest()
    return f"{name}-{weights_sha256[:16]}-{code[:12]}"


def read_graph(folder: Path, key: str) -> Backbone | None:
    """What was kept under the key; None where there is nothing, or not what was written."""
    try:
        facts = json.loads((folder / f"{key}.json").read_text())
        graph = (folder / f"{key}.onnx").read_bytes()
        expected = facts.pop("sha256")
        if _fingerprint(graph, facts) != expected:
            return None
        info, layout = _info_and_layout(facts)
        return Backbone(info, graph, hashlib.sha256(graph).hexdigest(), layout)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def find_graph(
    folder: Path, name: str, fits: Callable[[BackboneInfo, str], bool], code: str = "*"
) -> Backbone | None:
    """The newest graph of the backbone `name` for which `fits(info, graph_sha256)` is true."""
    pattern = f"{glob.escape(name)}-{'?' * 16}-{code}.json"
    for path in sorted(folder.glob(pattern), key=_age):
        try:
            facts = json.loads(path.read_text())
            fitting = fits(BackboneInfo.from_json(facts["info"]), facts["graph_sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if fitting and (kept := read_graph(folder, path.stem)) is not None:
            return kept
    return None


def kept_facts(folder: Path, code: str) -> Iterator[tuple[BackboneInfo, Layout]]:
    """What is known of the graphs that this code made; the graphs themselves are not read."""
    for path in sorted(folder.glob(f"*-{'?' * 16}-{code}.json"), key=_age):
        try:
            facts = _info_and_layout(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if path.with_suffix(".onnx").is_file():
            yield facts


def write_graph(folder: Path, key: str, backbone: Backbone) -> None:
    """Keep it; on a full or read-only disk it is not kept and will be made again next time."""
    facts = {
        "info": backbone.info.to_json(),
        "layout": backbone.layout,
        "graph_sha256": backbone.graph_hash,
    }
    facts["sha256"] = _fingerprint(backbone.graph, facts)
    try:
        write_atomically(folder / f"{key}.onnx", backbone.graph)
        write_atomically(folder / f"{key}.json", json.dumps(facts, indent=1))
    except OSError:
        return


def _info_and_layout(facts: dict[str, Any]) -> tuple[BackboneInfo, Layout]:
    layout = tuple((str(part), int(length)) for part, length in facts["layout"])
    return BackboneInfo.from_json(facts["info"]), layout


def _fingerprint(graph: bytes, facts: dict[str, Any]) -> str:
    return hashlib.sha256(graph + json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _age(path: Path) -> float:
    """The lower, the newer."""
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0
