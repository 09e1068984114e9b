"""Tables of links: which line is a header, which columns hold the links and the classes, and the rows.

It does not ask whether a link can be asked for, nor whether a class can be called so.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from tellapart.data.gather.list_files import counts, shown, unwrapped
from tellapart.data.gather.urls import EDGES, MOST_CHARACTERS
from tellapart.errors import UsageError

__all__ = ["Header", "Row", "Table", "header_of", "is_link", "rows_of", "words_behind"]

# In order of preference, compared without underscores. A table that has both a page's address and a
# picture's is about the picture; the largest picture goes before smaller ones.
_LINK = """imageurl imagelink imagesrc imgurl imgsrc fileurl originalurl largeurl url urls link links
    sampleurl src href""".split()
_LABEL = ("label", "class", "category")
# What else a column called …_url may be: a page, somebody, or a picture made small.
_NO_PICTURE = set(
    """page source landing web website site home homepage post article author user owner creator
    artist photographer profile license licence avatar icon logo preview parent video""".split()
)
_LARGEST_FIRST = "original orig raw full file large big image img picture photo".split()
_SMALLER = ("medium", "regular", "sample", "small", "tiny", "mini")

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_LINK_BEGINS = re.compile(r"https?://|//[^/\s]", re.I)
_ADDRESS = re.compile(r"\w\.\w+(?::[0-9]+)?/|\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif)$", re.I)
_WORD = re.compile(r"""[^/.,;=&?%"<>:#\s][^/.,;=&?%"<>:#]*""")
_SIZE = re.compile(r"[A-Za-z]{0,2}[_-]?[0-9]+[A-Za-z]{0,2}")  # the h_200 of w_200,h_200
_FILE_ENDS = re.compile(r"[^?#]*/[^/?#]*\.[A-Za-z]{3,4}")
_MOST_LINES = 50  # of one row: beyond that, a quote was left open
_LOOKED_AT = 20  # rows, to see whether a column holds links
_SCANNED = 10_000  # lines behind what may be a header

Row = tuple[int, list[str] | str]


@dataclass(frozen=True, slots=True)
class Table:
    """Where things stand in a row."""

    delimiter: str
    width: int
    link: int
    label: int | None
    others: tuple[tuple[int, str], ...]

    def misfit(self, fields: Sequence[str]) -> str:
        """Why the fields are no row of it, or empty."""
        if len(fields) > self.width:
            advice = f"put a URL with {_DELIMITERS[self.delimiter]} in quotes"
            return f"{len(fields)} fields under {self.width} columns; {advice}"
        there = self.link < len(fields) and fields[self.link].strip(EDGES)
        return "" if there else "no link in it"


@dataclass(frozen=True, slots=True)
class Header:
    """The columns' names as they stand there, without quotes, and which column holds the links.

    >>> header = header_of(["Image URL;Label", "https://example.com/1.jpg;cat"], 0, "cats.csv")
    >>> header.link, header.label, header.delimiter
    (0, 1, ';')
    """

    names: tuple[str, ...]
    delimiter: str
    link: int
    label: int | None
    is_chosen: bool = False  # among several, or by the end of its name

    def table(self, *, labelled: bool) -> Table:
        """The table below it; without `labelled`, the label is one of the other columns."""
        names = [name.lower() for name in self.names]
        label = self.label if labelled else None
        others = []
        for at, name in enumerate(names):
            if at not in (self.link, label):
                before = names[:at].count(name)
                called = shown(name) or "column"
                others.append((at, f"{called} {before + 1}" if before or not name else called))
        return Table(self.delimiter, len(names), self.link, label, tuple(others))


def header_of(lines: Sequence[str], first: int, file: str) -> Header | None:
    """The header that line `first` is, or None.

    Raises UsageError where it must be one, but tells no column of links.
    """
    line = lines[first]
    if "://" in line or len(line) > MOST_CHARACTERS or is_link(unwrapped(line)):
        return None
    delimiter = max(_DELIMITERS, key=re.sub(r'"[^"]*"', "", line).count)
    names = tuple(unwrapped(field) for field in _fields(line, delimiter))
    keys = [_key(name) for name in names]
    plain = [key.replace("_", "") for key in keys]
    label = next((plain.index(name) for name in _LABEL if name in plain), None)
    known = [plain.index(name) for name in _LINK if name in plain]
    if known:
        linklike = sum(
            key.endswith(("_url", "_link")) or name in _LINK
            for key, name in zip(keys, plain, strict=True)
        )
        return Header(names, delimiter, known[0], label, is_chosen=linklike > 1)
    later = [line for line in islice(lines, first + 1, first + 1 + _SCANNED) if counts(line)]
    for at in _by_ending(keys):
        if label is not None or _holds_links(later[:_LOOKED_AT], delimiter, at):
            return Header(names, delimiter, at, label, is_chosen=True)
    _refuse_unknown(names, delimiter, label, later, file)
    return None


def _key(name: str) -> str:
    """ImageURL, image-url and Image Url are all image_url."""
    return re.sub(r"[\s_-]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).lower()


def _by_ending(keys: list[str]) -> list[int]:
    """Columns that may well hold links to pictures, the largest picture first."""

    def rank(at: int) -> int:
        words = keys[at].split("_")
        smaller = len(_LARGEST_FIRST) + 1 if any(word in _SMALLER for word in words) else 0
        places = [_LARGEST_FIRST.index(word) for word in words if word in _LARGEST_FIRST]
        return smaller + min(places, default=len(_LARGEST_FIRST))

    found = [
        at
        for at, key in enumerate(keys)
        if key.endswith(("_url", "_link"))
        and not any(word in _NO_PICTURE or word.startswith("thumb") for word in key.split("_"))
    ]
    return sorted(found, key=rank)


def _holds_links(lines: Sequence[str], delimiter: str, at: int) -> bool:
    """Whether one of the rows has a link there, or there are no rows at all."""
    rows = (_fields(line, delimiter) for line in lines)
    return not lines or any(at < len(fields) and is_link(fields[at]) for fields in rows)


def _refuse_unknown(
    names: Sequence[str], delimiter: str, label: int | None, later: Sequence[str], file: str
) -> None:
    if len(names) < 2 or any(_ADDRESS.search(name) for name in names):
        return
    if label is not None:
        raise UsageError(f"{file}: no column of links; call it url")
    if any(
        any(map(is_link, fields))
        for line in later
        if delimiter in line and len(fields := _fields(line, delimiter)) > 1
    ):
        found = ", ".join(shown(name[:40]) for name in names[:8])
        raise UsageError(
            f"{file}: its first line looks like a header ({found}{', …' if names[8:] else ''}), but no "
            "column is called url. Rename the column with the links to url."
        )


def is_link(text: str) -> bool:
    """Whether it begins as one.

    >>> is_link("https://example.com/1.jpg"), is_link("//example.com/1.jpg"), is_link("cat")
    (True, True, False)
    """
    return _LINK_BEGINS.match(text.lstrip(EDGES + "\"'<")) is not None


def _fields(line: str, delimiter: str) -> list[str]:
    if '"' not in line or len(line) > csv.field_size_limit():
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))


def words_behind(lines: Sequence[str], start: int) -> tuple[str, list[str]]:
    """The delimiter and, of each line, the word behind its link, where every line is LINK,WORD.

    A list of links with commas in them is none: `…/w_200,h_200/a.jpg`, `….jpg?resize=640,480`.

    >>> words_behind(["https://example.com/1.jpg,cat", "https://example.com/2.jpg,dog"], 0)
    (',', ['cat', 'dog'])
    """
    for delimiter in ",;":
        words: list[str] = []
        for line in islice(lines, start, None):
            if not counts(line):
                continue
            if not (word := _word_behind(line, delimiter)):
                words = []
                break
            words.append(word)
        if words:
            return delimiter, words
    return "", []


def _word_behind(line: str, delimiter: str) -> str:
    if delimiter not in line or len(line) > MOST_CHARACTERS or not is_link(line):
        return ""
    fields = _fields(line, delimiter)
    if len(fields) != 2:
        return ""
    link, word = unwrapped(fields[0]), fields[1].strip(EDGES)
    if not _WORD.fullmatch(word) or (_SIZE.fullmatch(word) and not _FILE_ENDS.fullmatch(link)):
        return ""
    return "" if link.partition("?")[2].isalpha() else word  # ….org/random?nature,water is whole


def rows_of(lines: list[str], at: int, table: Table) -> Iterator[Row]:
    """Rows, or what is wrong with one, and where each begins. Behind a wrong one, reading goes on at
    the next line: a quote that is left open takes no other row along."""
    while at < len(lines):
        line, used = lines[at], 1
        if '"' in line and counts(line):
            fields, used = _quoted(lines, at, table)
            yield at, fields
        elif line.strip(EDGES + table.delimiter) and counts(line):
            yield at, line.split(table.delimiter)
        at += used


def _quoted(lines: list[str], at: int, table: Table) -> tuple[list[str] | str, int]:
    """A row with quotes in it, and how many lines it takes up."""
    text = (lines[at + n] + "\n" for n in range(min(_MOST_LINES, len(lines) - at)))
    # Strict: a quote that is left open is an error then, and no field of many lines.
    reader = csv.reader(text, delimiter=table.delimiter, strict=True, skipinitialspace=True)
    try:
        fields = next(reader)
    except csv.Error as error:
        return f"its quotes do not fit ({error}); close them, and double those inside", 1
    if reader.line_num > 1:
        short = [fields[n] for n in (table.link, table.label) if n is not None and n < len(fields)]
        if len(fields) > table.width or any("\n" in field.strip(EDGES) for field in short):
            return "its quotes do not fit (a line break in it); close them", 1
    return fields, reader.line_num
