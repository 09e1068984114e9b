"""`tellapart report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tellapart.cli.messages import progress_bars, say
from tellapart.cli.options import Json, Quiet, Workers

if TYPE_CHECKING:
    from tellapart.reporting.report import Report

__all__ = ["report"]

_MOST_NAMED = 20


def report(
    run: Annotated[Path, typer.Argument(help="A run folder, or that of a fine-tuned stage.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page; by default RUN/report.html.")
    ] = None,
    no_check: Annotated[
        bool,
        typer.Option("--no-check", help="Leave out the check of the pictures; it takes longest."),
    ] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """One page that says what a run is worth: for a colleague, or to print.

    Figures with their intervals, what is confused and what the network looked at, when to believe it, what
    the check found, the pictures, how it was trained, and how to do it again. The page is one file,
    loads nothing and runs no script. Where pictures are gone it is made all the same, with status 3.

    Examples:

        tellapart report runs/photos

        tellapart report runs/photos --out photos.html --open

        tellapart report runs/photos/stages/stage-2 --no-check
    """
    from tellapart.reporting.report import report as make

    with progress_bars(quiet) as progress:
        made = make(
            run, out or run / "report.html", check=not no_check, workers=workers, progress=progress
        )
    _show(made, json=json, quiet=quiet)
    if show and made.file is not None:
        import webbrowser

        webbrowser.open(made.file.resolve().as_uri())
    raise typer.Exit(3 if made.failures else 0)


def _show(made: "Report", *, json: bool, quiet: bool) -> None:
    """The file on standard output, with its verdict; what is missing on standard error."""
    if json:
        from json import dumps

        typer.echo(dumps(made.to_json()))
    else:
        typer.echo(str(made.file))
    if quiet:
        return
    say(f"{made.verdict.headline}: {made.verdict.main.metrics.sentence()}.")
    for caution in made.verdict.cautions:
        say(f"Note: {caution.sentence}")
    for note in made.notes:
        say(f"Note: {note.rstrip('.')}.")
    if made.failures:
        say(f"{len(made.failures)} pictures could not be read:")
        for failure in made.failures[:_MOST_NAMED]:
            say(f"  {failure}")
