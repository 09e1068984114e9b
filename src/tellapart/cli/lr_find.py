"""`tellapart lr-find`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tellapart.cli.messages import progress_bars, say
from tellapart.cli.options import Json, Quiet, Seed, Workers
from tellapart.errors import UsageError

__all__ = ["lr_find"]


def lr_find(
    run: Annotated[Path, typer.Argument(help="A run folder with validation pictures.")],
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curve there: .png or .svg; by default in RUN.")
    ] = None,
    unfreeze: Annotated[
        str, typer.Option(help="How many layer groups learn: all, last or a number.")
    ] = "all",
    batch: Annotated[int, typer.Option(min=2, help="Pictures in a step.")] = 16,
    steps: Annotated[int, typer.Option(min=20, help="Rates in a sweep.")] = 60,
    restarts: Annotated[int, typer.Option(min=1, help="Sweeps.")] = 3,
    start: Annotated[
        str | None,
        typer.Option("--from", help="The stage to begin with; stage-1 is the run itself."),
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find a learning rate for finetune: train at rising rates, and see where the loss falls.

    Nothing of the run is changed. Where the curve says nothing, so does the command, with the reason.
    Needs the extra finetune.

    Examples:

        tellapart lr-find runs/mine

        tellapart lr-find runs/mine --unfreeze last --plot rates.svg
    """
    from tellapart.data.cpus import cpu_count
    from tellapart.finetuning.finetune_options import FinetuneOptions
    from tellapart.finetuning.lr_find import lr_find as find
    from tellapart.finetuning.lr_finder_plot import plot as draw

    file = plot or run / "lr_find.png"
    if file.suffix.lower() not in (".png", ".svg") or not file.absolute().parent.is_dir():
        raise UsageError(f"--plot {file}: expected a .png or .svg file in a folder that is there")
    options = FinetuneOptions(unfreeze=unfreeze, batch=batch, seed=seed)
    with progress_bars(quiet) as progress:
        found, suggestions = find(
            run, options, start=start, steps=steps, restarts=restarts,
            workers=workers or cpu_count(), progress=progress,
        )  # fmt: skip
    draw(found, suggestions, file)
    if json:
        from json import dumps

        typer.echo(dumps({**asdict(suggestions), "pair": suggestions.pair, "plot": str(file)}))
    else:
        for name in ("valley", "steep", "slide", "minimum"):
            rate = getattr(suggestions, name)
            typer.echo(f"{name:>8}  {'–' if rate is None else f'{rate:.2e}'}")
        typer.echo(suggestions.sentence())
    if not quiet:
        say(f"The curve is drawn in {file}.")
