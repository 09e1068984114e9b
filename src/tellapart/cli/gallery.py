"""`tellapart gallery`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tellapart.cli.messages import progress_bars, say
from tellapart.cli.options import Quiet, Seed, Workers

__all__ = ["gallery"]


def gallery(
    out: Annotated[Path, typer.Argument(help="The folder to draw into; new or empty.")],
    per_class: Annotated[int, typer.Option(min=1, help="Pictures per class.")] = 120,
    faults: Annotated[
        bool, typer.Option("--faults", help="Plant known faults and list them in faults.csv.")
    ] = False,
    valid: Annotated[
        float | None, typer.Option(help="Share for a validation folder; with --faults 0.2.")
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Draw a data set to try things on: five kinds of art, nothing downloaded.

    Examples:

        tellapart gallery art

        tellapart gallery faulty --faults --per-class 60
    """
    from tellapart.data.gallery import draw_gallery

    with progress_bars(quiet) as progress:
        summary = draw_gallery(
            out, per_class, seed, faults=faults, valid=valid, workers=workers,
            progress=partial(progress, "draw"),
        )  # fmt: skip
    if not quiet:
        say(f"{sum(summary.counts.values())} pictures in {out}. Next: tellapart train {out}")
