"""The learning-rate finder's curve as a picture: drawing only draws, the numbers come from `lr_finder`.

Needs matplotlib, which is loaded when something is drawn. No window and no global state of pyplot.
"""

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tellapart.data.atomic_file import write_atomically
from tellapart.errors import UsageError
from tellapart.evaluation.figures import new_figure
from tellapart.finetuning.lr_finder import METHODS, Suggestions, Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "plot"]

_SUFFIXES = (".png", ".svg")
_NAMES = {"minimum": "minimum / 10"}


def plot(found: Sweep, suggestions: Suggestions, path: Path) -> None:
    """Write the curve to `path`, PNG or SVG by its suffix; the same sweep gives the same bytes.

    Raises UsageError for another suffix, MissingExtra without matplotlib, OSError as the disk does.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{path}: expected a name that ends with .png or .svg")
    figure = draw(found, suggestions)
    import matplotlib

    raw = io.BytesIO()
    kind = path.suffix.lower()[1:]
    with matplotlib.rc_context({"svg.hashsalt": "tellapart"}):
        figure.savefig(raw, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_atomically(path, raw.getvalue())


def draw(found: Sweep, suggestions: Suggestions) -> "Figure":
    """The figure: median and band over a logarithmic axis, each suggestion marked with its name.

    In a notebook the last value of a cell is shown. Raises MissingExtra without matplotlib.
    """
    figure = new_figure(8, 5, dpi=120)
    axes = figure.add_axes((0.1, 0.12, 0.86, 0.62))
    _draw_curves(axes, found)
    title = suggestions.sentence()
    figure.text(0.1, 0.985, textwrap.fill(title, 105), va="top", fontsize=9)
    if suggestions.rate is not None:
        _mark(axes, found, suggestions)
    return figure


def _draw_curves(axes: "Axes", found: Sweep) -> None:
    low, high = found.band
    axes.set_xscale("log")
    axes.fill_between(
        found.rates, low, high, color="#9ecae1", alpha=0.6, linewidth=0,
        label=f"lowest to highest of {found.restarts} restarts",
    )  # fmt: skip
    axes.plot(found.rates, found.median, color="#08519c", label="median")
    axes.set_xlim(found.rates[0], found.rates[-1])
    shown = found.median[np.isfinite(found.median)]
    if len(shown):
        # What blows up at the end would press the rest against the bottom.
        bottom, top = float(np.nanmin(low)), min(float(np.nanmax(high)), 1.6 * float(shown[0]))
        top = max(top, float(shown[: max(len(shown) // 2, 1)].max()))
        margin = 0.06 * (top - bottom) or 0.1 * abs(bottom) or 0.1
        axes.set_ylim(bottom - margin, top + margin)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss, smoothed")
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
    axes.legend(loc="lower left", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _mark(axes: "Axes", found: Sweep, suggestions: Suggestions) -> None:
    """A dot on the curve for each suggestion, and its name above the axes, in rows so that no two
    names overlap."""
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    valid = np.isfinite(found.median)
    values = {name: getattr(suggestions, name) for name in METHODS}
    default = "valley"
    if suggestions.knee is not None:
        values["knee"], default = suggestions.knee, "knee"
    rows: list[list[tuple[float, float]]] = []
    for name, rate in sorted(values.items(), key=lambda item: item[1]):
        chosen = name == default
        colour = "#cb181d" if chosen else "#555555"
        loss = np.interp(np.log(rate), np.log(found.rates[valid]), found.median[valid])
        inside = float(np.clip(rate, found.rates[0], found.rates[-1]))
        label = axes.text(
            inside, 1.0, f"{_NAMES.get(name, name)}: {rate:.1e}", fontsize=8, color=colour,
            transform=axes.get_xaxis_transform(), ha="center", va="bottom", zorder=5,
            weight="bold" if chosen else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
        box = label.get_window_extent(renderer)
        if box.x1 > axes.bbox.x1 or box.x0 < axes.bbox.x0:  # it would leave the picture
            label.set_horizontalalignment("right" if box.x1 > axes.bbox.x1 else "left")
            box = label.get_window_extent(renderer)
        height = 1.02 + 0.055 * _free_row(rows, box.x0 - 6, box.x1 + 6)
        label.set_y(height)
        axes.plot(
            [inside, inside], [0, height], transform=axes.get_xaxis_transform(), color=colour,
            linewidth=0.8, linestyle="-" if chosen else ":", clip_on=False, zorder=1,
        )  # fmt: skip
        axes.plot([inside], [loss], "o", color=colour, markersize=6 if chosen else 4)


def _free_row(rows: list[list[tuple[float, float]]], left: float, right: float) -> int:
    """The lowest row where nothing stands between `left` and `right`, in pixels; takes the place.

    >>> rows = [[(0.0, 50.0)]]
    >>> _free_row(rows, 40.0, 90.0), _free_row(rows, 60.0, 80.0)
    (1, 0)
    """
    for number, taken in enumerate(rows):
        if all(right <= start or end <= left for start, end in taken):
            taken.append((left, right))
            return number
    rows.append([(left, right)])
    return len(rows) - 1
