"""Reading lists of links: a URL per line, or a table with a column of URLs, in files or given directly.

One odd line is a link with a reason and its place, and the others are read. Which class a link belongs
to is told by the caller, by the file's name (`urls_cat.csv`) or by a column.

It does not ask for any link, so it does not know whether there is a picture behind it, nor whether two
different URLs lead to the same one.
"""

import codecs
import csv
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tellapart.data.gather.urls import EDGES, MOST_CHARACTERS, BadLink, request_url
from tellapart.errors import DatasetError, UsageError

__all__ = ["Link", "Sources", "read_links"]

Sources = Mapping[str, str | Path | Sequence[str]] | str | Path | Sequence[str | Path]

# A table that has both a page's address and a picture's is about the picture.
_LINK = ("image_url", "image_link", "url", "urls", "link", "links", "src", "href")
_LABEL = ("label", "class", "category")
_CLASS_IN_NAME = re.compile(r"(?:urls?|links?)[_-](.+)|(.+)[_-](?:urls?|links?)", re.I | re.S)
_FURTHER = re.compile(r"""[\t,;](?:(?<=\t)|(?=[\s"'<]*[hH][tT][tT][pP][sS]?://))""")
_WRAPPED = re.compile(r"""(?:"(.*)"|'(.*)'|<(.*)>)[,;]?""", re.S)
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    port + number for port in ("COM", "LPT") for number in "0123456789¹²³"
}
_MOST_BYTES = 1 << 30
_MOST_LINES = 50  # of one row: beyond that, a quote was left open
_SHOWN = 200

_compact = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Link:
    """A line of a list: what stands there, and what to ask for or why that cannot be.

    >>> Link("ftp://a.org/1.jpg", "cat", "", "scheme not allowed", "cats.txt line 1: …").request
    ''
    """

    url: str  # as it stands in the list, unprintable characters escaped; cut to 200 beyond 8,000
    label: str
    request: str  # the URL to ask for, in ASCII; empty where there is none
    reason: str = ""  # not a URL, scheme not allowed, odd row, no label, bad class name; or empty
    detail: str = ""  # for people, with file and line
    provenance: str = ""  # the row's other columns that are not empty, as JSON


def read_links(sources: Sources) -> tuple[list[Link], list[str]]:
    """Links in the lists' order, and notes.

    `sources` is a mapping from class to a file or to a sequence of URLs, or one or more files. Of a
    file that comes without a class, a column label, class or category tells it, or else a name such
    as urls_CLASS.csv, links-CLASS.txt or CLASS_urls.txt.

    A file whose first line names a column (url, urls, link, links, image_url, image_link, href, src)
    among others is a table of comma, semicolon or tab separated values. Every other file holds a link
    per line; commas belong to it, unless another link follows, and behind a tab something else begins.
    Empty lines and those that begin with # are passed over. A link that stands there twice with the
    same label is one.

    Raises UsageError for a file that does not exist, that tells no class, or a class whose name cannot
    be a folder's; DatasetError for a file that cannot be read, and where there are no links at all.

    >>> links, notes = read_links({"cat": ["https://example.com/1.jpg", "ftp://example.com/2.jpg"]})
    >>> [(link.label, link.request, link.reason) for link in links]
    [('cat', 'https://example.com/1.jpg', ''), ('cat', '', 'scheme not allowed')]
    >>> links[1].detail
    'cat, link 2: its scheme is ftp; only http and https are'
    """
    links: list[Link] = []
    notes: list[str] = []
    seen: dict[str, set[str]] = {}
    lists = _lists(sources, notes)
    for name, found in lists:
        before, twice = len(links), 0
        for link in found:
            if _is_new(link, seen):
                links.append(link)
            else:
                twice += 1
        if twice:
            notes.append(f"{twice} links of {name} repeat earlier ones; each is taken once")
        elif len(links) == before:
            notes.append(f"{name} holds no links")
    if not links:
        names = ", ".join(name for name, _ in lists) or "nothing"
        raise DatasetError(
            f"No links in what was given: {names}. Expected a URL per line, such as "
            "https://example.com/1.jpg, or a table whose first line is url,label"
        )
    return links, notes + _alike(links)


def _is_new(link: Link, seen: dict[str, set[str]]) -> bool:
    """Odd rows and links that were cut are never the same: what sets them apart is not at hand."""
    if link.reason == "odd row" or (len(link.url) > _SHOWN and link.url.endswith("…")):
        return True
    urls = seen.setdefault(link.label, set())
    before = len(urls)
    urls.add(link.url)
    return len(urls) > before


def _alike(links: list[Link]) -> list[str]:
    """Notes on classes that only a file system which tells upper from lower case keeps apart."""
    spellings: dict[str, list[str]] = {}
    for label in dict.fromkeys(link.label for link in links if not link.reason):
        spellings.setdefault(label.casefold(), []).append(label)
    return [
        f"the classes {' and '.join(labels)} differ only in case; are they one?"
        for labels in spellings.values()
        if len(labels) > 1
    ]


def _lists(sources: Sources, notes: list[str]) -> list[tuple[str, Iterator[Link]]]:
    """Each list's name and its links, which are read when they are asked for."""
    if isinstance(sources, Mapping):
        return [_given(label, value, notes) for label, value in sources.items()]
    if isinstance(sources, str) or not isinstance(sources, Iterable):
        sources = [sources]
    files = [_path(file) for file in sources]
    return [(_shown(str(file)), _of_file(file, None, notes)) for file in files]


def _given(label: str, value: object, notes: list[str]) -> tuple[str, Iterator[Link]]:
    label = _usable(label, "was given")
    if isinstance(value, str | os.PathLike):
        return _shown(str(value)), _of_file(_path(value), label, notes)
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise UsageError(f"class {label}: expected a file or a list of links, not {value!r:.80}")
    return f"the list of {label}", _of_values(value, label)


def _of_values(values: Iterable[object], label: str) -> Iterator[Link]:
    for number, value in enumerate(values, 1):
        if not isinstance(value, str):  # such as pandas' nan
            detail = f"{label}, link {number}: expected text, not {type(value).__name__}"
            yield Link(_shown(str(value)), label, "", "not a URL", detail)
        elif text := value.strip(EDGES):
            yield _link(text, label, f"{label}, link {number}")


def _path(file: object) -> Path:
    if not isinstance(file, str | os.PathLike):
        raise UsageError(f"expected a file of links, not {file!r:.80}")
    if str(file).startswith(("http://", "https://")):
        raise UsageError(f"{_shown(str(file))} is a link; expected a file that holds links")
    return Path(file)


def _label_of(file: Path) -> str:
    if found := _CLASS_IN_NAME.fullmatch(file.stem):
        return _usable(found[1] or found[2], f"comes from the name of {file}")
    raise UsageError(
        f"{file}: nothing tells the class of its links. Say it with --class NAME={file}, "
        f"or call the file urls_NAME{file.suffix or '.csv'}, or give it a column label"
    )


def _usable(raw: object, origin: str) -> str:
    label, fault = _class(raw) if isinstance(raw, str) else ("", "it is no text")
    if fault:
        raise UsageError(f"{raw!r:.200} cannot be a class: {fault}. It {origin}")
    return label


@lru_cache(65_536)
def _class(raw: str) -> tuple[str, str]:
    """The class, and why it cannot be a folder's name; folders go to machines with other rules."""
    label = unicodedata.normalize("NFC", raw.strip(EDGES))
    return _shown(label), _fault(label)


def _fault(label: str) -> str:
    if not label:
        return "it is empty"
    if odd := next((c for c in label if c in '/\\:*?"<>|' or not c.isprintable()), ""):
        return f"{odd!r} cannot stand in a folder's name everywhere"
    if label.startswith(".") or label.endswith("."):
        return "it begins or ends with a dot"
    if label == "__MACOSX" or label.split(".")[0].rstrip().upper() in _DEVICES:
        return "the name is reserved"
    size = len(label.encode())
    return f"it is longer than 100 bytes ({size})" if size > 100 else ""


def _of_file(file: Path, label: str | None, notes: list[str]) -> Iterator[Link]:
    lines = _lines(file, notes)
    first = next((at for at, line in enumerate(lines) if _counts(line)), len(lines))
    if first == len(lines):
        return
    where = f"{_shown(file.name)} line"
    names, delimiter = _header(lines[first])
    labelled = label is None and any(name in names for name in _LABEL)
    label = _label_of(file) if label is None and not labelled else label
    if len(names) > 1:
        table = _table(names, delimiter, labelled)
        if others := [name for name in _LINK if name in names and name != names[table.link]]:
            chosen = f"taken from {names[table.link]}, not from {' or '.join(others)}"
            notes.append(f"the links of {_shown(str(file))} are {chosen}")
        yield from _of_table(lines, first + 1, table, label, where)
        return
    longer = 0
    for number, line in enumerate(lines, 1):
        if not _counts(line) or (names and number == first + 1):
            continue
        columns = [column for column in _FURTHER.split(line) if column.strip(EDGES)]
        longer += len(columns) > 1
        yield _link(_chosen(columns), label or "", f"{where} {number}")
    if longer:
        notes.append(f"{longer} lines of {_shown(str(file))} hold more than a link; it is left out")


def _counts(line: str) -> bool:
    text = line.lstrip(EDGES)
    return bool(text) and text[0] != "#"


def _chosen(columns: list[str]) -> str:
    """The first column, or the first that looks like a link: ImageNet's lists begin with a number."""
    links = [_unwrapped(column) for column in columns]
    return next((link for link in links if link[:4].lower() == "http"), links[0])


def _unwrapped(text: str) -> str:
    """Without quotes or angle brackets, and the comma that a list of a program has behind them."""
    text = text.strip(EDGES)
    for _ in range(3):
        if text[:1] not in ("", '"', "'", "<") or not (found := _WRAPPED.fullmatch(text)):
            break
        text = found[found.lastindex or 0].strip(EDGES)
    return text


def _header(line: str) -> tuple[list[str], str]:
    """The columns' names and what separates them; no names where the line is no header."""
    if "://" in line or len(line) > MOST_CHARACTERS:
        return [], ""
    delimiter = max(_DELIMITERS, key=re.sub(r'"[^"]*"', "", line).count)
    fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
    names = [_unwrapped(field).lower() for field in fields]
    return (names if set(names).intersection(_LINK) else []), delimiter


def _lines(file: Path, notes: list[str]) -> list[str]:
    """Lines as an editor counts them: a form feed or a Unicode separator ends none."""
    data = _bytes(file)
    try:
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        western = all(byte not in data for byte in b"\x81\x8d\x8f\x90\x9d")  # not in Windows-1252
        text = data.decode("cp1252" if western else "latin-1")
        called = "Windows-1252" if western else "Latin-1"
        notes.append(f"{_shown(str(file))} is not UTF-8; read as {called}")
    if "\0" in text:
        raise DatasetError(f"{file} is no text: it holds NUL bytes. Save it as CSV in UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _bytes(file: Path) -> bytes:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise DatasetError(f"{file}: larger than 1 GiB. If it is a list, split it")
        if not file.is_file():
            raise DatasetError(f"{file} is no file of links. Give a file with a URL per line")
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a NUL in a name is a ValueError
        raise UsageError(f"{file} does not exist. Give a file with a URL per line") from None
    except OSError as error:
        fault = f"{file} cannot be read: {error.strerror}"
        raise DatasetError(f"{fault}. Allow reading it, or copy it elsewhere") from None


@dataclass(frozen=True, slots=True)
class _Table:
    """Where things stand in a row."""

    delimiter: str
    width: int
    link: int
    label: int | None
    others: tuple[tuple[int, str], ...]


def _table(names: list[str], delimiter: str, labelled: bool) -> _Table:
    link = next(names.index(name) for name in _LINK if name in names)
    label = next((names.index(name) for name in _LABEL if name in names), None)
    others = []
    for at, name in enumerate(names):
        if at != link and not (labelled and at == label):
            before = names[:at].count(name)
            called = _shown(name) or "column"
            others.append((at, f"{called} {before + 1}" if before or not name else called))
    return _Table(delimiter, len(names), link, label if labelled else None, tuple(others))


def _of_table(
    lines: list[str], start: int, table: _Table, label: str | None, where: str
) -> Iterator[Link]:
    for at, fields in _rows(lines, start, table):
        place = f"{where} {at + 1}"
        if fault := fields if isinstance(fields, str) else _misfit(fields, table):
            url = _shown(lines[at].strip(EDGES))
            yield Link(url, label or "", "", "odd row", f"{place}: {fault}")
        else:
            yield _of_row(list(fields), table, label, place)


def _misfit(fields: list[str], table: _Table) -> str:
    if len(fields) > table.width:
        advice = f"put a URL with {_DELIMITERS[table.delimiter]} in quotes"
        return f"{len(fields)} fields under {table.width} columns; {advice}"
    there = table.link < len(fields) and fields[table.link].strip(EDGES)
    return "" if there else "no link in it"


def _rows(lines: list[str], at: int, table: _Table) -> Iterator[tuple[int, list[str] | str]]:
    """Rows, or what is wrong with one, and where each begins. Behind a wrong one, reading goes on at
    the next line: a quote that is left open takes no other row along."""
    while at < len(lines):
        line, used = lines[at], 1
        if '"' in line and _counts(line):
            fields, used = _quoted(lines, at, table)
            yield at, fields
        elif line.strip(EDGES + table.delimiter) and _counts(line):
            yield at, line.split(table.delimiter)
        at += used


def _quoted(lines: list[str], at: int, table: _Table) -> tuple[list[str] | str, int]:
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


def _of_row(fields: list[str], table: _Table, label: str | None, place: str) -> Link:
    fault = ""
    if label is None:
        at = len(fields) if table.label is None else table.label
        label, fault = _class(fields[at] if at < len(fields) else "")
    others = {name: fields[at].strip(EDGES) for at, name in table.others if at < len(fields)}
    return _link(_unwrapped(fields[table.link]), label, place, _json(others), fault)


def _link(text: str, label: str, place: str, provenance: str = "", fault: str = "") -> Link:
    try:
        request = request_url(text)
    except BadLink as error:
        detail = f"{place}: {error.detail}"
        return Link(_shown(text), label, "", error.reason, detail, provenance)
    if fault:
        reason = "bad class name" if label else "no label"
        return Link(_shown(text), label, "", reason, f"{place}: {fault}", provenance)
    # One string where they are equal: lists are long.
    return Link(_shown(text), label, text if request == text else request, "", "", provenance)


def _shown(text: str) -> str:
    """On one line, whatever stands in it."""
    if len(text) > MOST_CHARACTERS:
        text = text[:_SHOWN] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _json(values: dict[str, str]) -> str:
    text = _compact({name: value for name, value in values.items() if value})
    if text == "{}" or text.isprintable():
        return text.removeprefix("{}")
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
