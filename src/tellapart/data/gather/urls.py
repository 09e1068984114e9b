"""What to ask a server for, made from what people paste into a list: a URL, or nearly one.

What is valid is kept to the letter: a signed URL whose `%2F` or `+` is written in another way is another
URL. The rest is done as the WHATWG URL standard has browsers do it (https://url.spec.whatwg.org),
dot segments such as `/../` included. Stricter than browsers, it takes `http:/host`, and a host with
white space, a backslash or a percent sign, for no URL; laxer, it leaves numbers as hosts as they are.
A backslash in the path is percent-encoded, and no slash; `%`, `^`, `|` and braces never stay bare.

It does not know whether the host exists, or whether its address is one that may be asked.
"""

import re
from functools import lru_cache
from ipaddress import IPv6Address
from urllib.parse import quote

from yarl import URL

__all__ = ["EDGES", "MOST_CHARACTERS", "BadLink", "request_url"]

EDGES = (
    "".join(chr(code) for code in range(0x3001) if code <= 32 or chr(code).isspace())
    + "\u200b\u200e\u200f\u2060\ufeff"
)
"""What is taken off both ends: white space, controls, and what is copied along without being seen."""

MOST_CHARACTERS = 8_000
"""Servers refuse longer ones: 8 KiB is the usual limit of a request's first line."""

_NOT_A_URL = "not a URL"
_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?!\s)")
_PARTS = re.compile(r"//([^/?#]*)([^?#]*)\??([^#]*)")
_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_PLACE = re.compile(r"(\[[^\]]*\]|[^:]*)(.*)", re.DOTALL)
_PORT = re.compile(r":0*([0-9]{1,5})")
_UNSAFE = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~:/?@!$&'()*+,;=%\[\]]+")
_UNSAFE_IN_USER = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~:!$&'()*+,;=%]+")
_DOTS = re.compile(r"/(?:\.|%2[eE])")
_BREAKS = str.maketrans("", "", "\t\r\n")


class BadLink(ValueError):
    """Text that cannot be asked for.

    `reason` is one short phrase, the same for the same fault; `detail` is for people:

    >>> BadLink("scheme not allowed", "ftp is not http or https").reason
    'scheme not allowed'
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["BadLink"], tuple[str, str]]:
        return type(self), (self.reason, self.detail)


def request_url(link: str) -> str:
    """The URL to ask for, in printable ASCII; asking for it again gives the same.

    Non-ASCII characters, and those that may not stand in a URL, are percent-encoded as UTF-8; tabs and
    line breaks behind the host fall out. A `%` that begins no escape becomes `%25`. The host is in
    lower case and, where it is not ASCII, in Punycode (IDNA). Dot segments are resolved. The fragment,
    the scheme's usual port and a `?` with nothing behind it are dropped.

    Raises BadLink where the scheme is none or is not http or https, where the host or port cannot be
    one, and beyond 8,000 characters.

    >>> request_url("HTTP://Exämple.com:80/a b/ü.jpg?sig=a%2fb+c#top")
    'http://xn--exmple-cua.com/a%20b/%C3%BC.jpg?sig=a%2fb+c'
    >>> request_url("www.example.com/a.jpg")
    Traceback (most recent call last):
    ...
    tellapart.data.gather.urls.BadLink: not a URL: it has no scheme; put https:// before it
    """
    link = link.strip(EDGES)
    if len(link) > MOST_CHARACTERS:
        raise _too_long()
    scheme = _scheme(link)
    parts = _PARTS.match(link, len(scheme) + 1)
    if not parts:
        raise BadLink(_NOT_A_URL, f"two slashes are missing; it has to begin with {scheme}://")
    authority, path, query = parts.groups()
    try:
        query = _encoded(query)
        url = f"{scheme}://{_authority(authority, scheme)}{_path(path)}"
    except UnicodeEncodeError:
        raise BadLink(_NOT_A_URL, "it holds half a character (a lone surrogate)") from None
    url += f"?{query}" if query else ""
    if len(url) > MOST_CHARACTERS:
        raise _too_long()
    return url


def _too_long() -> BadLink:
    return BadLink(_NOT_A_URL, f"too long: more than {MOST_CHARACTERS:,} characters")


def _scheme(link: str) -> str:
    """http or https."""
    if not link:
        raise BadLink(_NOT_A_URL, "it is empty")
    found = _SCHEME.match(link)
    scheme = found[1].lower() if found else ""
    if scheme in _PORTS:
        return scheme
    if len(scheme) == 1:
        raise BadLink(_NOT_A_URL, "it is a file's path; links begin with http:// or https://")
    # A host with a port, such as www.example.com:8080, looks like a scheme too.
    if not scheme or "." in scheme or scheme == "localhost":
        raise BadLink(_NOT_A_URL, "it has no scheme; put https:// before it")
    raise BadLink("scheme not allowed", f"its scheme is {scheme[:40]}; only http and https are")


def _authority(authority: str, scheme: str) -> str:
    """User, host and port, as they are sent."""
    if "\\" in authority:  # for browsers, the host ends there; for others, a user's name goes on
        raise BadLink(_NOT_A_URL, "a backslash stands where its host is; expected slashes")
    user, _, place = authority.rpartition("@")
    found = _PLACE.match(place)
    host, port = found.groups() if found else ("", "")
    sent = _host(host)
    if port not in ("", ":"):
        digits = _PORT.fullmatch(port)
        number = int(digits[1]) if digits else 0
        if not 0 < number < 65_536:
            fault = f"{port.lstrip(':')[:40]!r} is no port; expected a number from 1 to 65535"
            raise BadLink(_NOT_A_URL, fault)
        sent += f":{number}" if number != _PORTS[scheme] else ""
    user = _encoded(user, _UNSAFE_IN_USER)
    return f"{user}@{sent}" if user else sent


@lru_cache(4096)
def _host(host: str) -> str:
    if not host:
        raise BadLink(_NOT_A_URL, "it names no host")
    try:
        if host.startswith("["):
            if "%" in host:  # a zone is a network card of one machine
                raise ValueError
            IPv6Address(host[1:-1])
            return host.lower()
        # The build checks, among others, for characters that turn into others, or into none.
        sent = host.lower() if host.isascii() else URL.build(scheme="http", host=host).raw_host
    except ValueError:
        sent = None
    if not sent or not _HOST.fullmatch(sent) or len(sent) > 253:
        raise BadLink(_NOT_A_URL, f"{host[:80]!r} is no host")
    return sent


def _path(path: str) -> str:
    path = _encoded(path)
    if not _DOTS.search(path):
        return path or "/"
    kept: list[str] = []
    segments = path[1:].split("/")
    for segment in segments:
        plain = segment.replace("%2e", ".").replace("%2E", ".")
        if plain == "..":
            del kept[-1:]
        elif plain != ".":
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if plain in (".", "..") and kept else "")


def _encoded(text: str, unsafe: re.Pattern[str] = _UNSAFE) -> str:
    if not text.isprintable():
        text = text.translate(_BREAKS)
    return unsafe.sub(lambda found: quote(found[0], safe=""), text)
