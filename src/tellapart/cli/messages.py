"""What is said beside the results: messages and progress, all to standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tellapart.data.plain_text import plain

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from tellapart.finetuning.explanation import Epoch

__all__ = ["class_bars", "problem", "progress_bars", "row_printer", "say"]

_MOST_BARS = 12

_STAGES = {
    "draw": "Drawing",
    "read": "Reading",
    "embed": "Embedding",
    "probe": "Cross-validating",
    "verify": "Verifying",
    "finetune": "Fine-tuning",
    "lr_find": "Sweeping",
    "copies": "Comparing",
    "check": "Checking",
    "explain": "Explaining",
    "gate": "Comparing answers",
    "calibrate": "Calibrating",
    "int8": "Measuring 8 bits",
    "predict": "Predicting",
}


def say(text: str) -> None:
    """A message for the user, on standard error."""
    sys.stderr.write(plain(text) + "\n")


def problem(text: str) -> None:
    """Why the command could not be done."""
    from rich.console import Console
    from rich.text import Text

    message = Text("Error: ", style="bold red").append(plain(text), style="default")
    Console(stderr=True).print(message, soft_wrap=True)


def row_printer(*, show: bool, metric: str = "error_rate") -> "Callable[[Epoch], None]":
    """A callback that prints the table of a training, on standard output, row by row as they come."""
    if not show:
        return lambda row: None
    from tellapart.finetuning.epoch_table import EpochTable, check_metric

    table = EpochTable(check_metric(metric))

    def print_row(row: "Epoch") -> None:
        if not table.rows:
            sys.stdout.write(table.header + "\n")
        table.add(row)
        sys.stdout.write(table.line(row) + "\n")
        sys.stdout.flush()

    return print_row


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A callback `progress(stage, done, total)` that draws a bar per stage while the block runs; a total
    of 0 is not known."""
    if quiet:
        yield lambda stage, done, total: None
        return
    bars = _bars()
    tasks: dict[str, TaskID] = {}

    def report(stage: str, done: int, total: int) -> None:
        if not tasks:
            bars.start()
        if stage not in tasks:
            name = _STAGES.get(stage, stage)
            tasks[stage] = bars.add_task(name, total=total or None, rate="", before=0)
        unit = {
            "probe": "",
            "check": "",
            "finetune": "steps",
            "lr_find": "steps",
            "copies": "pairs",
        }.get(stage, "images")
        _advance(bars, tasks[stage], done, total, unit)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()


@contextmanager
def class_bars(quiet: bool) -> Iterator[Callable[[str, int, int, int], None]]:
    """A callback `progress(class, done, total, lost)` that draws a bar per class, or one bar for all where
    there are many."""
    if quiet:
        yield lambda label, done, total, lost: None
        return
    bars = _bars()
    tasks: dict[str | None, TaskID] = {}  # None: all classes
    seen: dict[str, tuple[int, int, int]] = {}

    def report(label: str, done: int, total: int, lost: int) -> None:
        if not seen:
            bars.start()
        seen[label] = (done, total, lost)
        bar: str | None = label
        if len(seen) > _MOST_BARS:
            for name in [name for name in tasks if name is not None]:
                bars.remove_task(tasks.pop(name))
            bar = None
            done, total, lost = (sum(column) for column in zip(*seen.values(), strict=True))
        if bar not in tasks:
            name = "all classes" if bar is None else _short(plain(bar)) or "(no class)"
            tasks[bar] = bars.add_task(
                name.replace("[", "\\["), total=total, completed=done, rate="", before=done
            )
        _advance(bars, tasks[bar], done, total, "links", f"{lost:,} lost" if lost else "")

    try:
        yield report
    finally:
        if seen:
            bars.stop()


def _short(text: str, most: int = 17) -> str:
    """A long name without its middle, so that names that begin alike stay apart."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[most // 2 + 1 - most :]}"


def _bars() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    return Progress(
        TextColumn("{task.description:<17}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def _advance(
    bars: "Progress", number: "TaskID", done: int, total: int, unit: str, more: str = ""
) -> None:
    task = bars.tasks[bars.task_ids.index(number)]
    before, elapsed = task.fields["before"], task.elapsed or 0.0
    facts = []
    if unit and done > before and elapsed >= 1.0:  # what a moment shows is no rate yet
        rate = (done - before) / elapsed
        facts.append(f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s")
        if done < total:
            facts.append(f"{_duration((total - done) / rate)} left")
    text = ", ".join(filter(None, (*facts, more)))
    bars.update(number, completed=done, total=total or None, rate=text)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
