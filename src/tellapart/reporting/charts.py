"""Line charts as values: everything in the units of a drawing, ready for the template `charts.html`.

They are drawn as SVG in the page itself, in the page's own colours, so that they are dark where the page
is dark, and sharp on paper.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Chart", "Dot", "Frame", "Line", "Rule", "Tick", "nice_ticks", "percent", "span"]

WIDTH: Final = 420
HEIGHT: Final = 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 14, 44

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A path of SVG; `kind` names its look in the style sheet."""

    path: str
    kind: str


@dataclass(frozen=True)
class Dot:
    """A point with its interval, from `top` to `bottom`."""

    x: float
    y: float
    top: float
    bottom: float
    kind: str


@dataclass(frozen=True)
class Rule:
    """A straight line to compare with, and a word on it."""

    x1: float
    y1: float
    x2: float
    y2: float
    text: str = ""
    anchor: str = "start"
    text_x: float = 0.0
    text_y: float = 0.0


@dataclass(frozen=True)
class Chart:
    """A chart whose `summary` says in words what it shows, and its `table` the numbers behind it."""

    summary: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    bands: tuple[Line, ...] = ()
    lines: tuple[Line, ...] = ()
    dots: tuple[Dot, ...] = ()
    rules: tuple[Rule, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
    header: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = field(default=())
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


@dataclass(frozen=True)
class Frame:
    """From values to places in a chart. `x` and `y` are the ends of the axes; `log_x` for a ratio scale.

    >>> frame = Frame((0, 1), (0, 1))
    >>> frame.path([(0, 0), (1, 1)])
    'M48.0 226.0L406.0 14.0'
    """

    x: Point
    y: Point
    log_x: bool = False

    def at_x(self, value: float) -> float:
        low, high = self.x
        if self.log_x:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / ((high - low) or 1.0)
        return round(_LEFT + min(max(share, 0.0), 1.0) * (WIDTH - _LEFT - _RIGHT), 1)

    def at_y(self, value: float) -> float:
        low, high = self.y
        share = (value - low) / ((high - low) or 1.0)
        return round(HEIGHT - _BOTTOM - min(max(share, 0.0), 1.0) * (HEIGHT - _TOP - _BOTTOM), 1)

    def path(self, points: Iterable[Point]) -> str:
        """A line through points."""
        return "M" + "L".join(f"{self.at_x(x)} {self.at_y(y)}" for x, y in points)

    def area(self, upper: Sequence[Point], lower: Sequence[Point]) -> str:
        """What lies between two lines."""
        return f"{self.path([*upper, *reversed(lower)])}Z"

    def dot(self, x: float, y: float, interval: Point, kind: str) -> Dot:
        low, high = interval
        return Dot(self.at_x(x), self.at_y(y), self.at_y(high), self.at_y(low), kind)

    def across(self, y: float, text: str = "") -> Rule:
        """A level line, with its word at its left end."""
        at = self.at_y(y)
        return Rule(_LEFT, at, WIDTH - _RIGHT, at, text, "start", _LEFT + 4, at - 5)

    def upright(self, x: float, text: str = "") -> Rule:
        """An upright line, with its word at its top, on the side that has room."""
        at = self.at_x(x)
        left = at > (WIDTH + _LEFT) / 2
        anchor, away = ("end", -5) if left else ("start", 5)
        return Rule(at, _TOP, at, HEIGHT - _BOTTOM, text, anchor, at + away, _TOP + 9)

    def ticks_x(
        self, values: Iterable[float], text: str = "{:g}", factor: float = 1
    ) -> tuple[Tick, ...]:
        return tuple(Tick(self.at_x(v), text.format(round(factor * v, 9))) for v in values)

    def ticks_y(
        self, values: Iterable[float], text: str = "{:g}", factor: float = 1
    ) -> tuple[Tick, ...]:
        return tuple(Tick(self.at_y(v), text.format(round(factor * v, 9))) for v in values)


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within [low, high], at most about so many.

    >>> nice_ticks(0, 0.23)
    [0.0, 0.05, 0.1, 0.15, 0.2]
    """
    if not high > low:
        return [low]
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def percent(share: float, digits: int = 1) -> str:
    """As people write it; never 100 % or 0 % where it is only nearly so.

    >>> percent(0.98), percent(0.9996), percent(1.0), percent(0.0004)
    ('98 %', '> 99.9 %', '100 %', '< 0.1 %')
    """
    text = f"{100 * share:.{digits}f}"
    least = 10.0**-digits
    if share < 1 and float(text) >= 100:
        return f"> {100 - least:.{digits}f} %"
    if share > 0 and float(text) == 0:
        return f"< {least:.{digits}f} %"
    return f"{float(text):g} %"


def span(low: float, high: float, digits: int = 1) -> str:
    """An interval of shares.

    >>> span(0.895, 0.9965)
    '89.5–99.7 %'
    """
    return f"{100 * low:.{digits}f}–{100 * high:.{digits}f} %"
