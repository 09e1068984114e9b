"""What a class may be called, and which class a file's name tells.

A class becomes a folder, and folders go to machines with other rules, so the strictest ones hold. It
does not know which classes there are.
"""

import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from tellapart.data.gather.list_files import shown
from tellapart.data.gather.urls import EDGES
from tellapart.errors import UsageError

__all__ = ["class_in_name", "class_of", "usable_class"]

_CLASS_IN_NAME = re.compile(r"(?:urls?|links?)[_-](.+)|(.+)[_-](?:urls?|links?)", re.I | re.S)
_BEHIND_A_NAME = re.compile(r"\.(?:csv|tsv|txt)$| ?\([0-9]{1,3}\)$", re.I)
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    port + number for port in ("COM", "LPT") for number in "0123456789¹²³"
}


def class_in_name(file: Path) -> str | None:
    """What a name such as `urls_cat.csv` calls the class, as a browser saves it a second time, too.

    >>> class_in_name(Path("urls_cat (1).csv.txt")), class_in_name(Path("cats.csv"))
    ('cat', None)
    """
    name, shorter = "", file.stem
    while name != shorter:
        name, shorter = shorter, _BEHIND_A_NAME.sub("", shorter)
    found = _CLASS_IN_NAME.fullmatch(name)
    return (found[1] or found[2]) if found else None


def usable_class(raw: object, origin: str = "") -> str:
    """The class of that name, or UsageError with `origin` behind the reason.

    >>> usable_class("../x")
    Traceback (most recent call last):
    ...
    tellapart.errors.UsageError: A class cannot be called '../x': no '/' in it.
    """
    label, fault = class_of(raw) if isinstance(raw, str) else ("", "it is no text")
    if fault:
        raise UsageError(f"A class cannot be called {raw!r:.200}: {fault}.{origin}")
    return label


@lru_cache(65_536)
def class_of(raw: str) -> tuple[str, str]:
    """The class on one line, in Unicode's NFC, and why it cannot be one, or empty.

    >>> class_of(" big cat "), class_of("cat.")
    (('big cat', ''), ('cat.', 'no dot at its begin or end'))
    """
    label = unicodedata.normalize("NFC", raw.strip(EDGES))
    return shown(label), _fault(label)


def _fault(label: str) -> str:
    if not label:
        return "it is empty"
    if odd := next((c for c in label if c in '/\\:*?"<>|' or not c.isprintable()), ""):
        return f"no {odd!r} in it"
    if label.startswith(".") or label.endswith("."):
        return "no dot at its begin or end"
    if label == "__MACOSX" or label.split(".")[0].rstrip().upper() in _DEVICES:
        return "the name is reserved"
    size = len(label.encode())
    return f"it is longer than 100 bytes ({size})" if size > 100 else ""
