"""Tables on the terminal, drawn from result values only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tellapart.data.plain_text import plain

if TYPE_CHECKING:
    from tellapart.audit.audit import Audit
    from tellapart.data.receipt import Receipt
    from tellapart.evaluation.metrics import Metrics
    from tellapart.model.catalogue import BackboneEntry
    from tellapart.training.run import Run

__all__ = ["print_audit", "print_backbones", "print_metrics", "print_receipt", "print_run"]

_MOST_ROWS = 30
_STATUSES = {
    "duplicate": "the same again",
    "conflict": "in two classes",
    "skipped": "not asked for",
}
_OUTCOMES = {
    "links": {"ok": "stored", "failed": "lost"},
    "pictures": {"ok": "good", "failed": "bad"},
}
_NAMES = {
    "out_of_fold": "out of fold (training part)",
    "valid": "validation",
    "test": "test",
    "held_out": "validation + test",
}


def print_run(run: "Run") -> None:
    """Counts, metrics with intervals, per-class figures, confusions, and seconds by stage."""
    console = Console(soft_wrap=False)
    metrics = run.metrics
    console.print(_metrics_table(metrics))
    name = next(n for n in ("held_out", "test", "valid", "out_of_fold") if n in metrics)
    console.print(_class_table(run, name))
    if confused := metrics[name].most_confused()[:5]:
        pairs = [f"{plain(c.actual)} taken for {plain(c.predicted)} {c.n}×" for c in confused]
        console.print(Text("Most confused: " + "; ".join(pairs)))
    seconds = run.info["seconds"]
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
    console.print(Text(_head_line(run.info["probe"])))
    console.print(Text(f"Seconds: {stages} ({run.info['computed']} pictures newly embedded)"))


def _head_line(head: dict[str, Any]) -> str:
    if head["recipe"] == "probe":
        return (
            f"Chosen by cross-validation: features {head['features']!r}, "
            f"penalty {head['strength']:g} / n"
        )
    return (
        f"One cycle of {head['epochs']} epochs at {head['lr']}, {head['head']} head, "
        f"{1 + head['views']} views of each picture"
    )


def print_metrics(run: "Run") -> None:
    """The figures of each split, with their intervals."""
    Console(soft_wrap=False).print(_metrics_table(run.metrics))


def print_backbones(entries: "Sequence[BackboneEntry]") -> None:
    """A row for each backbone, and below what the presets stand for."""
    from tellapart.model.presets import PRESETS

    console = Console(soft_wrap=False)
    table = _table("Backbones", ["name", "parameters", "px", "features"])
    table.box, table.pad_edge = SIMPLE_HEAD, False  # names are long
    for column in ("licence", "at hand"):
        table.add_column(column)
    for entry in entries:
        table.add_row(
            Text(plain(entry.name), overflow="fold"),
            "–" if entry.parameters is None else f"{entry.parameters / 1e6:.1f} M",
            "–" if entry.size is None else str(entry.size),
            "–" if entry.dimensions is None else f"{entry.dimensions['final']:,}",
            Text(plain(entry.licence)),
            entry.at_hand or "",
        )
    console.print(table)
    for entry in entries:
        if entry.preset:
            why = PRESETS[entry.preset].why
            console.print(Text(f"--preset {entry.preset}: {entry.name}; {why}"))


def print_audit(audit: "Audit") -> None:
    """How much each check found, with the worst of it, and what the data as a whole is worth."""
    console = Console(soft_wrap=False)
    table = _table("Findings", [])
    table.add_column("check", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("the worst", no_wrap=True)
    room = max(20, console.width - 18 - max(len(_title(name)) for name in audit.counts()))
    for name, n in audit.counts().items():
        if not n:
            continue
        worst = audit.of(name)[0]
        where = f"{plain(worst.paths[0])}: " if worst.paths else ""
        table.add_row(_title(name), f"{n:,}", _cut(where + plain(worst.evidence), room))
    if audit.findings:
        console.print(table)
    nothing = [_title(name) for name, n in audit.counts().items() if not n]
    if nothing:
        console.print(Text("Nothing found: " + ", ".join(nothing)))
    console.print(Text(f"{audit.sentence()}."))
    for sentence in audit.summary():
        console.print(Text(plain(sentence)))


def _cut(text: str, room: int) -> Text:
    shown = Text(text)
    shown.truncate(room, overflow="ellipsis")
    return shown


def _title(check: str) -> str:
    from tellapart.audit.checks import CHECKS

    return CHECKS[check].title if check in CHECKS else check


def print_receipt(receipt: "Receipt", what: str) -> None:
    """For each class how many of `what` (links or pictures) became what, and why some are lost."""
    from tellapart.data.receipt import STATUSES

    console = Console(soft_wrap=False)
    names = {**_STATUSES, **_OUTCOMES[what]}
    statuses = [s for s in STATUSES if s == "ok" or any(n[s] for n in receipt.counts.values())]
    table = _table("What became of them", ["class", what, *(names[s] for s in statuses)])
    counts = list(receipt.counts.items())
    for label, n in counts[:_MOST_ROWS]:
        table.add_row(
            Text(plain(label)), *(f"{x:,}" for x in (n.total(), *(n[s] for s in statuses)))
        )
    if len(counts) > _MOST_ROWS:
        table.add_row(f"… {len(counts) - _MOST_ROWS} more in {receipt.file.name}")
    if len(counts) > 1:
        totals = (sum(n[s] for _, n in counts) for s in statuses)
        table.add_section()
        table.add_row("all", f"{len(receipt.rows):,}", *(f"{x:,}" for x in totals))
    console.print(table)
    if reasons := receipt.reasons:
        table = _table("Not used, and why", [])
        table.add_column("reason", no_wrap=True)
        table.add_column("n", justify="right", no_wrap=True)
        table.add_column("for instance", overflow="ellipsis", no_wrap=True)
        for reason, count, example in reasons[:_MOST_ROWS]:
            table.add_row(Text(plain(reason)), f"{count:,}", Text(plain(example)))
        console.print(table)


def _metrics_table(metrics: "dict[str, Metrics]") -> Table:
    table = _table("Accuracy", ["split", "n", "errors", "accuracy", "error rate, 95 % interval"])
    table.add_column("log loss", justify="right")
    for name, m in metrics.items():
        low, high = m.interval
        rate = f"{100 * m.errors / m.n:.2f} % ({100 * (1 - high):.1f}–{100 * (1 - low):.1f} %)"
        table.add_row(
            _NAMES.get(name, name), str(m.n), str(m.errors), f"{100 * m.accuracy:.2f} %", rate,
            f"{m.log_loss:.4f}",
        )  # fmt: skip
    return table


def _class_table(run: "Run", name: str) -> Table:
    """Pictures by class and split, and how well each class is told apart in one split."""
    counts: dict[str, dict[str, int]] = run.info["dataset"]["counts"]
    title = f"Classes (precision and recall with 95 % intervals: {_NAMES[name]})"
    table = _table(title, ["class", *counts, "precision", "recall"])
    per_class = run.metrics[name].per_class
    for c in per_class[:_MOST_ROWS]:
        numbers = [str(counts[split].get(c.name, 0)) for split in counts]
        table.add_row(
            Text(plain(c.name)), *numbers, _share(c.correct, c.predicted), _share(c.correct, c.n)
        )
    if len(per_class) > _MOST_ROWS:
        table.add_row(f"… {len(per_class) - _MOST_ROWS} more in run.json")
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def _share(part: int, n: int) -> str:
    if not n:
        return "–"
    from tellapart.evaluation.metrics import wilson_interval

    low, high = wilson_interval(part, n)
    return f"{100 * part / n:.1f} % ({100 * low:.0f}–{100 * high:.0f})"
