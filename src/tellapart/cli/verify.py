"""`tellapart verify`."""

from functools import partial
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tellapart.cli.gather import show_receipt
from tellapart.cli.messages import progress_bars, say
from tellapart.cli.options import Conflicts, Json, MinSide, Quiet, Workers

__all__ = ["verify"]


def verify(
    data: Annotated[Path, typer.Argument(help="A folder with a subfolder of pictures per class.")],
    copy_to: Annotated[
        Path | None, typer.Option(help="A new folder for a clean copy of what is good.")
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(min=1, help="Longer side of the copies, px at most.")
    ] = None,
    min_side: MinSide = 32,
    conflicts: Conflicts = None,
    receipt: Annotated[
        Path | None,
        typer.Option(help="Write the receipt there; only DATA/receipt.csv can be trained on."),
    ] = None,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check every picture of a folder, list what is bad, and copy what is good if asked.

    No original is changed. The receipt says what became of each, and can be trained on.

    Examples:

        tellapart verify photos

        tellapart verify photos --copy-to clean --max-size 500
    """
    from tellapart.data.gather.verify import verify as verify_pictures

    with progress_bars(quiet) as progress:
        _, outcome = verify_pictures(
            data, min_side=min_side, max_size=max_size, copy_to=copy_to, conflicts=conflicts,
            receipt=receipt, workers=workers, progress=partial(progress, "verify"),
        )  # fmt: skip
    show_receipt(outcome, "pictures", json=json, quiet=quiet)
    if not quiet and outcome.stored:
        good = copy_to or (outcome.file if receipt is None else None)
        if good is not None:
            say(f"Next: tellapart train {quote(str(good))}")
    raise typer.Exit(3 if outcome.lost else 0)
