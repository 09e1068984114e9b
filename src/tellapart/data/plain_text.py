"""Text from data, such as a name, as it can be shown."""

__all__ = ["plain"]

_JOINERS = "\u200c\u200d"


def plain(text: str) -> str:
    """No control characters, and no bytes that are no UTF-8: they are spelt out. Joiners of letters and
    of emoji stay.

    >>> plain("a\\x1b[31mb\\n")
    'a\\\\x1b[31mb\\\\n'
    """
    return "".join(
        c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode() for c in text
    )
