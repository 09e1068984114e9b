"""The files that lists of links come in: from bytes to lines, and what is left of a line.

It does not know what a line means.
"""

import codecs
import re
from pathlib import Path

from tellapart.data.gather.urls import EDGES, MOST_CHARACTERS
from tellapart.errors import DatasetError, UsageError

__all__ = ["SHOWN", "counts", "read_lines", "shown", "unwrapped"]

SHOWN = 200
"""So many characters of what is longer than a link can be are shown."""

_MOST_BYTES = 1 << 30
_WRAPPED = re.compile(r"""(?:"(.*)"|'(.*)'|<(.*)>)[,;]?""", re.S)
_OTHER_FORMATS = {b"PK\x03\x04": "zip", b"\xd0\xcf\x11\xe0": "xls", b"%PDF": "pdf"}
_ADVICE = {
    "zip": "an archive; unpack it and give the list that is in it",
    "xls": "a spreadsheet; save it as CSV",
    "pdf": "a PDF; copy its links into a text file, one link a line",
}


def read_lines(file: Path, notes: list[str]) -> list[str]:
    """Lines as an editor counts them: a form feed or a Unicode separator ends none.

    Raises UsageError for what is no file of text, DatasetError where reading fails.
    """
    data = _bytes(file)
    _refuse_other_formats(file, data)
    try:
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        data = data.removeprefix(codecs.BOM_UTF8)
        western = all(byte not in data for byte in b"\x81\x8d\x8f\x90\x9d")  # not in Windows-1252
        text = data.decode("cp1252" if western else "latin-1")
        called = "Windows-1252" if western else "Latin-1"
        notes.append(f"{shown(str(file))} is not UTF-8; read as {called}")
    if "\0" in text:
        raise UsageError(f"{file} is no text: it holds NUL bytes. Save it as CSV in UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _bytes(file: Path) -> bytes:
    try:
        if file.is_dir():
            raise UsageError(
                f"{file} is a folder, no file of links. Give a file with a URL per line"
            )
        if file.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{file}: larger than 1 GiB. If it is a list, split it")
        if not file.is_file():
            raise UsageError(f"{file} is no file of links. Give a file with a URL per line")
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a NUL in a name is a ValueError
        raise UsageError(f"{file} does not exist. Give a file with a URL per line") from None
    except OSError as error:
        fault = f"{file} cannot be read: {error.strerror}"
        raise DatasetError(f"{fault}. Allow reading it, or copy it elsewhere") from None


def _refuse_other_formats(file: Path, data: bytes) -> None:
    called = next((name for begin, name in _OTHER_FORMATS.items() if data.startswith(begin)), "")
    if called == "zip" and (
        file.suffix.lower() in (".xlsx", ".xlsm", ".ods")
        or b"xl/workbook" in data
        or b"opendocument.spreadsheet" in data
    ):
        called = "xls"
    if called:
        raise UsageError(f"{file} is {_ADVICE[called]}")


def counts(line: str) -> bool:
    """Whether it is neither empty nor a comment."""
    text = line.lstrip(EDGES)
    return bool(text) and text[0] != "#"


def unwrapped(text: str) -> str:
    """Without quotes or angle brackets, and the comma that a list of a program has behind them.

    >>> unwrapped(' "<https://example.com/1.jpg>", ')
    'https://example.com/1.jpg'
    """
    text = text.strip(EDGES)
    for _ in range(3):
        if text[:1] not in ("", '"', "'", "<") or not (found := _WRAPPED.fullmatch(text)):
            break
        text = found[found.lastindex or 0].strip(EDGES)
    return text


def shown(text: str) -> str:
    """On one line, whatever stands in it."""
    if len(text) > MOST_CHARACTERS:
        text = text[:SHOWN] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
