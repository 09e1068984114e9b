"""Where the network sees the pictures: their first two principal components. Drawing only draws."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tellapart.evaluation.figures import new_figure
from tellapart.reporting.figure_text import drawable, text_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_embedding"]

_MOST_NAMED = 20  # classes with a colour and a name of their own


def plot_embedding(
    coordinates: NDArray[np.float32],
    targets: NDArray[np.intp],
    wrong: NDArray[np.bool_],
    classes: Sequence[str],
    shares: tuple[float, float],
    title: str,
) -> "Figure":
    """A dot for each picture, coloured by its label, the wrongly answered ones with a ring."""
    figure = new_figure(8.2, 5.6, dpi=100, layout="constrained")
    axes = figure.add_subplot()
    size = float(np.clip(9000 / max(len(targets), 1), 5, 36))
    palette = figure_colours(len(classes))
    for k, name in enumerate(classes):
        own = targets == k
        if own.any():
            label = drawable(name, 24) if len(classes) <= _MOST_NAMED else None
            axes.scatter(
                coordinates[own, 0], coordinates[own, 1], s=size, color=palette[k], alpha=0.75,
                linewidths=0, label=label, rasterized=True,
            )  # fmt: skip
    if wrong.any():
        axes.scatter(
            coordinates[wrong, 0], coordinates[wrong, 1], s=2.2 * size + 12, facecolors="none",
            edgecolors="#222222", linewidths=0.9, label="answered wrongly", rasterized=True,
        )  # fmt: skip
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8, frameon=False)
        for text in legend.get_texts():
            text.set(**text_style())
    axes.set_xlabel(f"first direction, {100 * shares[0]:.0f} % of the variance")
    axes.set_ylabel(f"second, {100 * shares[1]:.0f} %")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
    return figure


def figure_colours(count: int) -> list[Any]:
    """So many colours, far apart where they are few."""
    from matplotlib import colormaps

    if count <= 10:
        return [colormaps["tab10"](i) for i in range(count)]
    if count <= _MOST_NAMED:
        return [colormaps["tab20"](i) for i in range(count)]
    return [colormaps["turbo"](i / (count - 1)) for i in range(count)]
