"""`tellapart train`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from tellapart.cli.messages import progress_bars, say
from tellapart.cli.options import Backbone, Json, Quiet, Runtime, Seed, Workers

if TYPE_CHECKING:
    from tellapart.training.run import Run

__all__ = ["show_run", "train"]

_MOST_FAILURES = 20


def train(
    data: Annotated[
        Path, typer.Argument(help="A folder with a subfolder per class, or a CSV file.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The run folder; by default runs/NAME-OF-DATA.")
    ] = None,
    backbone: Backbone = "tf_efficientnet_lite0",
    weights: Annotated[
        Path | None,
        typer.Option(help="A file of weights for it: .safetensors, or .pth with tensors alone."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side in px that the network sees; its own by default.")
    ] = None,
    fit: Annotated[
        str | None, typer.Option(help="How a picture becomes square: crop, pad or squish.")
    ] = None,
    valid: Annotated[
        float, typer.Option(help="Share set aside for validation where no split is given.")
    ] = 0.2,
    train_dir: Annotated[
        str | None, typer.Option(help="Name of the training folder in DATA, if unusual.")
    ] = None,
    valid_dir: Annotated[str | None, typer.Option(help="Name of the validation folder.")] = None,
    test_dir: Annotated[str | None, typer.Option(help="Name of the test folder.")] = None,
    class_weight: Annotated[
        str, typer.Option(help="Make every class count the same: auto, balanced or none.")
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run of other options or data.")
    ] = False,
    seed: Seed = 0,
    runtime: Runtime = "onnxruntime",
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a classifier on a folder of pictures and measure it honestly.

    Every picture goes through the network once; its features are kept, so the second time takes
    seconds. Copies of one picture never stand on both sides of a split.

    Examples:

        tellapart train photos

        tellapart train photos --out runs/padded --fit pad

        tellapart train cleaned.csv --valid 0.25 --seed 7

        tellapart train photos --backbone densenet169 --weights densenet169.safetensors
    """
    from tellapart.training.train import TrainOptions
    from tellapart.training.train import train as train_run

    options = TrainOptions(
        backbone, None if weights is None else str(weights), size, fit, valid, seed, class_weight, runtime,  # type: ignore[arg-type]
        train_dir, valid_dir, test_dir,
    )  # fmt: skip
    with progress_bars(quiet) as progress:
        run = train_run(data, out, options, overwrite=overwrite, workers=workers, progress=progress)
    show_run(run, json=json, quiet=quiet)
    raise typer.Exit(3 if run.failures else 0)


def show_run(run: "Run", *, json: bool, quiet: bool) -> None:
    """The run's figures on standard output; notes, losses and the next step on standard error."""
    if json:
        from json import dumps

        typer.echo(dumps({"run": str(run.folder), **run.info}))
    else:
        from tellapart.cli.tables import print_run

        print_run(run)
    if quiet:
        return
    for note in run.notes:
        say(f"Note: {note}.")
    if run.failures:
        say(f"{len(run.failures)} inputs could not be used (all in {run.folder}/failures.csv):")
        for failure in run.failures[:_MOST_FAILURES]:
            say(f"  {failure}")
    say(f"The run is in {run.folder}. Next: tellapart predict {quote(str(run.folder))} PICTURE")
