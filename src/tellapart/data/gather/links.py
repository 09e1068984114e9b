"""Reading lists of links: a URL per line, or a table with a column of URLs, in files or given directly.

One odd line is a link with a reason and its place, and the others are read. Which class a link belongs
to is told by the caller, by a column, or by the file's name (`urls_cat.csv`).

It does not ask for any link, so it does not know whether there is a picture behind it, nor whether two
different URLs lead to the same one.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tellapart.data.gather.class_names import class_in_name, class_of, usable_class
from tellapart.data.gather.link_tables import (
    Header,
    Table,
    header_of,
    is_link,
    rows_of,
    words_behind,
)
from tellapart.data.gather.list_files import SHOWN, counts, read_lines, shown, unwrapped
from tellapart.data.gather.urls import EDGES, BadLink, request_url
from tellapart.errors import UsageError

__all__ = ["Link", "Sources", "read_links"]

Sources = Mapping[str, str | Path | Sequence[str]] | str | Path | Sequence[str | Path]

_FURTHER = re.compile(r"""[\t,;](?:(?<=\t)|(?=[\s"'<]*[hH][tT][tT][pP][sS]?://))""")
_LINK_AS_A_PATH = re.compile(r"(https?):/+", re.I)
_FEW_CLASSES = 20

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

    A file whose first line names a column of links (url, image_url, file_url, link, src, href … or one
    that ends in _url or _link) among others is a table of comma, semicolon or tab separated values.
    So is one whose every line is LINK,WORD. Every other file holds a link per line; commas belong to
    it, unless another link follows, and behind a tab something else begins. Empty lines and those that
    begin with # are passed over. A link that stands there twice with the same label is one.

    Raises UsageError for what is no list (missing, a folder, no text, without links), for a header
    that names no column of links, a file that tells no class, and a class whose name cannot be a
    folder's; DatasetError for a file that cannot be read.

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
        if twice == 1:
            notes.append(f"1 link of {name} repeats an earlier one; it is taken once")
        elif twice:
            notes.append(f"{twice:,} links of {name} repeat earlier ones; each is taken once")
        elif len(links) == before:
            notes.append(f"{name} holds no links")
    if not links:
        names = ", ".join(name for name, _ in lists) or "nothing"
        raise UsageError(
            f"No links in what was given: {names}. Expected a URL per line, such as "
            "https://example.com/1.jpg, or a table whose first line is url,label"
        )
    return links, notes + _alike(links)


def _is_new(link: Link, seen: dict[str, set[str]]) -> bool:
    """Odd rows and links that were cut are never the same: what sets them apart is not at hand."""
    if link.reason == "odd row" or (len(link.url) > SHOWN and link.url.endswith("…")):
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
        f"the classes {' and '.join(labels)} differ only in case; if they are one, spell them alike"
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
    for file in files:
        if "=" in str(file) and not os.path.exists(file):  # noqa: PTH110 - false for any bad name
            raise UsageError(f"{file} does not exist. Did you mean --class {file}?")
    return [(shown(str(file)), _of_file(file, None, notes)) for file in files]


def _given(label: str, value: object, notes: list[str]) -> tuple[str, Iterator[Link]]:
    label = usable_class(label)
    if isinstance(value, str | os.PathLike):
        file = _path(value, ', or give a list: ["{}"]')
        return shown(str(file)), _of_file(file, label, notes)
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise UsageError(f"class {label}: expected a file or a list of links, not {value!r:.80}")
    return f"the list of {label}", _of_values(value, label)


def _of_values(values: Iterable[object], label: str) -> Iterator[Link]:
    for number, value in enumerate(values, 1):
        if not isinstance(value, str):  # such as pandas' nan
            detail = f"{label}, link {number}: expected text, not {type(value).__name__}"
            yield Link(shown(str(value)), label, "", "not a URL", detail)
        elif text := value.strip(EDGES):
            yield _link(text, label, f"{label}, link {number}")


def _path(file: object, advice: str = "") -> Path:
    if not isinstance(file, str | os.PathLike):
        raise UsageError(f"expected a file of links, not {file!r:.80}")
    text = os.fspath(file)
    if isinstance(text, str) and _LINK_AS_A_PATH.match(text):
        if not isinstance(file, str):  # a path has one slash of the two
            text = _LINK_AS_A_PATH.sub(r"\1://", text, count=1)
        text = shown(text)
        fault = f"{text} is a link; put it into a text file, one link a line, and give the file"
        raise UsageError(fault + advice.format(text))
    return Path(file)


def _label_of(file: Path) -> str:
    raw = class_in_name(file)
    if raw is None:
        raise UsageError(
            f"{file}: nothing tells the class of its links. Say it with --class NAME={file}, "
            f"or call the file urls_NAME{file.suffix or '.csv'}, or give it a column label"
        )
    return usable_class(raw, f" It comes from the name of {file}")


def _of_file(file: Path, label: str | None, notes: list[str]) -> Iterator[Link]:
    lines = read_lines(file, notes)
    first = next((at for at, line in enumerate(lines) if counts(line)), len(lines))
    if first == len(lines):
        return
    name = shown(str(file))
    header = header_of(lines, first, name)
    start = first + (header is not None)
    if header is None or len(header.names) == 1:
        header, notice = _unwritten_header(lines, start, file, label)
        notes += [f"{name} has no header; {notice}"] if notice else []
    if header is None:
        label = _label_of(file) if label is None else label
        yield from _of_lines(lines, start, label, file, notes)
        return
    labelled = label is None and header.label is not None
    label = _label_of(file) if label is None and not labelled else label
    if header.is_chosen:
        chosen = shown(header.names[header.link])
        notes.append(f"{name}: the links are taken from its column {chosen}")
    yield from _of_table(lines, start, header.table(labelled=labelled), label, file)


def _unwritten_header(
    lines: list[str], start: int, file: Path, label: str | None
) -> tuple[Header | None, str]:
    """The header of a file whose every line is LINK,WORD, and what there is to say about it."""
    delimiter, found = words_behind(lines, start)
    if not found:
        return None, ""
    words = sorted(set(found))
    one = words[0] if len(words) == 1 else ""
    named = class_in_name(file) if label is None else label
    same = one and named is not None and class_of(one)[0] == class_of(named)[0]
    are_classes = len(words) <= max(_FEW_CLASSES, len(found) // 2)  # captions are no classes
    if same:
        return Header(("url", "label"), delimiter, 0, 1), ""
    if label is None and are_classes and (named is None or not one):
        called = f"{len(words)} classes" if not one else f"the class {shown(one)}"
        notice = f"what stands behind its links is taken for their class ({called})"
        return Header(("url", "label"), delimiter, 0, 1), notice
    what = shown(one) if one else "what stands behind its links"
    notice = f"{what} is no part of its links, and kept as a further column"
    return Header(("url", "column 2"), delimiter, 0, None), notice


def _of_lines(
    lines: list[str], start: int, label: str, file: Path, notes: list[str]
) -> Iterator[Link]:
    where = f"{shown(file.name)} line"
    longer = 0
    for number, line in enumerate(lines[start:], start + 1):
        if not counts(line):
            continue
        columns = [column for column in _FURTHER.split(line) if column.strip(EDGES)]
        longer += len(columns) > 1
        yield _link(_chosen(columns), label, f"{where} {number}")
    if longer:
        many = f"{longer:,} line{'s' if longer > 1 else ''} of {shown(str(file))}"
        notes.append(f"in {many} the rest of the line after the link is ignored")


def _chosen(columns: list[str]) -> str:
    """The first column, or the first that looks like a link: ImageNet's lists begin with a number."""
    links = [unwrapped(column) for column in columns]
    return next((link for link in links if is_link(link)), links[0])


def _of_table(
    lines: list[str], start: int, table: Table, label: str | None, file: Path
) -> Iterator[Link]:
    where = f"{shown(file.name)} line"
    for at, fields in rows_of(lines, start, table):
        place = f"{where} {at + 1}"
        if fault := fields if isinstance(fields, str) else table.misfit(fields):
            url = shown(lines[at].strip(EDGES))
            yield Link(url, label or "", "", "odd row", f"{place}: {fault}")
        else:
            yield _of_row(list(fields), table, label, place)


def _of_row(fields: list[str], table: Table, label: str | None, place: str) -> Link:
    fault = ""
    if label is None:
        at = len(fields) if table.label is None else table.label
        raw = fields[at].strip(EDGES) if at < len(fields) else ""
        label, fault = class_of(raw)
        if fault:
            called = f"a class cannot be called {raw!r:.200}: {fault}"
            fault = called if label else "its label is empty"
    others = {name: fields[at].strip(EDGES) for at, name in table.others if at < len(fields)}
    return _link(unwrapped(fields[table.link]), label, place, _json(others), fault)


def _link(text: str, label: str, place: str, provenance: str = "", fault: str = "") -> Link:
    try:
        # Pages leave the scheme out where it is to be their own.
        request = request_url("https:" + text if text[:2] == "//" and is_link(text) else text)
    except BadLink as error:
        detail = f"{place}: {error.detail}"
        return Link(shown(text), label, "", error.reason, detail, provenance)
    if fault:
        reason = "bad class name" if label else "no label"
        return Link(shown(text), label, "", reason, f"{place}: {fault}", provenance)
    # One string where they are equal: lists are long.
    return Link(shown(text), label, text if request == text else request, "", "", provenance)


def _json(values: dict[str, str]) -> str:
    text = _compact({name: value for name, value in values.items() if value})
    if text == "{}" or text.isprintable():
        return text.removeprefix("{}")
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
