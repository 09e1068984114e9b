"""Reading from afar again where what went wrong may pass, and counting how often that was needed.

All retries are made here and nowhere below, so that each is counted: up to three more tries, after waits
that double and are spread by chance (https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/).
What is missing or forbidden is not asked for twice.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from tellapart.data.ordered_map import stopping
from tellapart.errors import ImageError, MissingExtra

__all__ = ["Cut", "count_retries", "counting_retries", "patiently", "retries_sentence"]

_TRIES: Final = 4
_BACKOFF = 0.3  # seconds before the second try, at most
_LONGEST: Final = 8.0

_listening: list[Counter[str]] = []
_lock = threading.Lock()

T = TypeVar("T")


class Cut(Exception):
    """A body that is shorter than was announced."""


@contextmanager
def counting_retries() -> Iterator["Counter[str]"]:
    """How often something was read again while the block ran, by reason: `slow down` (429, 503),
    `server error`, `timeout`, `cut`, `connection`.

    Counts all threads of this process.

    >>> with counting_retries() as retries:
    ...     pass
    >>> retries.total()
    0
    """
    counter: Counter[str] = Counter()
    with _lock:
        _listening.append(counter)
    try:
        yield counter
    finally:
        with _lock:
            _listening[:] = [other for other in _listening if other is not counter]


def count_retries(retries: Mapping[str, int]) -> None:
    """As if they had happened in this process: those that a worker tells of."""
    with _lock:
        for counter in _listening:
            counter.update(retries)


def retries_sentence(retries: "Counter[str]") -> str:
    """What a note says of them; empty where there were none.

    >>> retries_sentence(Counter({"cut": 1, "slow down": 2}))
    '3 reads were tried again: 2 slow down, 1 cut'
    """
    if not (count := retries.total()):
        return ""
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in retries.most_common())
    return f"{count:,} read{'s were' if count > 1 else ' was'} tried again: {reasons}"


def patiently(name: str, read: Callable[[], T]) -> T:
    """What `read()` gives, asked again where its failure may pass. Raises ImageError with `name`.

    In a thread of `ordered_map` it is not asked again once that is interrupted.
    """
    stop = stopping()
    for number in range(1, _TRIES + 1):
        try:
            return read()
        except (ImageError, MissingExtra):
            raise
        except Exception as error:  # every file system raises its own
            reason = _may_pass(error)
            if not reason or number == _TRIES or stop.is_set():
                raise _told(name, error, reason, number) from None
        count_retries({reason: 1})
        wait = min(_LONGEST, _BACKOFF * 2 ** (number - 1))
        wait *= random.uniform(0.5, 1)  # noqa: S311 (to spread, not to keep secret)
        stop.wait(wait)
    raise AssertionError("unreachable")


def _may_pass(error: BaseException) -> str:
    """The reason for trying again; empty where that would be in vain."""
    status, names = _status(error), _kinds(error)
    if status in (429, 503) or "SlowDown" in _code(error):
        return "slow down"
    if status in (408, 425, 500, 502, 504):
        return "server error"
    if _code(error) == "RequestTimeout" or names & _TIMEOUTS:
        return "timeout"
    if names & _CUTS:
        return "cut"
    if status == 0 and names & _CONNECTIONS and not names & _FINAL:
        return "connection"
    return ""


_TIMEOUTS: Final = frozenset("TimeoutError ReadTimeoutError ConnectTimeoutError".split())
_CUTS: Final = frozenset(
    "Cut ClientPayloadError IncompleteReadError IncompleteRead ResponseStreamingError".split()
)
_CONNECTIONS: Final = frozenset("ConnectionError ClientConnectionError HTTPClientError".split())
_FINAL: Final = frozenset(
    "ClientConnectorCertificateError ClientConnectorSSLError SSLError InvalidURL".split()
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """It, and what it was raised for: s3fs and others put their own words over it."""
    seen: BaseException | None = error
    for _ in range(5):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def _kinds(error: BaseException) -> set[str]:
    """By name, so that no library has to be there; botocore's and aiohttp's are known by them."""
    return {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}


def _status(error: BaseException) -> int:
    for one in _chain(error):
        response: Any = getattr(one, "response", None)
        if isinstance(response, dict):
            value = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        else:
            value = getattr(one, "status", None) or getattr(one, "code", None)
        if isinstance(value, int) and value >= 100:
            return value
    return 0


def _code(error: BaseException) -> str:
    for one in _chain(error):
        response: Any = getattr(one, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return ""


def _told(name: str, error: Exception, reason: str, tries: int) -> ImageError:
    """Never with the library's own text, in which a key or the whole URL may stand."""
    status, kinds, code = _status(error), _kinds(error), _code(error)
    if (
        status in (404, 410)
        or ("FileNotFoundError" in kinds and not reason)  # fsspec has it for silent servers too
        or code in ("NoSuchKey", "NoSuchBucket")
    ):
        return ImageError(name, "missing", "there is no such file")
    if status in (401, 403) or kinds & {"PermissionError", "NoCredentialsError"}:
        what = code or (str(status) if status else "no credentials")
        hint = "; credentials come from the environment (AWS_ACCESS_KEY_ID and the like)"
        return ImageError(name, "not allowed", what + ("" if name.startswith("http") else hint))
    said = " ".join(filter(None, (str(status or ""), "" if code == str(status) else code)))
    if reason == "cut":
        return ImageError(name, "cannot be read", f"its body was cut, in {tries} tries")
    if reason:
        told = f"{reason} ({said})" if said else reason
        return ImageError(name, "not reachable", f"{told}, in {tries} tries; run again later")
    return ImageError(name, "cannot be read", f"{type(error).__name__} {said}".strip())
