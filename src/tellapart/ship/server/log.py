"""The log of a server: one JSON object a line, written by a thread of its own.

A line says when, how grave, what happened, and figures. What it never holds: pictures, their names,
tokens, addresses of those who ask. A reader of the log that stops reading stops the log alone: lines
beyond `MOST_LINES` are dropped, and the next line says how many.
"""

import json
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Any, Final, TextIO

__all__ = ["MOST_LINES", "Log"]

MOST_LINES: Final = 10_000
_TOGETHER: Final = (
    0.1  # seconds in which lines are gathered, so that a busy server wakes no thread for each
)


class Log:
    """Writes to `stream`, or nowhere where that is None. May be used from several threads.

    >>> import io
    >>> stream = io.StringIO()
    >>> log = Log(stream)
    >>> log.write("info", "request", status=200)
    >>> log.close()
    >>> stream.getvalue()[-52:]
    '"level": "info", "event": "request", "status": 200}\\n'
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._lock = threading.Lock()
        self._some, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="tellapart-log", daemon=True)
        if stream is not None:
            self._thread.start()

    def write(self, level: str, event: str, **facts: Any) -> None:
        """Add a line; never waits."""
        if self._stream is None:
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": time, "level": level, "event": event, **facts})
        with self._lock:
            if len(self._lines) < MOST_LINES:
                self._lines.append(line)
            else:
                self._dropped += 1
        if not self._some.is_set():
            self._some.set()

    def close(self) -> None:
        """Write what is left, for a second at most."""
        self._closed.set()
        self._some.set()
        if self._thread.is_alive():
            self._thread.join(1)

    def _run(self) -> None:
        while not self._closed.is_set():
            self._some.wait()
            self._closed.wait(_TOGETHER)
            self._some.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            lines, dropped = list(self._lines), self._dropped
            self._lines.clear()
            self._dropped = 0
        if dropped:
            lines.append(
                json.dumps({"level": "warning", "event": "lines_dropped", "lines": dropped})
            )
        if not lines or self._stream is None:
            return
        try:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more
            return
