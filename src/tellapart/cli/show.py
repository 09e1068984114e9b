"""`tellapart show`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tellapart.cli.messages import say
from tellapart.cli.options import Quiet, Seed, TestDir, TrainDir, ValidDir, Workers
from tellapart.errors import UsageError

__all__ = ["show"]


def show(
    data: Annotated[
        Path, typer.Argument(help="A folder with a subfolder per class, or a CSV file.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The picture: .png, .svg or .pdf; by default sheets/NAME-OF-DATA.png.",
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=40, help="Rows of pictures.")] = 3,
    columns: Annotated[
        int | None,
        typer.Option(min=1, max=24, help="Columns; by default as many as go with the classes."),
    ] = None,
    counts: Annotated[
        bool, typer.Option("--counts", help="Draw how many pictures each class has, by split.")
    ] = False,
    augmented: Annotated[
        bool,
        typer.Option(
            "--augmented",
            help="A picture per row, as it is and as training would change it (extra finetune).",
        ),
    ] = False,
    fit: Annotated[
        str | None, typer.Option(help="How a picture becomes square: crop, pad or squish.")
    ] = None,
    train_dir: TrainDir = None,
    valid_dir: ValidDir = None,
    test_dir: TestDir = None,
    seed: Seed = 0,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Draw a sheet of pictures of every class, as the network sees them.

    Prints the name of the file. A picture that cannot be read leaves an empty place and is named; the
    exit status is 3 then. Another --seed shows other pictures.

    Examples:

        tellapart show photos

        tellapart show photos -o sheet.pdf --rows 5 --seed 1

        tellapart show photos --counts

        tellapart show photos --augmented --rows 4
    """
    from tellapart.reporting.figure_file import check_figure_file, save_figure
    from tellapart.training.train import TrainOptions, open_dataset

    if counts and augmented:
        raise UsageError("--counts and --augmented exclude each other: choose one")
    file = out or _default_file(data, "counts" if counts else "augmented" if augmented else "")
    check_figure_file(file, data)
    options = TrainOptions(train_dir=train_dir, valid_dir=valid_dir, test_dir=test_dir)
    dataset = open_dataset(data, options)
    check_figure_file(file, dataset=dataset)
    failures = dataset.failures
    if counts:
        from tellapart.reporting.counts_plot import plot_counts

        figure = plot_counts(dataset)
    else:
        from tellapart.reporting import sheet as sheets

        sheet = sheets.show(
            dataset, rows, columns, seed=seed, transforms=_transforms() if augmented else None,
            preprocess=_preprocess(fit), workers=workers,
        )  # fmt: skip
        figure, failures = sheet.plot(), (*failures, *sheet.failures)
    save_figure(figure, file)
    typer.echo(str(file))
    if failures and not quiet:
        say(f"{len(failures)} pictures could not be shown:")
        for failure in failures[:20]:
            say(f"  {failure}")
    raise typer.Exit(3 if failures else 0)


def _default_file(data: Path, what: str) -> Path:
    name = data.resolve().name if data.is_dir() else data.stem or "data"
    return Path("sheets") / f"{name}{'-' if what else ''}{what}.png"


def _transforms() -> Any:
    from tellapart.finetuning.augment import Transforms

    return Transforms()


def _preprocess(fit: str | None) -> Any:
    from dataclasses import replace

    from tellapart.reporting.sheet import SEEN

    said: dict[str, Any] = {} if fit is None else {"fit": fit}
    return replace(SEEN, **said)
