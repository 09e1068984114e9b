"""Names from data as text of a figure: what no font here can draw is shown as □, and `$` is a dollar."""

from functools import cache
from typing import Any, Final

from tellapart.data.plain_text import plain

__all__ = ["drawable", "shortened", "text_style"]

_FALLBACKS: Final = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans",
    "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Emoji",
)  # fmt: skip
"""Families that are asked for what DejaVu Sans, which comes with matplotlib, has not."""


def shortened(text: str, most: int) -> str:
    """A long name without its middle, so that names that begin or end alike stay apart.

    >>> shortened("a_very_long_name_of_a_class", 12)
    'a_very…class'
    """
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def drawable(name: str, most: int = 28) -> str:
    """The name as a figure can show it, in at most so many characters.

    >>> drawable("caf\\u00e9\\n")
    'café\\\\n'
    """
    known = _glyphs()
    return "".join(c if ord(c) in known else "□" for c in shortened(plain(name), most))


def text_style() -> dict[str, Any]:
    """Keywords for matplotlib's texts that show names: the fonts there are, and no formulas."""
    return {"fontfamily": list(_families()), "parse_math": False}


@cache
def _families() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _FALLBACKS if name in there))


@cache
def _glyphs() -> frozenset[int]:
    """The characters that one of the families has."""
    from matplotlib.font_manager import fontManager, get_font

    own = set(_families())
    files = {font.name: font.fname for font in reversed(fontManager.ttflist) if font.name in own}
    return frozenset().union(*(get_font(file).get_charmap() for file in files.values()))
