"""Pictures and figures that stand in a page themselves: data URLs of bounded size, and SVG without loads."""

import base64
import re
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from tellapart.data.images import decode, read_bytes
from tellapart.data.ordered_map import ordered_map
from tellapart.errors import ImageError, MissingExtra

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

__all__ = ["data_url", "page_environment", "picture_url", "svg_of", "thumbnails"]

_QUALITIES = (80, 65, 45)
_SMALLEST = 16  # px


def page_environment(package: str) -> Any:
    """Jinja for the templates beside a package's modules: all text is escaped, a missing name an error.

    Raises MissingExtra without Jinja.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error) or error from None
    return Environment(
        loader=PackageLoader(package, "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def data_url(raw: bytes, kind: str) -> str:
    """The bytes of a picture file as a URL; `kind` is jpeg, png …

    >>> data_url(b"abc", "png")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(raw).decode('ascii')}"


def picture_url(image: Image.Image, *, side: int, most_bytes: int) -> str:
    """An RGB image as the data URL of a JPEG, within `side` px and `most_bytes` before base64.

    Where it would be larger, first its quality falls and then its size.

    >>> picture_url(Image.new("RGB", (400, 300)), side=100, most_bytes=2000)[:15]
    'data:image/jpeg'
    """
    small = image.copy()
    small.thumbnail((side, side))
    while True:
        for quality in _QUALITIES:
            raw = BytesIO()
            small.save(raw, "JPEG", quality=quality)
            if raw.tell() <= most_bytes or max(small.size) <= _SMALLEST:
                return data_url(raw.getvalue(), "jpeg")
        small.thumbnail((max(small.size) * 3 // 4, max(small.size) * 3 // 4))


def thumbnails(
    root: Path, paths: Iterable[str], *, side: int, most_bytes: int, workers: int = 2
) -> dict[str, str]:
    """A data URL for each path below `root`; "" where the picture cannot be read."""

    def thumbnail(path: str) -> str:
        try:
            image = decode(read_bytes(root / path, path), path, shorter_side=side)
        except ImageError:
            return ""
        return picture_url(image, side=side, most_bytes=most_bytes)

    every = sorted(set(paths))
    return dict(zip(every, ordered_map(thumbnail, every, workers=workers), strict=True))


def svg_of(figure: "Figure", name: str) -> "Markup":
    """A figure as SVG text to stand in a page; `name` keeps its ids apart from those of other figures.

    What matplotlib writes beside the drawing (document type, metadata) is left out.
    """
    from markupsafe import Markup

    raw = BytesIO()
    figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None})
    text = raw.getvalue().decode("utf-8")
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", text)
    return Markup(text)  # noqa: S704  # drawn here, from numbers and names that matplotlib has escaped
