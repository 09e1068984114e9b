"""Who may ask: whoever knows the token, or, where there is none, nobody from another page.

Without a token a server on this machine alone answers only requests that name this machine (else a page
elsewhere could have its own name lead here: DNS rebinding), and none that a browser sends for another page.
What is open to everybody even with a token tells nothing of the model: the page, its parts, its description,
and whether the server lives and is ready.
"""

import secrets
from typing import Final
from urllib.parse import urlsplit

from tellapart.errors import UsageError
from tellapart.ship.guarding import Hosts, Message, Refusal, only

__all__ = ["LEAST_TOKEN", "LOOPBACK", "Access", "checked_token"]

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
LEAST_TOKEN: Final = 16
"""Characters of a token."""

_OPEN: Final = ("/", "/healthz", "/readyz", "/openapi.json")
_CHALLENGE: Final = ((b"www-authenticate", b'Bearer realm="tellapart"'),)


def checked_token(token: str | None) -> str | None:
    """The token without the line end of its file. Raises UsageError where it is too short or no text of
    visible ASCII characters.

    >>> checked_token("0123456789abcdef\\n")
    '0123456789abcdef'
    """
    if token is None:
        return None
    token = token.strip()
    if len(token) < LEAST_TOKEN or not (
        token.isascii() and token.isprintable() and " " not in token
    ):
        raise UsageError(
            f"the token has to be at least {LEAST_TOKEN} visible ASCII characters, without blanks. Make "
            "one: openssl rand -hex 16"
        )
    return token


class Access:
    """Who may ask a server that listens at `host` and `port`."""

    def __init__(self, host: str, port: int, token: str | None) -> None:
        self._token = None if token is None else token.encode()
        self._hosts = Hosts(host, port) if token is None and host in LOOPBACK else None

    def refusal(self, scope: Message) -> Refusal | None:
        """What speaks against a request; None where nothing does."""
        if self._token is not None:
            return None if is_open(scope["path"]) or self._knows(scope) else self._ask()
        host = only(scope["headers"], b"host").lower()
        if self._hosts is not None and not self._hosts.has(host):
            return Refusal(403, "The address is not that of this server; use the printed one.")
        if _from_elsewhere(scope, host):
            return Refusal(
                403, "Requests from other pages are not answered; start it with a token."
            )
        return None

    def _knows(self, scope: Message) -> bool:
        kind, _, bearer = only(scope["headers"], b"authorization").partition(" ")
        given = bearer.strip().encode("latin-1")
        return secrets.compare_digest(self._token or b"", given) and kind.lower() == "bearer"

    def _ask(self) -> Refusal:
        return Refusal(
            401,
            "The token is missing or wrong. Send it as: Authorization: Bearer TOKEN.",
            _CHALLENGE,
        )


def is_open(path: str) -> bool:
    """Whether a path is answered without a token."""
    return path in _OPEN or path.startswith("/static/")


def _from_elsewhere(scope: Message, host: str) -> bool:
    """What a browser says of another page that asks; a link to the page itself may lead here."""
    headers = scope["headers"]
    site = only(headers, b"sec-fetch-site")
    if site and site not in ("none", "same-origin"):
        leads_here = only(headers, b"sec-fetch-mode") == "navigate" and scope["path"] == "/"
        return not (leads_here and scope["method"] == "GET")
    origin = only(headers, b"origin").lower()
    if not origin or site == "same-origin":
        return False
    try:
        return urlsplit(origin).netloc != host
    except ValueError:
        return True
