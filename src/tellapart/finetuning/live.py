"""Showing a training as it goes on: rows of the table when they are there, in a notebook in one place.

Outside a notebook rows are printed. Whether it is one is asked of IPython, if that is loaded at all.
"""

import html
import sys
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from tellapart.finetuning.epoch_table import EpochTable, Metric
from tellapart.finetuning.explanation import Epoch

__all__ = ["LiveTable", "in_notebook", "tell"]


def in_notebook() -> bool:
    """Whether output goes to a notebook's cell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def tell(text: str) -> None:
    """A sentence for the user, where the table is."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)  # names are data
    sys.stdout.write(shown + "\n")
    sys.stdout.flush()


class LiveTable:
    """`with LiveTable("error_rate") as live:` and `live.on_epoch`, `live.progress` as callbacks.

    With `shown` false nothing appears.
    """

    def __init__(self, metric: Metric, *, shown: bool = True) -> None:
        self.table = EpochTable(metric)
        self._shown = shown
        self._display: Any = None
        self._status = ""

    def __enter__(self) -> Self:
        if self._shown and in_notebook():
            self._display = import_module("IPython.display").DisplayHandle()
            self._display.display(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._status = ""
        self._refresh()
        self._show_status()

    def on_epoch(self, row: Epoch) -> None:
        self.table.add(row)
        if self._display is None and self._shown:
            self._status = ""
            self._show_status()
            if len(self.table.rows) == 1:
                tell(self.table.header)
            tell(self.table.line(row))
        self._refresh()

    def progress(self, stage: str, done: int, total: int) -> None:
        """A line below the table in a notebook, at most a hundred times a stage."""
        before = self._status
        self._status = f"{stage}: {100 * done // max(total, 1)} %" if done < total else ""
        if self._status != before:
            self._refresh()
            self._show_status()

    def _show_status(self) -> None:
        """On a terminal: one line on standard error, which the next one takes the place of."""
        if self._shown and self._display is None and sys.stderr.isatty():
            sys.stderr.write(f"\r{self._status:<40}" + ("" if self._status else "\r"))
            sys.stderr.flush()

    def _refresh(self) -> None:
        if self._display is not None:
            self._display.update(self)

    def __repr__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        table = self.table._repr_html_() if self.table.rows else ""
        return f"{table}<p>{html.escape(self._status)}</p>" if self._status else table
