"""A process that verifies and stores pictures, one after the other, and its end of the conversation.

Decoding runs here and not in the process that asks: side by side with it without sharing an interpreter
lock, and a picture that crashes a decoder takes no one along. Requests and answers are JSON, a line each,
over one socket; the body of a small picture follows its request. When the socket ends, so does this.

    request: [size of the body that follows or -1, name, file aside, places, max_size, min_side]
    at first ["ready"]
    answer:  ["ok", bytes, width, height, sha256, suffix], the same with "small",
             ["bad", reason, detail] or ["disk", text]
"""

import json
import signal
import socket
import warnings
from contextlib import suppress
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

from tellapart.data.gather.store import keep, verify_picture
from tellapart.errors import ImageError

__all__ = ["MOST_SECONDS", "main"]

MOST_SECONDS = 60  # for one picture; the largest take about five


def main() -> None:
    """Answer on the socket that is standard input, until it ends."""
    warnings.simplefilter("ignore")  # what matters of them comes back as reasons
    connection = socket.socket(fileno=0)
    # Where nobody listens any more, all is done or the other side was killed.
    with suppress(ConnectionError), connection, connection.makefile("rb") as requests:
        connection.sendall(b'["ready"]\n')
        while (line := requests.readline()).endswith(b"\n"):
            size, *rest = json.loads(line)
            content = requests.read(size) if size >= 0 else None
            if content is not None and len(content) < size:
                return  # the other side was killed over it
            signal.alarm(MOST_SECONDS)  # ends this process, whatever code it is in
            try:
                answer = _store(content, *rest)
            except OSError as error:
                answer = ["disk", error.strerror or str(error)]
            signal.alarm(0)
            connection.sendall(json.dumps(answer).encode() + b"\n")


def _store(
    content: bytes | None,
    name: str,
    aside: str,
    places: list[str],
    max_size: int | None,
    min_side: int,
) -> list[Any]:
    part = Path(aside)
    source: BufferedReader | BytesIO
    source, size = (
        (part.open("rb"), part.stat().st_size)
        if content is None
        else (BytesIO(content), len(content))
    )
    try:
        with source:
            facts, copy = verify_picture(source, size, name, max_size=max_size, min_side=min_side)
    except ImageError as error:
        part.unlink(missing_ok=True)
        return ["bad", error.reason, error.detail]
    numbers = [facts.bytes, facts.width, facts.height, facts.sha256, facts.suffix]
    if facts.is_small(min_side):
        part.unlink(missing_ok=True)
        return ["small", *numbers]
    stored = [Path(place, f"{facts.sha256}{facts.suffix}") for place in places]
    keep(part, content if copy is None else copy, stored)
    return ["ok", *numbers]


if __name__ == "__main__":
    main()
