"""A confusion matrix as a figure, for two classes or for a thousand. Drawing only draws."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tellapart.evaluation.figures import new_figure
from tellapart.evaluation.metrics import Metrics
from tellapart.reporting.figure_text import drawable, text_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_confusion"]

MOST_NUMBERS: Final = 25
"""Classes up to which each cell shows its number."""

_MOST_LABELS = 50
_MOST_CELLS = 60  # classes from which on errors are drawn as dots, or they could not be seen
_MOST_PAIRS = 12
_LISTED_FROM = 13  # classes from which on the pairs are listed too


def plot_confusion(metrics: Metrics, *, normalize: bool = False) -> "Figure":
    """Actual classes downwards, predicted ones across; right answers blue, errors red.

    Colours are shares of the actual class. Cells show counts, or with `normalize` percents, where there
    is room; of many classes every second (third …) name is shown, and the most confused pairs are listed.
    """
    k = len(metrics.classes)
    side = min(2.6 + 0.42 * k, 9.5)
    pairs = metrics.most_confused()[:_MOST_PAIRS] if k >= _LISTED_FROM else ()
    figure = new_figure(side + (3.6 if pairs else 0.6), side, dpi=100, layout="constrained")
    widths = [side, 3.0] if pairs else [side]
    axes = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
    _matrix(axes[0], metrics, normalize)
    if pairs:
        axes[1].set_axis_off()
        lines = [f"{c.n:,}× {drawable(c.actual, 20)} → {drawable(c.predicted, 20)}" for c in pairs]
        axes[1].text(
            0, 1, "\n".join(["most confused", *lines]), va="top", fontsize=8, linespacing=1.6,
            transform=axes[1].transAxes, **text_style(),
        )  # fmt: skip
    return figure


def _matrix(axes: "Axes", metrics: Metrics, normalize: bool) -> None:
    matrix, k = metrics.matrix, len(metrics.classes)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    right = np.eye(k, dtype=bool)
    look: dict[str, Any] = {"vmin": 0, "vmax": 1, "interpolation": "nearest", "rasterized": True}
    axes.imshow(np.where(right, share, np.nan), cmap="Blues", **look)
    if k <= _MOST_CELLS:
        axes.imshow(np.where(right | (matrix == 0), np.nan, share), cmap="Reds", **look)
    else:
        rows, columns = np.nonzero(matrix * ~right)
        size = 6 + 40 * share[rows, columns]
        axes.scatter(columns, rows, s=size, color="#c0392b", linewidths=0, rasterized=True)
    if k <= MOST_NUMBERS:
        _numbers(axes, matrix, share, normalize)
    _names(axes, metrics.classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.set_title(f"{metrics.errors:,} of {metrics.n:,} wrong", fontsize=10)


def _numbers(axes: "Axes", matrix: np.ndarray, share: np.ndarray, normalize: bool) -> None:
    for (row, column), n in np.ndenumerate(matrix):
        if n:
            text = f"{100 * share[row, column]:.0f} %" if normalize else f"{n:,}"
            colour = "white" if share[row, column] > 0.55 else "#222222"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)


def _names(axes: "Axes", classes: tuple[str, ...]) -> None:
    step = -(-len(classes) // _MOST_LABELS)
    places = range(0, len(classes), step)
    names = [drawable(classes[i], 20) for i in places]
    size = 9 if len(classes) <= MOST_NUMBERS else 6
    longest = max(map(len, names))
    slant = 90 if longest * len(names) > 24 else 0
    axes.set_xticks(list(places), names, fontsize=size, rotation=slant, **text_style())
    axes.set_yticks(list(places), names, fontsize=size, **text_style())
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
