"""`tellapart check`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tellapart.cli.messages import progress_bars, say
from tellapart.cli.options import Backbone, Json, Preset, Quiet, Runtime, Seed, Workers

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
        str | None, typer.Option(help="The checks to run, separated by commas; all by default.")
    ] = None,
    train_dir: Annotated[
        str | None, typer.Option(help="Name of the training folder in DATA, if unusual.")
    ] = None,
    valid_dir: Annotated[str | None, typer.Option(help="Name of the validation folder.")] = None,
    test_dir: Annotated[str | None, typer.Option(help="Name of the test folder.")] = None,
    preset: Preset = "fast",
    backbone: Backbone = None,
    seed: Seed = 0,
    runtime: Runtime = "onnxruntime",
    workers: Workers = None,
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
    """
    from tellapart.audit.check import check as run_check
    from tellapart.training.train import TrainOptions

    said = {"backbone": backbone} if backbone else {}
    options = TrainOptions.preset(
        preset, **said, seed=seed, runtime=runtime, train_dir=train_dir, valid_dir=valid_dir,
        test_dir=test_dir,
    )  # fmt: skip
    with progress_bars(quiet) as progress:
        audit = run_check(
            data, run=run, options=options, only=None if only is None else only.split(","),
            workers=workers, progress=progress,
        )  # fmt: skip
    folder = out or Path("checks") / (data.resolve().stem or "data")
    table = csv or folder / "findings.csv"
    audit.save(folder, csv=table)
    _show(audit, folder, table, json=json, quiet=quiet)
    raise typer.Exit(3 if audit.dataset.failures else 0)


def _show(audit: "Audit", folder: Path, table: Path, *, json: bool, quiet: bool) -> None:
    if json:
        from json import dumps

        typer.echo(dumps(audit.to_json()))
    else:
        from tellapart.cli.tables import print_audit

        print_audit(audit)
    if not quiet:
        say(f"Look at them: {folder / 'check.html'}; all of them: {table}")
