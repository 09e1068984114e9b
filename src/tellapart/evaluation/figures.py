"""Figures without a window and without pyplot's global state, which notebooks show all the same."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tellapart.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["new_figure", "png", "row_of_axes"]


def new_figure(width: float, height: float, **options: Any) -> "Figure":
    """An empty figure of that size in inches. Raises MissingExtra without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error) or error from None

    class Shown(Figure):
        """IPython draws a plain Figure only where pyplot is set up."""

        def _repr_png_(self) -> bytes:
            return png(self)

    figure = Shown(figsize=(width, height), **options)
    FigureCanvasAgg(figure)
    return figure


def png(figure: "Figure") -> bytes:
    """The figure as a PNG file."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    return raw.getvalue()


def row_of_axes(count: int) -> "tuple[Figure, Sequence[Axes]]":
    """A figure with so many plots beside each other, with a light grid."""
    figure = new_figure(5 * count, 3.6, dpi=100, layout="constrained")
    axes = [figure.add_subplot(1, count, i + 1) for i in range(count)]
    for own in axes:
        own.grid(visible=True, color="#dddddd", linewidth=0.6)
        for side in ("top", "right"):
            own.spines[side].set_visible(False)
    return figure, axes
