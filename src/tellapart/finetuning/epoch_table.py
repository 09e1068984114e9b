"""The table of a training: a row per epoch, live where it is shown, in a terminal and in notebooks."""

import html
from collections.abc import Sequence
from typing import Any, Literal, get_args

from tellapart.errors import UsageError
from tellapart.finetuning.explanation import Epoch

__all__ = ["EpochTable", "Metric", "check_metric"]

Metric = Literal["error_rate", "accuracy"]
_WIDTH = 12


def check_metric(metric: str) -> Metric:
    """The metric of that name. Raises UsageError for another one."""
    if metric not in get_args(Metric):
        raise UsageError(f"metric {metric!r} is unknown; choose from {', '.join(get_args(Metric))}")
    return metric  # type: ignore[return-value]


class EpochTable:
    """Rows as they come; `str` gives text, and a notebook shows an HTML table.

    >>> table = EpochTable("error_rate")
    >>> table.add(Epoch(0, 0.7356, 0.6210, 40, 105, 7.0, 3e-3))
    >>> print(table)
           epoch    train_loss    valid_loss    error_rate         wrong          time
               0      0.735600      0.621000      0.380952     40 of 105         00:07
    """

    def __init__(self, metric: Metric = "error_rate", rows: Sequence[Epoch] = ()) -> None:
        self.metric = metric
        self.rows = list(rows)

    @property
    def header(self) -> str:
        """The names of the columns, as wide as `line` makes them."""
        return _aligned(self._names)

    def add(self, row: Epoch) -> None:
        self.rows.append(row)

    def line(self, row: Epoch) -> str:
        """One row as text."""
        return _aligned(self._cells(row))

    @property
    def _names(self) -> tuple[str, ...]:
        return ("epoch", "train_loss", "valid_loss", self.metric, "wrong", "time")

    def _cells(self, row: Epoch) -> tuple[str, ...]:
        minutes, seconds = divmod(round(row.seconds), 60)
        rate = row.errors / row.n
        shown = rate if self.metric == "error_rate" else 1 - rate
        return (
            str(row.epoch), f"{row.train_loss:.6f}", f"{row.valid_loss:.6f}", f"{shown:.6f}",
            f"{row.errors:,} of {row.n:,}", f"{minutes:02}:{seconds:02}",
        )  # fmt: skip

    def __str__(self) -> str:
        return "\n".join([self.header, *(self.line(row) for row in self.rows)])

    def _repr_html_(self) -> str:
        return _html("th", self._names, "".join(_html("td", self._cells(row)) for row in self.rows))


def _aligned(cells: Sequence[Any]) -> str:
    return "  ".join(f"{cell:>{_WIDTH}}" for cell in cells)


def _html(tag: str, cells: Sequence[str], rows: str = "") -> str:
    row = "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
    return f"<table><thead>{row}</thead><tbody>{rows}</tbody></table>" if tag == "th" else row
