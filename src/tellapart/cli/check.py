"""`tellapart check`."""

from os import W_OK, access
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tellapart.cli.messages import progress_bars, say
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
from tellapart.data.places import place_name
from tellapart.errors import UsageError

if TYPE_CHECKING:
    from tellapart.audit.audit import Audit

__all__ = ["check"]


def check(
    data: Annotated[
        Path, typer.Argument(help="A folder with a subfolder per class, or a CSV file.")
    ],
    run: Annotated[
        Path | None,
        typer.Option(help="A run on these pictures: look with its network and its splits."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where findings.csv and check.html go; by default checks/NAME-OF-DATA."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Another place for the CSV file.")] = None,
    only: Annotated[
        str | None,
        typer.Option(help="The checks to run, with commas between them; all by default, and more."),
    ] = None,
    changes: Annotated[
        str,
        typer.Option(
            help="What to ask about: does it change what a picture is? flip, vertical flip, quarter turn, "
            "tilt, zoom, with commas between them; each costs a look at 300 pictures at most.",
        ),
    ] = "flip",
    train_dir: TrainDir = None,
    valid_dir: ValidDir = None,
    test_dir: TestDir = None,
    preset: Preset = "fast",
    backbone: Backbone = None,
    seed: Seed = 0,
    runtime: Runtime = "onnxruntime",
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
    store: Store = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Is this data good enough? Find odd pictures, copies, leaks, wrong labels and shortcuts.

    Nothing is changed or deleted. Every picture goes through the network once, as in train, which then
    has it already.

    Examples:

        tellapart check photos

        tellapart check cleaned.csv --out checks/cleaned

        tellapart check photos --run runs/photos

        tellapart check photos --only label_error,leak --csv findings.csv

        tellapart check scans --changes "flip, quarter turn"

    Checks: unreadable, blank, blurry, dark, light, tiny, odd_aspect, low_information, wrong_extension,
    exif_rotated, exact_duplicate, near_duplicate, leak, conflict, label_error, outlier, ambiguous, imbalance,
    tiny_class, confusable, shortcut.
    """
    from tellapart.audit.check import check as run_check
    from tellapart.training.train import TrainOptions

    if run is not None and backbone is not None:
        raise UsageError("--backbone and --run exclude each other: a run has a network of its own")
    name = data.resolve().name if data.is_dir() else place_name(data)
    folder = out or Path("checks") / (name or "data")
    table = csv or folder / "findings.csv"
    _prepare(data, folder, table)
    said = {"backbone": backbone} if backbone else {}
    options = TrainOptions.preset(
        preset, **said, seed=seed, runtime=runtime, train_dir=train_dir, valid_dir=valid_dir,
        test_dir=test_dir,
    )  # fmt: skip
    with progress_bars(quiet) as progress:
        audit = run_check(
            data, run=run, options=options, only=None if only is None else _listed(only),
            changes=_listed(changes), workers=workers, engine=engine, address=address,
            store=store, progress=progress,
        )  # fmt: skip
    audit.save(folder, csv=table)
    _show(audit, folder, table, json=json, quiet=quiet)
    raise typer.Exit(3 if audit.dataset.failures else 0)


def _listed(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _prepare(data: Path, folder: Path, table: Path) -> None:
    """Raises UsageError before anything is done where the answers could not be written."""
    if data.resolve() in (table.resolve(), (folder / "check.html").resolve()):
        raise UsageError(f"{table} is the data itself; choose another --csv or --out")
    if table.is_dir():
        raise UsageError(f"{table} is a folder; --csv takes the name of a file")
    for place in (folder, table.parent):
        there = next(parent for parent in (place, *place.absolute().parents) if parent.exists())
        if not there.is_dir() or not access(there, W_OK):
            raise UsageError(f"{place} cannot be made: {there} is no folder that you may write to")


def _show(audit: "Audit", folder: Path, table: Path, *, json: bool, quiet: bool) -> None:
    if json:
        from json import dumps

        typer.echo(dumps(audit.to_json()))
    else:
        from tellapart.cli.tables import print_audit

        print_audit(audit)
    if not quiet:
        say(f"Look at them: {folder / 'check.html'}; all of them: {table}")
