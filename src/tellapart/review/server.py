"""The verb `clean`: a review is opened, served on this machine, and closed when the user is done."""

import asyncio
import getpass
import os
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import uvicorn

from tellapart.data.dataset import Dataset
from tellapart.data.plain_text import plain
from tellapart.review.access import Access, Gate
from tellapart.review.review import Review, checked_name
from tellapart.ship.listening import QuietServer, address_of, bind, stopped_by_signals
from tellapart.training.embed import Progress
from tellapart.training.run import Run
from tellapart.training.train import TrainOptions

__all__ = ["Kept", "ReviewServer", "clean"]

_PATIENCE: Final = 3  # seconds for answers that are being given when it stops


@dataclass(frozen=True)
class Kept:
    """What a review ended with: where the decisions are, and how many pictures are decided, by action."""

    journal: Path
    counts: dict[str, int]

    @property
    def decisions(self) -> int:
        return sum(self.counts.values())

    def sentence(self) -> str:
        """In one line."""
        n = self.decisions
        return f"{n:,} decision{'' if n == 1 else 's'} kept in {plain(str(self.journal))}"


class ReviewServer:
    """Serves a review at `url`, which holds the token, until it is stopped.

    `serve` runs in the calling thread; as a context it runs in a thread of its own.

    >>> with ReviewServer(review) as server:                  # doctest: +SKIP
    ...     print(server.url)
    """

    def __init__(
        self,
        review: Review,
        host: str = "127.0.0.1",
        port: int = 0,
        who: str | None = None,
        *,
        bound: socket.socket | None = None,
    ) -> None:
        from tellapart.review.app import create_app

        self.review = review
        self._socket = bound or bind(host, port)
        self._socket.listen()
        self.port: int = self._socket.getsockname()[1]
        self.access = Access(self.port, host)
        application: Any = Gate(create_app(review, checked_name(who or _user())), self.access)
        self._server = QuietServer(
            uvicorn.Config(
                application, http="h11", loop="asyncio", ws="none", lifespan="off", log_config=None,
                log_level="critical", access_log=False, server_header=False,
                timeout_graceful_shutdown=_PATIENCE,
            )
        )  # fmt: skip
        self._thread: threading.Thread | None = None
        self.address = address_of(host, self.port)

    @property
    def url(self) -> str:
        """The link that opens the page."""
        return f"{self.address}?token={self.access.token}"

    def serve(self, idle: float | None = None) -> None:
        """Answer until `stop`, Ctrl-C or SIGTERM, or until nobody asked anything for `idle` minutes."""
        self.access.last_asked = time.monotonic()
        self._server.idle = lambda: (
            idle is not None and time.monotonic() - self.access.last_asked > 60 * idle
        )
        with stopped_by_signals(self.stop):
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End when what is being answered is answered; called again: now."""
        self._server.force_exit = self._server.should_exit
        self._server.should_exit = True

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve, name="tellapart-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert self._thread is not None
        self._thread.join()


def clean(
    data_or_run: Dataset | Run | str | Path,
    *,
    journal: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = True,
    who: str | None = None,
    idle: float | None = None,
    options: TrainOptions | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    ready: Callable[[ReviewServer], None] | None = None,
) -> Kept:
    """Look through the pictures of a data set or a run in the browser, and mend their labels.

    Every decision is in the journal at once; no picture is touched. `ready` gets the server as soon as
    its `url` can be opened, and prints it by default; with `browser` it is opened where there is one.
    It ends with Ctrl-C, or when nobody asked anything for `idle` minutes. `tellapart.apply_decisions`
    writes the cleaned table then.

    Raises UsageError where the address cannot be had; DatasetError, RunError and ModelError as `check`
    does, and for a journal that cannot be used.

    >>> clean("photos").sentence()                            # doctest: +SKIP
    '12 decisions kept in reviews/photos/review.sqlite'
    """
    with bind(host, port) as bound:  # before hours may be spent on the pictures
        review = Review.open(data_or_run, journal, options, workers, progress)
        with review:
            server = ReviewServer(review, host, who=who, bound=bound)
            (ready or _tell)(server)
            if browser:
                _open_browser(f"{server.address}?token={server.access.ticket()}")
            _serve(server, idle)
            return Kept(review.journal.file, review.counts())


def _tell(server: ReviewServer) -> None:
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()


def _serve(server: ReviewServer, idle: float | None) -> None:
    """Also in a notebook, whose own event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        server.serve(idle)
        return
    thread = threading.Thread(target=server.serve, args=(idle,), name="tellapart-server")
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        server.stop()
        thread.join()


def _open_browser(url: str) -> None:
    """Where there is a screen: a browser in the terminal would take it away from this command."""
    screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    if screen or sys.platform in ("darwin", "win32"):
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        return "me"
