"""A folder served on loopback as hosts of files do it: below a path, with no special headers."""

import threading
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

PREFIX = "/a/project/"


class StaticServer:
    """Serves `folder` at `url` until it is stopped; `asked` are the paths of all requests, as they came."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self._start(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{PREFIX}"

    def _start(self, port: int) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """No more connections; a second call does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(10)
            self._server.server_close()

    def start_again(self) -> None:
        """On the same port."""
        self._start(self._port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _handler(server: StaticServer) -> type[SimpleHTTPRequestHandler]:
    class Handler(SimpleHTTPRequestHandler):
        extensions_map = {  # noqa: RUF012
            ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".json": "application/json",
            ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png", "": "application/octet-stream",
        }  # fmt: skip

        def do_GET(self) -> None:
            server.asked.append(self.path)
            path = self.path.partition("?")[0]
            if not path.startswith(PREFIX):
                self.send_error(404)
                return
            self.path = "/" + path.removeprefix(PREFIX)
            super().do_GET()

        def end_headers(self) -> None:
            self.send_header("Cache-Control", "max-age=600")  # as GitHub Pages
            super().end_headers()

        def copyfile(self, source: object, outputfile: object) -> None:
            with suppress(ConnectionError):  # a page that was left while it was loading
                super().copyfile(source, outputfile)

        def log_message(self, *args: object) -> None:
            pass

    return lambda *args: Handler(*args, directory=str(server.folder))  # type: ignore[return-value]
