"""Text from data, such as a name, as it can be shown."""

__all__ = ["shown"]


def shown(text: str) -> str:
    """Control characters and bytes that are no UTF-8 are spelt out.

    >>> shown("a\\x1bb")
    'a\\\\x1bb'
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
