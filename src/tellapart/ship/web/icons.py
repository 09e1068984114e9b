"""The icon of the page, drawn: a square with two discs, one full and one a ring."""

from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw

__all__ = ["COLOUR", "icon_png", "icon_svg"]

COLOUR: Final = "#1f57a8"
_FINER = 4  # times as large, then reduced, for smooth edges
_RADIUS, _SHIFT, _LINE = (
    0.165,
    0.11,
    0.055,
)  # shares of the side; all within the circle that systems cut out


def icon_svg() -> str:
    """The icon as SVG, with round corners.

    >>> icon_svg().count("<circle")
    2
    """
    left, right, radius, line = (
        round(32 * share, 2) for share in (0.5 - _SHIFT, 0.5 + _SHIFT, _RADIUS, _LINE)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
        f'<rect width="32" height="32" rx="8" fill="{COLOUR}"/>'
        f'<circle cx="{left}" cy="16" r="{radius}" fill="#fff"/>'
        f'<circle cx="{right}" cy="16" r="{radius}" fill="none" stroke="#fff" stroke-width="{line}"/></svg>\n'
    )


def icon_png(side: int) -> bytes:
    """The icon as PNG of `side` px, square to the edges, so that a system may cut any shape out of it.

    >>> icon_png(32)[1:4]
    b'PNG'
    """
    large = _FINER * side
    image = Image.new("RGB", (large, large), COLOUR)
    draw = ImageDraw.Draw(image)
    for x, options in (
        (0.5 - _SHIFT, {"fill": "white"}),
        (0.5 + _SHIFT, {"outline": "white", "width": round(_LINE * large)}),
    ):
        radius = _RADIUS + (_LINE / 2 if "width" in options else 0)
        box = [
            large * (x - radius),
            large * (0.5 - radius),
            large * (x + radius),
            large * (0.5 + radius),
        ]
        draw.ellipse(box, **options)
    file = BytesIO()
    image.resize((side, side), Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)
    return file.getvalue()
