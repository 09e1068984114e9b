"""How many pictures each class has, by split, as a figure. Drawing only draws."""

from typing import TYPE_CHECKING, Final

import numpy as np

from tellapart.data.dataset import Dataset
from tellapart.evaluation.figures import new_figure
from tellapart.reporting.figure_text import drawable, text_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_counts"]

_COLOURS: Final = {"train": "#4c78a8", "valid": "#f2a541", "test": "#72a98f", "": "#9a9a9a"}
_MOST_NAMED = 60
_MOST_NUMBERED = 40


def plot_counts(dataset: Dataset) -> "Figure":
    """A bar for each class, in parts by split. Of many classes every second (third …) is named.

    >>> figure = plot_counts(Dataset.from_rows(".", [("a.jpg", "cat"), ("b.jpg", "dog")]))
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['cat', 'dog']
    """
    counts = dataset.counts()
    k = len(counts)
    figure = new_figure(7.0, float(np.clip(1.1 + 0.3 * k, 1.8, 14)), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    places, left = np.arange(k), np.zeros(k)
    for split in counts.columns:
        width = counts[split].to_numpy(float)
        axes.barh(
            places, width, left=left, height=0.72, color=_COLOURS[split], label=split or "undecided"
        )
        left += width
    if k <= _MOST_NUMBERED:
        for place, total in enumerate(left.tolist()):
            axes.text(total, place, f" {total:,.0f}", va="center", fontsize=8)
    step = -(-k // _MOST_NAMED)
    names = [drawable(str(name)) for name in counts.index[::step]]
    axes.set_yticks(places[::step], names, fontsize=9 if k <= _MOST_NUMBERED else 7, **text_style())
    axes.invert_yaxis()
    axes.margins(x=0.1)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("pictures")
    if len(counts.columns) > 1:
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.set_title(f"{len(dataset):,} pictures of {k:,} classes", fontsize=10, loc="left")
    return figure
