"""`tellapart backbones`."""

import sys
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from tellapart.cli.messages import say
from tellapart.cli.options import Json, Quiet
from tellapart.data.plain_text import plain
from tellapart.errors import UsageError

if TYPE_CHECKING:
    from tellapart.model.catalogue import BackboneEntry

__all__ = ["backbones"]


def backbones(
    pattern: Annotated[
        str | None,
        typer.Argument(help="A shell wildcard over all names, such as 'convnext*'; quote it."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All pretrained models of timm's.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the networks to train on, and which are at hand without a download.

    By default the embedded ones, those of the presets, those in the cache, and some well-known ones.
    A pattern or --all lists every model that timm has weights for. Nothing is asked of the network.

    On a terminal it is a table; in a pipe the columns are name, parameters, size in px, length of the
    final vector, length of all features, licence, preset, at hand, source, with tabs between them.

    Examples:

        tellapart backbones

        tellapart backbones 'convnext*'

        tellapart backbones --all | cut -f1
    """
    from tellapart.model.catalogue import TIMM_MODELS, can_convert, list_backbones

    entries = list_backbones("*" if everything and pattern is None else pattern)
    timm, more = can_convert(), f"about {TIMM_MODELS:,} more"
    install = f'pip install "tellapart[finetune]" gives {more}, those of timm.'
    if not entries:
        hint = f"try {quote(f'*{pattern}*')}, or --all" if timm else install
        raise UsageError(f"no backbone is called {pattern!r}; {hint}")
    if json:
        from json import dumps

        for entry in entries:
            typer.echo(dumps(entry.to_json()))
    elif sys.stdout.isatty():
        from tellapart.cli.tables import print_backbones

        print_backbones(entries)
    else:
        for entry in entries:
            typer.echo("\t".join(plain(cell) for cell in _columns(entry)))
    if not quiet and not timm:
        say(install)
    elif not quiet and pattern is None and not everything:
        say(f"timm has {more}: tellapart backbones 'convnext*', or --all.")


def _columns(entry: "BackboneEntry") -> list[str]:
    """As the help says; what is not known is a dash."""
    lengths = entry.dimensions or {}
    cells = (
        entry.name, entry.parameters, entry.size, lengths.get("final"), lengths.get("all"),
        entry.licence, entry.preset, entry.at_hand, entry.source,
    )  # fmt: skip
    return ["-" if cell is None else str(cell) for cell in cells]
