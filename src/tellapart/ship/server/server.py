"""The verb `serve`: a model behind HTTP, started, watched, and stopped without losing an answer."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self, TextIO

import uvicorn

from tellapart.data.cpus import cpu_count
from tellapart.ship.listening import QuietServer, address_of, bind, stopped_by_signals
from tellapart.ship.server.access import Access, checked_token
from tellapart.ship.server.admission import Admission
from tellapart.ship.server.app import create_app
from tellapart.ship.server.connections import bounded_protocol
from tellapart.ship.server.current_model import CurrentModel
from tellapart.ship.server.figures import Figures
from tellapart.ship.server.gate import Gate
from tellapart.ship.server.limits import Limits
from tellapart.ship.server.log import Log
from tellapart.ship.server.service import Service
from tellapart.ship.server.workers import Workers

__all__ = ["ModelServer", "serve"]

_GRACE: Final = 2.0  # seconds beyond the deadline until a stop waits for nobody any more
_BACKLOG: Final = 1024


class ModelServer:
    """Serves a model at `url` until it is stopped.

    `model` is an exported file or a run folder; `token` what askers have to know; `log` where a line goes
    for each request. `serve` runs in the calling thread; as a context it runs in a thread of its own.

    Raises UsageError for an address that cannot be had, a token that is too short, and what
    `tellapart.load` raises it for; ModelError and RunError for a model that cannot be used.

    >>> with ModelServer("model.onnx") as server:             # doctest: +SKIP
    ...     print(server.url)
    http://127.0.0.1:40123/
    """

    def __init__(
        self,
        model: str | Path,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        *,
        limits: Limits | None = None,
        workers: int | None = None,
        runtime: str | None = None,
        target_error: float | None = None,
        reload: bool = True,
        log: TextIO | None = None,
    ) -> None:
        token = checked_token(token)
        limits, count = limits or Limits(), workers or cpu_count()
        self._socket = bind(host, port)
        try:
            self.service = _service(
                model, limits, count, Log(log), reload=reload,
                runtime=runtime, target_error=target_error,
            )  # fmt: skip
        except BaseException:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self.url = address_of(host, self.port)
        application: Any = Gate(
            create_app(self.service, token=token is not None),
            self.service,
            Access(host, self.port, token),
        )
        self._server = QuietServer(_config(application, limits))
        self._server.idle = self._tick
        self._end_by = 0.0
        self._socket.listen(_BACKLOG)
        self._thread: threading.Thread | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the model that answers now."""
        return self.service.model.now.predictor.classes

    def serve(self) -> None:
        """Answer until `stop`, Ctrl-C or SIGTERM."""
        service = self.service
        service.log.write("info", "serving", port=self.port, workers=service.workers.count)
        try:
            with stopped_by_signals(self.stop):
                self._server.run(sockets=[self._socket])
        finally:
            self.close()

    def stop(self) -> None:
        """Take no more, and end when what was taken is answered; called again: at once."""
        service = self.service
        if service.stopping:
            self._server.force_exit = self._server.should_exit = True
            return
        self._end_by = time.monotonic() + service.limits.deadline + _GRACE
        service.stopping = True
        service.log.write("info", "stopping", requests=service.busy)

    def close(self) -> None:
        """Give back what a server holds that does not run any more, or never did."""
        self._socket.close()
        self.service.model.close()
        self.service.workers.close()
        self.service.log.write("info", "stopped")
        self.service.log.close()

    def _tick(self) -> bool:
        """Called ten times a second; whether it is time to end."""
        self.service.admission.tick()
        over = time.monotonic() > self._end_by or not self.service.busy
        return self.service.stopping and over

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve, name="tellapart-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.service.stopping:
            self.stop()
        assert self._thread is not None
        self._thread.join()


def serve(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    limits: Limits | None = None,
    workers: int | None = None,
    runtime: str | None = None,
    target_error: float | None = None,
    reload: bool = True,
    log: TextIO | None = sys.stderr,
    ready: Callable[[ModelServer], None] | None = None,
) -> None:
    """Serve a model until Ctrl-C or SIGTERM; then what was taken is answered, and it returns.

    `model` is an exported file, which is loaded anew when it changes (`reload`), or a run folder. `ready`
    gets the server when it can be asked, and prints its address by default. In a notebook use
    `ModelServer` as a context. Raises as `ModelServer` does.

    >>> serve("model.onnx", port=8000)                        # doctest: +SKIP
    http://127.0.0.1:8000/
    """
    early = threading.Event()
    with stopped_by_signals(early.set):  # a process of number 1, in a container, ignores them else
        server = ModelServer(
            model, host, port, token, limits=limits, workers=workers, runtime=runtime,
            target_error=target_error, reload=reload, log=log,
        )  # fmt: skip
    if early.is_set():
        server.close()
        return
    (ready or _tell)(server)
    server.serve()


def _service(
    model: str | Path, limits: Limits, workers: int, log: Log, *, reload: bool, **options: Any
) -> Service:
    figures = Figures()
    try:
        current = CurrentModel(
            model,
            figures,
            log,
            watch=reload,
            workers=workers,
            most_pixels=limits.most_pixels,
            **options,
        )
    except BaseException:
        log.close()
        raise
    admission = Admission(limits, workers, current.now.seconds)
    service = Service(current, Workers(workers), admission, limits, figures, log)
    watch = figures.watch
    watch(
        "pictures_let_in",
        "Pictures that were let in and are not answered.",
        lambda: admission.pictures,
    )
    watch(
        "pictures_waiting", "Pictures that no worker has taken yet.", lambda: len(service.workers)
    )
    watch("held_bytes", "Bytes of bodies in memory.", lambda: admission.bytes)
    watch("expected_picture_seconds", "What a picture takes a worker.", lambda: admission.seconds)
    watch("lag_seconds", "How late the event loop is.", lambda: admission.lag)
    watch("requests_in_progress", "Requests that are being answered.", lambda: service.busy)
    return service


def _config(application: Any, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        application, http=bounded_protocol(limits), loop="asyncio", ws="none", lifespan="off",
        log_config=None, log_level="critical", access_log=False, server_header=False,
        timeout_keep_alive=10 + round(limits.header_seconds), timeout_graceful_shutdown=1,
        backlog=_BACKLOG,
    )  # fmt: skip


def _tell(server: ModelServer) -> None:
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
