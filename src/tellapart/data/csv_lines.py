"""Rows as lines of CSV, whatever stands in them."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

__all__ = ["csv_lines"]


class _Line:
    """What the standard writer writes to: it quotes carriage returns only if its lines end in them."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text.removesuffix("\r\n") + "\n"


def csv_lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    r"""A line per row, ending in a newline; delimiters, quotes and line ends in a field are quoted.

    >>> list(csv_lines([["a", 1], ["b\r", "c,d"]]))
    ['a,1\n', '"b\r","c,d"\n']
    """
    line = _Line()
    writer = csv.writer(line, lineterminator="\r\n")
    for row in rows:
        writer.writerow(row)
        yield line.text
