"""`tellapart gather`."""

from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from tellapart.cli.messages import class_bars, say
from tellapart.cli.options import Conflicts, Json, MinSide, Quiet, Workers
from tellapart.errors import UsageError

if TYPE_CHECKING:
    from tellapart.data.receipt import Receipt

__all__ = ["gather", "show_receipt"]

_MOST_HINTS = 5


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
        int, typer.Option(min=1, help="Ask for at most so many links of each class.")
    ] = 1000,
    max_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Shrink larger pictures, so that the longer side has this many px."
        ),
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
        bool, typer.Option("--allow-private", help="Allow addresses in private networks, too.")
    ] = False,
    ignore_robots: Annotated[
        bool, typer.Option("--ignore-robots", help="Take what X-Robots-Tag asks not to take.")
    ] = False,
    ask_again: Annotated[
        bool, typer.Option("--ask-again", help="Ask again for what failed for good, too.")
    ] = False,
    user_agent: Annotated[
        str | None, typer.Option(help="How tellapart names itself to servers; some want a contact.")
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
    if not quiet:
        _say_next(receipt, into)
    raise typer.Exit(3 if receipt.lost else 0)


def _say_next(receipt: "Receipt", into: Path) -> None:
    classes = {row.label for row in receipt.stored}
    if len(classes) == 1:
        say("Next: gather another class into the same folder; a classifier needs two or more.")
    elif classes:
        split = any(row.split for row in receipt.stored)  # the lists say, and the folders do not
        data = receipt.file if split else into
        say(f"Next: tellapart train {quote(str(data))}")


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
    for hint in _hints(receipt, what):
        say(hint)
    for note in receipt.notes:
        say(f"Note: {note}.")
    pictures = len(receipt.stored)
    word = "picture" if pictures == 1 else "pictures"
    say(f"{pictures:,} {word}. {receipt.file} has a row for each of the {what}.")


def _hints(receipt: "Receipt", what: str) -> Iterator[str]:
    """What can be done about losses, nearest to the user first."""
    from tellapart.data.gather.fetch import is_passing

    lost = receipt.lost
    in_lists = [row for row in lost if what == "links" and not row.tries and row.detail]
    for row in in_lists[:_MOST_HINTS]:
        yield f"{row.reason}: {row.detail}"
    if len(in_lists) > _MOST_HINTS:
        yield f"… and {len(in_lists) - _MOST_HINTS} more lines; see `detail` in {receipt.file}."
    if n := sum(row.reason == "private address" for row in lost):
        yield f"private address: {n:,} links lead into a private network; --allow-private asks them."
    if n := sum(is_passing(row.reason, row.http_status) for row in lost):
        yield f"{n:,} of them may come another time: run the same command again."
    conflicts: dict[str, list[str]] = {}
    for row in lost:
        if row.status == "conflict":
            conflicts.setdefault(row.sha256, []).append(
                row.path if what == "pictures" else row.label
            )
    for names in list(conflicts.values())[:_MOST_HINTS]:
        yield f"the same picture: {' and '.join(dict.fromkeys(names))}"
    if conflicts:
        place = f"look at {receipt.file.parent / '.conflicts'} and " if what == "links" else ""
        yield (
            f"{len(conflicts):,} in two classes, used in neither: {place}run again with "
            "--conflicts keep, first or drop."
        )
