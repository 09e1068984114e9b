"""What is said beside the results: messages and progress, all to standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["plain", "problem", "progress_bars", "say"]

_STAGES = {
    "draw": "Drawing",
    "read": "Reading",
    "embed": "Embedding",
    "probe": "Cross-validating",
}


def plain(text: str) -> str:
    """Text from data as it may be shown: no control characters, no broken Unicode.

    >>> plain("a\\x1b[31mb\\n")
    'a\\\\x1b[31mb\\\\n'
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown.encode("utf-8", "replace").decode("utf-8")


def say(text: str) -> None:
    """A message for the user, on standard error."""
    sys.stderr.write(plain(text) + "\n")


def problem(text: str) -> None:
    """Why the command could not be done."""
    from rich.console import Console
    from rich.text import Text

    message = Text("Error: ", style="bold red").append(plain(text), style="default")
    Console(stderr=True).print(message, soft_wrap=True)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A callback `progress(stage, done, total)` that draws a bar per stage while the block runs."""
    if quiet:
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<17}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bars = Progress(*columns, console=Console(stderr=True))
    tasks: dict[str, TaskID] = {}

    def report(stage: str, done: int, total: int) -> None:
        if not tasks:
            bars.start()
        if stage not in tasks:
            tasks[stage] = bars.add_task(_STAGES.get(stage, stage), total=total, rate="")
        task = bars.tasks[tasks[stage]]
        speed = task.finished_speed or task.speed
        rate = f"{speed:,.0f} images/s" if speed and stage != "probe" else ""
        bars.update(task.id, completed=done, total=total, rate=rate)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()
