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
    "refuse_secret",
    "secret_refusal",
    "shown",
]

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters or more: C:/ is a drive
_FOLDED: Final = re.compile(r"([a-z][a-z0-9+.-]+):/(?!/)")
_ENDS: Final = re.compile(r"[?&;#]")
_SECRETS: Final = frozenset(
    "x-amz-signature x-amz-credential x-amz-security-token awsaccesskeyid signature sig "
    "x-goog-signature x-goog-credential googleaccessid token access_token id_token auth "
    "authorization api_key apikey password passwd secret client_secret".split()
)
"""Names of what stands in a signed link's query, or in one with a password."""

_USER_IS_SECRET: Final = ("http", "https", "ftp", "ftps")  # abfs://container@account is an address
_BRACES: Final = re.compile(r"\{([^{}]*)\}")
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
    return re.split(r"[?#]", url, maxsplit=1)[0].rpartition("/")[0]


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
    rest = _ENDS.split(rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def secret_refusal(url: str) -> str:
    """Why a URL is refused, in words that do not repeat it; empty where nothing in it is secret, and for
    paths."""
    if not is_url(url):
        return ""
    scheme, _, rest = url.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user = host.rpartition("@")[0]
    names = {unquote(part.partition("=")[0]).strip().lower() for part in _ENDS.split(rest)[1:]}
    if (user and (":" in user or scheme.lower() in _USER_IS_SECRET)) or names & _SECRETS:
        return (
            "the URL carries a password, token or signature, which would be written into the run; give it "
            "without, and the credentials by the environment (AWS_ACCESS_KEY_ID and the like)"
        )
    return ""


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
