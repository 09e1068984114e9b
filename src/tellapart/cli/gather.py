"""`tellapart gather`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tellapart.cli.messages import class_bars, say
from tellapart.cli.options import Conflicts, Json, MinSide, Quiet, Workers
from tellapart.errors import UsageError

if TYPE_CHECKING:
    from tellapart.data.receipt import Receipt

__all__ = ["gather", "show_receipt"]


def gather(
    into: Annotated[Path, typer.Option(help="The folder for the pictures and receipt.csv.")],
    lists: Annotated[
        list[Path] | None,
        typer.Argument(help="Files of links: urls_CLASS.csv, or a CSV with url,label."),
    ] = None,
    named: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME=FILE", help="A class and its file of links."),
    ] = None,
    max_per_class: Annotated[
        int, typer.Option(min=1, help="Ask for the first so many links of a class.")
    ] = 1000,
    max_size: Annotated[
        int | None,
        typer.Option(min=1, help="Store larger pictures as a copy, its longer side so many px."),
    ] = None,
    min_side: MinSide = 32,
    max_bytes: Annotated[
        int, typer.Option(min=1, help="The most bytes that one picture may have.")
    ] = 64 << 20,
    timeout: Annotated[float, typer.Option(help="Seconds that one answer may take.")] = 30.0,
    retries: Annotated[
        int, typer.Option(min=0, help="Retries for 429, 5xx and broken connections.")
    ] = 3,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time, in all.")] = 32,
    per_host: Annotated[int, typer.Option(min=1, help="Requests at a time to one host.")] = 4,
    conflicts: Conflicts = None,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Ask addresses that are not public as well.")
    ] = False,
    ignore_robots: Annotated[
        bool, typer.Option("--ignore-robots", help="Take what X-Robots-Tag asks not to take.")
    ] = False,
    ask_again: Annotated[
        bool, typer.Option("--ask-again", help="Ask again for what failed for good, too.")
    ] = False,
    user_agent: Annotated[
        str | None, typer.Option(help="Who we say we are; some sites want a contact in it.")
    ] = None,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Download the pictures of lists of links, verify them, and keep a receipt of every link.

    The same command goes on where it was interrupted, and asks again for what timed out.

    Examples:

        tellapart gather urls_anime.csv urls_cartoon.csv --into pictures

        tellapart gather --class cat=cats.txt --class dog=dogs.txt --into pets --max-size 500

        tellapart gather links.csv --into pictures --conflicts drop
    """
    from tellapart.data.gather.gather import gather as gather_pictures

    with class_bars(quiet) as progress:
        _, receipt = gather_pictures(
            _sources(lists or [], named or []), into, max_per_class=max_per_class,
            max_size=max_size, min_side=min_side, max_bytes=max_bytes, timeout=timeout,
            retries=retries, concurrency=concurrency, per_host=per_host, conflicts=conflicts,
            allow_private=allow_private, ignore_robots=ignore_robots, ask_again=ask_again,
            user_agent=user_agent, workers=workers, progress=progress,
        )  # fmt: skip
    show_receipt(receipt, "links", json=json, quiet=quiet)
    if not quiet and receipt.stored:
        say(f"Next: tellapart train {into}")
    raise typer.Exit(3 if receipt.lost else 0)


def _sources(lists: list[Path], named: list[str]) -> "list[Path] | dict[str, str]":
    if not named:
        if not lists:
            raise UsageError("no lists of links; give files such as urls_cat.csv urls_dog.csv")
        return lists
    if lists:
        names = ", ".join(map(str, lists))
        raise UsageError(f"{names}: with --class, give every list with a class of its own")
    sources: dict[str, str] = {}
    for text in named:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise UsageError(f"--class {text}: expected NAME=FILE, such as cat=cats.txt")
        if name in sources:
            raise UsageError(f"--class {name} is given twice; put its links into one file")
        sources[name] = file
    return sources


def show_receipt(receipt: "Receipt", what: str, *, json: bool, quiet: bool) -> None:
    """The figures on standard output; notes and what to do on standard error."""
    if json:
        from json import dumps

        reasons = [{"reason": r, "n": n, "example": example} for r, n, example in receipt.reasons]
        counts = {label: dict(n) for label, n in receipt.counts.items()}
        typer.echo(
            dumps({
                "receipt": str(receipt.file), "pictures": len(receipt.stored), "counts": counts,
                "reasons": reasons, "notes": list(receipt.notes),
            })
        )  # fmt: skip
    else:
        from tellapart.cli.tables import print_receipt

        print_receipt(receipt, what)
    if quiet:
        return
    for note in receipt.notes:
        say(f"Note: {note}.")
    if undecided := sum(row.status == "conflict" for row in receipt.lost):
        say(
            f"{undecided} {what} lead to a picture that stands in two classes, and none of these is "
            "used until you say --conflicts keep, drop or first."
        )
    say(f"{len(receipt.stored):,} pictures; every one of the {what} is in {receipt.file}.")
