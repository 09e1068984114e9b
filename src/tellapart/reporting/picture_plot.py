"""Pictures in rows and columns, each with a line or two above it. Drawing only draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

from PIL import Image

from tellapart.evaluation.figures import new_figure
from tellapart.reporting.figure_text import drawable, text_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Tile", "plot_tiles", "side_by_side"]

_CELL = 1.7  # inches, of a square picture
_LINE = 0.17  # inches, of a line of text
_GAP = 0.12
_MARGIN = 0.15
_CHARACTERS = 15  # in an inch of a line


@dataclass(frozen=True)
class Tile:
    """One place of a sheet: a picture, RGB, or None with the reason in `problem`; `wrong` marks errors."""

    picture: Image.Image | None
    lines: tuple[str, ...] = ()
    problem: str = ""
    wrong: bool = False


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two squares of one size as one picture, with a white line between them."""
    gap = max(2, left.width // 40)
    both = Image.new("RGB", (left.width + gap + right.width, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + gap, 0))
    return both


def plot_tiles(
    tiles: Sequence[Tile],
    columns: int,
    *,
    heading: str = "",
    footnote: str = "",
    wide: bool = False,
) -> "Figure":
    """The tiles in reading order; a place without a picture is an empty frame that says why.

    With `wide` each place has room for two squares beside each other.
    """
    rows = -(-len(tiles) // columns)
    cell = 2 * _CELL if wide else _CELL
    above = _LINE * max((len(tile.lines) for tile in tiles), default=0) + 0.06
    width = 2 * _MARGIN + columns * cell + (columns - 1) * _GAP
    said = fill(footnote, max(20, int(width * _CHARACTERS * 0.85)))
    head, foot = (0.4 if heading else 0.0), _LINE * (said.count("\n") + 2) if said else 0.0
    height = 2 * _MARGIN + head + foot + rows * (_CELL + above + _GAP)
    figure = new_figure(width, height, dpi=100)
    style = text_style()
    if heading:
        top = 1 - _MARGIN / height
        figure.text(_MARGIN / width, top, heading, va="top", fontsize=10, **style)
    if said:
        figure.text(_MARGIN / width, _MARGIN / height, said, fontsize=8, **style)
    for i, tile in enumerate(tiles):
        left = _MARGIN + (i % columns) * (cell + _GAP)
        bottom = height - _MARGIN - head - (i // columns + 1) * (_CELL + above + _GAP) + _GAP
        place = (left / width, bottom / height, cell / width, _CELL / height)
        _draw(figure, place, tile, int(cell * _CHARACTERS))
    return figure


def _draw(
    figure: "Figure", place: tuple[float, float, float, float], tile: Tile, characters: int
) -> None:
    axes = figure.add_axes(place)
    axes.set_xticks([])
    axes.set_yticks([])
    colour = "#c0392b" if tile.wrong else "#cccccc"
    for side in axes.spines.values():
        side.set_color(colour)
        side.set_linewidth(1.6 if tile.wrong else 0.6)
    if tile.picture is not None:
        axes.imshow(tile.picture)
    else:
        axes.set_facecolor("#f1efec")
        axes.text(
            0.5, 0.5, drawable(tile.problem, 60), ha="center", va="center", wrap=True, fontsize=7,
            color="#a8321d", transform=axes.transAxes, **text_style(),
        )  # fmt: skip
    title = "\n".join(drawable(line, characters) for line in tile.lines)
    axes.set_title(title, fontsize=7.5, loc="left", pad=2, **text_style())
