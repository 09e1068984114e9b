"""The command `tellapart`. Nothing heavy is imported before a command needs it."""

import sys
import warnings
from io import TextIOWrapper
from typing import Annotated

import typer

from tellapart.cli.commands import Commands
from tellapart.cli.messages import problem, say
from tellapart.errors import MissingExtra, TellapartError, UsageError

__all__ = ["app", "main"]

app = typer.Typer(
    name="tellapart",
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help drawn by rich takes twice the time to appear
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: tellapart demo, or on your own pictures: tellapart train FOLDER",
)


def _version(wanted: bool) -> None:
    if wanted:
        from tellapart import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def tellapart(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """From a pile of images to a classifier that you can trust and ship, on a plain CPU."""


def main() -> None:
    """Run the command line. Exit status: 0 all done; 1 it could not be done; 2 wrong use; 3 done, but
    some inputs failed and are listed; 130 interrupted, what was done is kept."""
    warnings.filterwarnings("ignore", module="PIL")  # what matters of them comes back as failures
    warnings.showwarning = lambda message, *_args, **_kwargs: say(f"Note: {message}")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # file names need not be valid in any encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except TellapartError as error:
        problem(str(error))
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except ModuleNotFoundError as error:
        if (missing := MissingExtra.of(error)) is None:
            raise
        problem(str(missing))
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == 130:
            into_files = any(word.startswith("--out") for word in sys.argv[2:])
            again = [["export"], *([] if into_files else [["predict"]])]  # they begin again
            keeps = sys.argv[1:2] not in again
            kept = "What was done is kept; the same command goes on from there." if keeps else ""
            problem(f"Interrupted. {kept}".strip())
        raise


if __name__ == "__main__":
    main()
