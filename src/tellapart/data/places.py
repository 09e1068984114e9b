"""Where pictures and tables lie: paths of this machine, or URLs of any file system that fsspec knows.

A URL is kept as it was given, as text: a Path would fold its slashes. One that carries a password, a token
or a signature is refused wherever data is read, since it would be written into every run.
"""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from tellapart.errors import DatasetError, ImageError, UsageError

__all__ = [
    "as_url",
    "braces_expanded",
    "folder_of_url",
    "image_refusal",
    "is_there",
    "is_url",
    "joined",
    "place_name",
    "refuse_secret",
    "secret_refusal",
    "shown",
    "without_query",
]

_URL: Final = re.compile(  # two letters or more: C:/ is a drive; chains of file systems too
    r"(?:[A-Za-z][A-Za-z0-9+.-]+::)*[A-Za-z][A-Za-z0-9+.-]+://"
)
_FOLDED: Final = re.compile(r"((?:[a-z][a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+):/(?!/)")
_CHAIN: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+::|::[A-Za-z][A-Za-z0-9+.-]+:/")
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_WORDS: Final = frozenset(
    "sig pass pwd auth key jwt policy hdnts hmac authorization googleaccessid".split()
)
_SECRET_PARTS: Final = (
    "signature", "token", "secret", "passw", "passphrase", "credential", "apikey", "accesskey",
)  # fmt: skip
"""Of names in a query, by word or by part: those of signed links and of links with a password."""

_USER_IS_SECRET: Final = ("http", "https", "ftp", "ftps")  # abfs://container@account is an address
_HTTP: Final = ("http", "https")  # elsewhere ? and # may stand in a name
_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_PATTERN: Final = re.compile(r"[*?\[{]")
_RANGE: Final = re.compile(r"(\d{1,18})\.\.(\d{1,18})")
_MOST_EXPANDED: Final = 1_000_000


def is_url(name: str) -> bool:
    """Whether a text is a URL and no path.

    >>> is_url("s3://bucket/cat.jpg"), is_url("photos/cat.jpg"), is_url("C://cat.jpg")
    (True, False, False)
    """
    return _URL.match(name) is not None


def as_url(place: str | Path) -> str | None:
    """The URL that is meant, or None for a path of this machine. A Path's folded slashes are put back.

    >>> as_url("s3://bucket/a"), as_url(Path("s3://bucket/a")), as_url("photos")
    ('s3://bucket/a', 's3://bucket/a', None)
    """
    text = os.fspath(place)
    if is_url(text):
        return text
    found = _FOLDED.match(text) if isinstance(place, Path) else None
    if found is None or Path(f"{found[1]}:").exists():
        return None
    return f"{found[1]}://{'/' if found[1] == 'file' else ''}{text[found.end() :]}"


def joined(folder: str, path: str) -> str:
    """A path below the URL of a folder; a URL stays what it is.

    >>> joined("s3://bucket/pictures", "cat/1.jpg"), joined("s3://bucket", "https://a.org/1.jpg")
    ('s3://bucket/pictures/cat/1.jpg', 'https://a.org/1.jpg')
    """
    return path if is_url(path) else f"{folder.rstrip('/')}/{path.lstrip('/')}"


def folder_of_url(url: str) -> str:
    """The URL of the folder in which a file lies.

    >>> folder_of_url("https://a.org/tables/cats.csv?version=2")
    'https://a.org/tables'
    """
    return without_query(url).rpartition("/")[0]


def without_query(place: str) -> str:
    """A web address without what follows `?` or `#`, which of other places are letters of the name.

    >>> without_query("https://a.org/cats.csv?version=2"), without_query("s3://bucket/cats?.csv")
    ('https://a.org/cats.csv', 's3://bucket/cats?.csv')
    """
    scheme = place.partition("://")[0].lower()
    return re.split(r"[?#]", place, maxsplit=1)[0] if scheme in _HTTP else place


def place_name(place: str | Path) -> str:
    """What is made of the pictures at a place is called so, by default; a pattern has its folder's name.

    >>> place_name("s3://bucket/cats v2/*.tar"), place_name("https://a.org/cats.csv?version=2")
    ('cats-v2', 'cats')
    """
    url = as_url(place)
    text = (
        os.path.abspath(place)  # noqa: PTH100 (a link's own name counts)
        if url is None
        else without_query(url).partition("://")[2]
    )
    pattern = _PATTERN.search(text) if url is not None or not Path(place).exists() else None
    if pattern is None:
        name = Path(text.rstrip("/")).stem
    else:
        name = text[: pattern.start()].rpartition("/")[0].rpartition("/")[2]
    if url is not None:
        name = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    return name


def is_there(root: str | Path) -> bool:
    """Whether pictures may be found below `root`: a folder that exists, or a URL, which is not asked."""
    return as_url(root) is not None or Path(root).is_dir()


def shown(place: str | Path) -> str:
    """A place as it may be written down: without what is secret in it.

    >>> shown("https://me:pw@a.org/1.jpg?sig=abc")
    'https://a.org/1.jpg'
    """
    url = as_url(place)
    if url is None or not secret_refusal(url):
        return os.fspath(place)
    scheme, _, rest = url.partition("://")
    if _CHAIN.search(url) or (_names_user(scheme, rest) and rest.count("@") > 1):
        return f"{re.split('[:/]', url, maxsplit=1)[0]}:…"  # no telling where a secret ends
    if _names_user(scheme, rest):
        rest = rest.partition("@")[2]
    return f"{scheme}://{re.split('[?#]', rest, maxsplit=1)[0]}"


def secret_refusal(url: str) -> str:
    """Why a URL is refused, in words that do not repeat it; empty where nothing in it is secret, and for
    paths."""
    if not is_url(url):
        return ""
    if _CHAIN.search(url):
        return (
            "file systems are not chained here (::), since a secret may stand in any; give one URL"
        )
    scheme, _, rest = url.partition("://")
    query = re.split(r"[?#]" if scheme.lower() in _HTTP else r"\?", rest, maxsplit=1)[1:]
    names = (part.partition("=")[0] for part in re.split(r"[?&;#]", query[0])) if query else ()
    if _names_user(scheme, rest) or any(map(_is_secret, names)):
        return (
            "the URL carries a password, token or signature, which would be written into the run; give it "
            "without, and the credentials by the environment (AWS_ACCESS_KEY_ID and the like)"
        )
    return ""


def _names_user(scheme: str, rest: str) -> bool:
    """Whether a user with a password stands before the host, or one who may be a token. A password may
    hold what would end a host, as AWS's do."""
    if "@" not in rest:
        return False
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in host and scheme.lower() in _USER_IS_SECRET:
        return True
    _, colon, port = re.sub(r"^\[[0-9A-Fa-f:.]*\]", "", host).partition(":")
    return bool(colon) and not (port.isdecimal() or not port)


def _is_secret(name: str) -> bool:
    name = unquote(name)
    plain = re.sub(r"[^a-z]", "", name.lower())
    words = {word.lower() for word in _WORD.findall(name)}
    return bool(words & _SECRET_WORDS) or any(part in plain for part in _SECRET_PARTS)


def refuse_secret(place: str | Path) -> None:
    """Raises DatasetError for the URL of data that carries a secret, without repeating it."""
    url = as_url(place)
    if url is not None and (refusal := secret_refusal(url)):
        raise DatasetError(f"{shown(url)}: {refusal}")


def image_refusal(url: str) -> None:
    """Raises ImageError likewise, for one picture."""
    if refusal := secret_refusal(url):
        raise ImageError(shown(url), "holds a secret", refusal)


def braces_expanded(pattern: str) -> list[str]:
    """The names that `{000..003}` and `{a,b}` stand for, as in a shell. Raises UsageError for too many.

    >>> braces_expanded("train-{09..11}.tar"), braces_expanded("{a,b}.tar")
    (['train-09.tar', 'train-10.tar', 'train-11.tar'], ['a.tar', 'b.tar'])
    """
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    choices, endings = _choices(found[1]), braces_expanded(pattern[found.end() :])
    if len(choices) * len(endings) > _MOST_EXPANDED:
        raise UsageError(f"{pattern} stands for more than {_MOST_EXPANDED:,} names; name fewer")
    before = pattern[: found.start()]
    return [before + choice + ending for choice in choices for ending in endings]


def _choices(inside: str) -> list[str]:
    if (found := _RANGE.fullmatch(inside)) is None:
        return inside.split(",") if "," in inside else ["{" + inside + "}"]
    first, last = int(found[1]), int(found[2])
    if abs(last - first) >= _MOST_EXPANDED:
        raise UsageError(f"{{{inside}}} stands for more than {_MOST_EXPANDED:,} names; name fewer")
    width = len(found[1]) if found[1].startswith("0") or found[2].startswith("0") else 0
    step = 1 if last >= first else -1
    return [str(number).zfill(width) for number in range(first, last + step, step)]
