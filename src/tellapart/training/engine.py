"""Engines: where the pictures of a job are looked at. This machine by default, or a cluster.

An engine turns pictures into features, and looks up which of very many are near each other. It changes
nothing else of a job, so all that is computed from features, every check and every metric, is the same
code on the same numbers. Engines stand in a
table by name and are imported when they are asked for: what needs Ray lies on a floor above.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from tellapart.data.copies.search import Search, search_rows
from tellapart.errors import UsageError
from tellapart.training.embed import Embedder, Features, Progress, embed

__all__ = ["ENGINES", "Engine", "LocalEngine", "open_engine"]


class Engine(Protocol):
    """What looks at the pictures of a job."""

    def embed(
        self,
        root: Path,
        paths: Sequence[str],
        embedder: Embedder,
        *,
        progress: Progress | None = None,
    ) -> Features:
        """As `tellapart.training.embed.embed`: the features of the pictures at `paths` below `root`."""
        ...

    def copy_search(
        self, root: Path, paths: Sequence[str], embedder: Embedder, features: Features
    ) -> Search:
        """How the nearest of these pictures are found among those that could be embedded (data/copies)."""
        ...


@dataclass(frozen=True)
class LocalEngine:
    """This machine."""

    def embed(
        self,
        root: Path,
        paths: Sequence[str],
        embedder: Embedder,
        *,
        progress: Progress | None = None,
    ) -> Features:
        return embed(root, paths, embedder, progress=progress)

    def copy_search(
        self, root: Path, paths: Sequence[str], embedder: Embedder, features: Features
    ) -> Search:
        return search_rows


ENGINES: Final[Mapping[str, str]] = MappingProxyType(
    {"local": f"{__name__}:LocalEngine", "ray": "tellapart.scale.engine:RayEngine"}
)
"""By name: the module and the class of each engine."""


def open_engine(
    engine: str | Engine = "local",
    *,
    address: str | None = None,
    workers: int | None = None,
    store: str | None = None,
) -> Engine:
    """An engine by its name, or as given.

    `address`, `workers` and `store` are those of `ray` (see `tellapart.scale.engine.RayEngine`); locally
    the workers are the embedder's own. Raises UsageError for an unknown engine and for an address that
    belongs to none, MissingExtra where it is not installed.

    >>> open_engine()
    LocalEngine()
    """
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r} is unknown; choose from {', '.join(ENGINES)}")
    module, _, name = ENGINES[engine].partition(":")
    kind = getattr(import_module(module), name)
    if engine != "local":
        made: Engine = kind(address, workers, store)
        return made
    if address is not None or store is not None:
        raise UsageError("an address and a store belong to the engine ray; add --engine ray")
    return LocalEngine()
