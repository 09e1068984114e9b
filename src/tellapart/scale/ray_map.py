"""One function over many parts of a job, on a Ray cluster: what embedding and predicting share.

Ray Data streams the parts through tasks: it places them, starts lost ones again on other workers and
other nodes, and holds back what nobody has read yet. A part is some hundred pictures, and what comes
back of it is a small receipt; pixels and vectors never pass through the driver. Nothing here computes.
"""

import json
import logging
import os
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tellapart import errors

__all__ = ["Part", "Task", "connected", "map_parts"]

Part = Mapping[str, Any]
"""What is to be done, or what was done: a mapping that JSON can hold, file names of any bytes included."""

Task = Callable[[Any, Part], Part]
"""A function of a module: called with what all parts share and with one part; gives its receipt."""

_PORT: Final = 6379  # of ray start
_PATIENCE: Final = 5.0  # seconds until a machine counts as not there
_WAVE: Final = (
    16  # parts for each CPU that are handed over together, so that millions need no memory
)
_LEAST_WAVE: Final = 64


@contextmanager
def connected(address: str | None = None) -> Iterator[int]:
    """A connection to the cluster at `address` while it lasts; gives how many CPUs the cluster has.

    `auto`, or None, is the cluster that RAY_ADDRESS names, or that runs on this machine; none is started
    here, for Ray's processes listen on all interfaces, and that is for the user to decide. A connection that
    the program has made itself is used as it is, and stays. Raises MissingExtra without Ray, EngineError
    where nothing answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to its makers
    # A thread of Ray Data that outlives the connection would start a cluster to ask it something.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise errors.MissingExtra.of(error) or error from None
    _hush(ray)
    if ray.is_initialized():
        yield int(ray.cluster_resources().get("CPU", 1))
        return
    try:
        _knock(address)
        ray.init(address=_with_port(address), log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, OSError, RuntimeError) as error:  # other versions, too
        reason = f"{error}".partition("\n")[0].rstrip(".")
        raise errors.EngineError(
            f"no Ray cluster answers at {address or 'auto'} ({reason}). Start one on this machine with: "
            "ray start --head, or give the address of one that runs: --address HOST:6379"
        ) from None
    try:
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()


def _with_port(address: str | None) -> str:
    """HOST alone means Ray's usual port."""
    if address is None or address == "auto" or ":" in address:
        return address or "auto"
    return f"{address}:{_PORT}"


def _knock(address: str | None) -> None:
    """Raises OSError where nothing listens: Ray itself would ask for minutes."""
    if address is not None and "://" in address:
        raise ValueError("expected HOST or HOST:PORT; Ray's client, ray://, is not used")
    asked = _with_port(_usual_address() if address in (None, "auto") else address)
    host, _, port = asked.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()


def _usual_address() -> str | None:
    """The one that Ray takes by itself: of the environment, or of the last cluster begun here."""
    if asked := os.environ.get("RAY_ADDRESS"):
        return asked
    last = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"  # noqa: S108
    try:
        return last.read_text("utf-8").strip()
    except OSError:
        return None


def _hush(ray: Any) -> None:
    """Ray's own bars and logs would stand between ours."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


def map_parts(
    task: Task,
    shared: Any,
    parts: Iterable[Part],
    *,
    workers: int | None = None,
) -> Generator[Part, None, None]:
    """The receipts of `task(shared, part)` for all parts, as they come, in no order.

    To be called inside `connected()`. `workers` is how many parts are done at a time, by default as many
    as the cluster has CPUs; each takes one CPU. A part whose worker or node dies is done again, so a
    task leaves either all that it makes or nothing. When the caller stops early, or is interrupted,
    nothing more is begun. Parts are taken in waves, of 16 for each CPU: a wave is finished before the
    next is begun.

    Raises what a task raises, where it is an error of tellapart's, and EngineError otherwise.
    """
    import ray
    from ray.exceptions import RayError

    place = ray.put(shared)
    cpus = workers or int(ray.cluster_resources().get("CPU", 1))
    waiting = iter(parts)
    while some := list(islice(waiting, max(_LEAST_WAVE, _WAVE * cpus))):
        rows = ray.data.from_items(
            [{"part": json.dumps(dict(part))} for part in some], override_num_blocks=len(some)
        )
        done = rows.map_batches(
            _do, batch_size=1, batch_format="numpy", zero_copy_batch=True, num_cpus=1,
            compute=ray.data.TaskPoolStrategy(size=workers), fn_kwargs={"task": task, "place": place},
        )  # fmt: skip
        try:
            for row in done.iter_rows():
                told = json.loads(row["told"])
                if "error" in told:
                    raise getattr(errors, told["error"])(told["text"])
                yield told["receipt"]
        except RayError as error:
            raise _ended(error) from None


def _do(batch: dict[str, Any], task: Task, place: Any) -> dict[str, Any]:
    """Errors that have words for the user come back as values: Ray wraps what is raised in its own."""
    (part,) = batch["part"]
    try:
        told: dict[str, Any] = {"receipt": dict(task(_shared(place), json.loads(part)))}
    except errors.MissingExtra as error:
        told = {"error": "EngineError", "text": f"a worker says: {error}"}
    except _PLAIN as error:
        told = {"error": type(error).__name__, "text": f"{error}"}
    return {"told": [json.dumps(told)]}


_PLAIN: Final = (
    errors.DatasetError, errors.EngineError, errors.ModelError, errors.RunError, errors.UsageError,
)  # fmt: skip


@lru_cache(maxsize=2)
def _shared(place: Any) -> Any:
    """Once in each worker's process."""
    import ray

    return ray.get(place)


def _ended(error: BaseException) -> errors.EngineError:
    reason = f"{error}".strip().rpartition("\n")[2]
    return errors.EngineError(
        f"the Ray job ended: {type(error).__name__}: {reason}. What was finished is kept; the same "
        "command again does the rest."
    )
