"""`tellapart clean`."""

from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from tellapart.cli.messages import progress_bars, say
from tellapart.cli.options import (
    Backbone,
    Json,
    Preset,
    Quiet,
    Runtime,
    Seed,
    TestDir,
    TrainDir,
    ValidDir,
    Workers,
)
from tellapart.errors import UsageError

if TYPE_CHECKING:
    from tellapart.review.cleaned import Cleaned
    from tellapart.review.server import ReviewServer

__all__ = ["clean"]

_HERE = ("127.0.0.1", "localhost", "::1")
_MOST_FAILURES = 10


def clean(
    target: Annotated[
        Path, typer.Argument(help="A folder with a subfolder per class, a CSV file, or a run.")
    ],
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the cleaned table from what was decided.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="With --apply: the table; by default cleaned.csv beside the pictures."),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            help="Where decisions are kept; by default review.sqlite in the run, or in "
            "reviews/NAME-OF-DATA."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to serve at; others than this machine's own are risky.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the link, and open nothing.")
    ] = False,
    who: Annotated[
        str | None, typer.Option(help="The name that decisions are kept under; by default yours.")
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(min=0, help="End when nobody asked anything for so many minutes."),
    ] = None,
    train_dir: TrainDir = None,
    valid_dir: ValidDir = None,
    test_dir: TestDir = None,
    preset: Preset = "fast",
    backbone: Backbone = None,
    seed: Seed = 0,
    runtime: Runtime = "onnxruntime",
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look through the pictures in the browser and mend the labels; what was decided is kept at once.

    The pictures that are probably wrong come first, and the order follows what you decide. No picture
    is changed or deleted: --apply writes a table, cleaned.csv, that train takes in the place of the
    folder. Ctrl-C ends it; the same command goes on from there.

    Examples:

        tellapart clean photos

        tellapart clean runs/photos --who ann

        tellapart clean photos --apply

        tellapart train photos/cleaned.csv

        tellapart clean photos --no-browser --port 8000 --idle 60
    """
    from tellapart.review.reviewed import is_run
    from tellapart.training.train import TrainOptions

    if out is not None and not apply:
        raise UsageError("--out names the table that --apply writes; add --apply")
    if backbone is not None and is_run(target):
        raise UsageError(f"--backbone: {target} is a run, which has a network of its own")
    said = {"backbone": backbone} if backbone else {}
    options = TrainOptions.preset(
        preset, **said, seed=seed, runtime=runtime, train_dir=train_dir, valid_dir=valid_dir,
        test_dir=test_dir,
    )  # fmt: skip
    if apply:
        from tellapart.review.cleaned import apply_decisions

        _show(apply_decisions(target, out, journal, options), json=json, quiet=quiet)
        return
    from tellapart.review.server import clean as serve

    if host not in _HERE:
        say(
            f"Note: {host} can be reached from other machines: whoever has the link can look and "
            "decide, and nothing is encrypted."
        )
    with ExitStack() as bars:  # they end where the serving begins

        def ready(server: "ReviewServer") -> None:
            bars.close()
            _announce(server, json=json, quiet=quiet)

        kept = serve(
            target, journal=journal, host=host, port=port, browser=not no_browser, who=who, idle=idle,
            options=options, workers=workers, progress=bars.enter_context(progress_bars(quiet)),
            ready=ready,
        )  # fmt: skip
    named = {
        "--journal": journal and str(journal), "--train-dir": train_dir, "--valid-dir": valid_dir,
        "--test-dir": test_dir,
    }  # fmt: skip
    more = [part for name, value in named.items() if value for part in (name, value)]
    command = " ".join(map(quote, ["tellapart", "clean", str(target), "--apply", *more]))
    if not quiet:
        say(
            f"{kept.sentence()}."
            + (f" Write the cleaned table: {command}" if kept.decisions else "")
        )


def _announce(server: "ReviewServer", *, json: bool, quiet: bool) -> None:
    """The link, as soon as it can be opened."""
    if json:
        from json import dumps

        typer.echo(dumps({"url": server.url, "journal": str(server.review.journal.file)}))
    else:
        typer.echo(server.url)
    if not quiet:
        for note in server.review.notes:
            say(f"Note: {note}.")
        say("Open the link to look through the pictures. Ctrl-C ends it; what was decided is kept.")


def _show(cleaned: "Cleaned", *, json: bool, quiet: bool) -> None:
    if json:
        from json import dumps

        typer.echo(dumps(cleaned.to_json()))
    else:
        typer.echo(cleaned.sentence())
    if not quiet:
        for failure in cleaned.failures[:_MOST_FAILURES]:
            say(f"Note: {failure}")
        if len(cleaned.failures) > _MOST_FAILURES:
            say(f"and {len(cleaned.failures) - _MOST_FAILURES} more; all of them with --json")
        say(f"Next: tellapart train {quote(str(cleaned.file))}")
    raise typer.Exit(3 if cleaned.failures else 0)
