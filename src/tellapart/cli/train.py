"""`tellapart train`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from tellapart.cli.messages import progress_bars, row_printer, say
from tellapart.cli.options import (
    Address,
    Backbone,
    Engine,
    Json,
    Preset,
    Quiet,
    Runtime,
    Seed,
    Store,
    TestDir,
    TrainDir,
    ValidDir,
    Workers,
)

if TYPE_CHECKING:
    from tellapart.training.run import Run

__all__ = ["show_run", "train"]

_MOST_FAILURES = 20
_PLAIN = ("probe", None, None, None, 0, False)  # what needs no torch


def train(
    data: Annotated[
        Path, typer.Argument(help="A folder with a subfolder per class, or a CSV file.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The run folder; by default runs/NAME-OF-DATA.")
    ] = None,
    preset: Preset = "fast",
    backbone: Backbone = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A file of weights for it: .safetensors, or .pth with tensors alone."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Side in px that the network sees; by default the preset's or its own."),
    ] = None,
    fit: Annotated[
        str | None, typer.Option(help="How a picture becomes square: crop, pad or squish.")
    ] = None,
    valid: Annotated[
        float, typer.Option(help="Share set aside for validation where no split is given.")
    ] = 0.2,
    train_dir: TrainDir = None,
    valid_dir: ValidDir = None,
    test_dir: TestDir = None,
    class_weight: Annotated[
        str, typer.Option(help="Make every class count the same: auto, balanced or none.")
    ] = "auto",
    target_error: Annotated[
        str, typer.Option(help="How many of the answers called sure may be wrong, as 2% or 0.02.")
    ] = "5%",
    recipe: Annotated[
        str | None,
        typer.Option(
            help="probe: solved to its optimum; one-cycle: in epochs; auto: both, and the better one "
            "by cross-validation is kept. By default probe, with --epochs auto."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Train the head in epochs, on cached features (extra finetune)."),
    ] = None,
    lr: Annotated[
        str | None, typer.Option(help="The highest rate of one cycle; 2e-3 by default.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="linear, or hidden: 512 units with batch norm and dropout.")
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="In how many augmented views the network sees each training picture, once; by default "
            "1 for epochs, 0 for the probe (extra finetune).",
        ),
    ] = None,
    no_flip: Annotated[
        bool, typer.Option("--no-flip", help="Never mirror a picture in these views.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run of other options or data.")
    ] = False,
    seed: Seed = 0,
    runtime: Runtime = "onnxruntime",
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
    store: Store = None,
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

        tellapart train photos --preset balanced

        tellapart train photos --epochs 4 --no-flip

        tellapart train photos --backbone densenet169 --weights densenet169.safetensors

        tellapart train photos --engine ray --workers 16
    """
    from tellapart.evaluation.share import parse_share
    from tellapart.model.presets import find_preset
    from tellapart.training.train import TrainOptions
    from tellapart.training.train import train as train_run

    said = {"backbone": backbone, "size": size}
    options = TrainOptions.preset(
        preset, **{name: value for name, value in said.items() if value is not None},
        weights=None if weights is None else str(weights), fit=fit, valid=valid, seed=seed,
        class_weight=class_weight, runtime=runtime, target_error=parse_share(target_error),
        train_dir=train_dir, valid_dir=valid_dir, test_dir=test_dir,
    )  # fmt: skip
    views = find_preset(preset).views or None if views is None else views
    chosen = None
    if (recipe or "probe", epochs, lr, head, views or 0, no_flip) != _PLAIN:
        from tellapart.finetuning.one_cycle import new_recipe

        chosen = new_recipe(
            recipe, epochs=epochs, lr=lr, head=head, views=views, no_flip=no_flip, seed=seed
        )
    with progress_bars(quiet) as progress:
        run = train_run(
            data, out, options, recipe=chosen, overwrite=overwrite, workers=workers,
            engine=engine, address=address, store=store, progress=progress,
            on_epoch=row_printer(show=not json and not quiet),
        )  # fmt: skip
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
