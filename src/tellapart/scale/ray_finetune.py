"""Fine-tuning by the processes of a Ray cluster: Ray Train starts them and connects them, and starts them
again where one has died; what they do is `tellapart.finetune`, as it stands.

The stage's checkpoint is the only one there is, so the folder of the run, and that of its pictures, must
be on a disk that all nodes see. Where a node is lost, training goes on with the CPUs that are left. What
happens is told to the driver by way of an actor on its own node, which outlives the workers.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from tellapart.errors import EngineError, RunError, TellapartError
from tellapart.scale.ray_map import connected
from tellapart.training.embed import Progress
from tellapart.training.run import Run

if TYPE_CHECKING:  # they need torch
    from tellapart.finetuning.explanation import Epoch
    from tellapart.finetuning.finetune_options import FinetuneOptions

__all__ = ["finetune_on_ray"]

_TRIES: Final = (
    30  # workers or nodes lost in one job; what ends every worker is not to go on forever
)
_POLL_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 60.0  # for the step that is being done, the checkpoint, and Ray


def finetune_on_ray(
    run: Run | str | Path,
    options: "FinetuneOptions | None" = None,
    *,
    address: str | None = None,
    workers: int | None = None,
    start: str | Run | None = None,
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_epoch: "Callable[[Epoch], None]" = lambda row: None,
    on_note: Callable[[str], None] = lambda note: None,
    tensorboard: str | Path | None = None,
) -> Run:
    """As `tellapart.finetune`, by `workers` processes of the cluster at `address`, each on one CPU.

    By default as many as the cluster has CPUs, and fewer while some are lost. A step's pictures are cut
    into that many pieces, so numbers are those of one machine with the same `pieces`. Interrupted,
    the step is finished and the checkpoint written; the same call goes on from there.

    Raises what `tellapart.finetune` raises; MissingExtra without Ray, EngineError where no cluster
    answers or workers die again and again, RunError where a node does not see the run's folder.
    """
    from tellapart.finetuning.finetune_options import FinetuneOptions
    from tellapart.finetuning.stages import planned_stage

    run = run if isinstance(run, Run) else Run.load(run)
    run = Run(run.folder.resolve(), run.info)
    options = options or FinetuneOptions()
    base, folder, _ = planned_stage(run, start, name, asdict(options))
    with connected(address) as cpus, tempfile.TemporaryDirectory(prefix="tellapart-") as scratch:
        count = workers or cpus
        desk = _new_desk()
        job = {
            "desk": desk, "run": run.folder, "base": base.folder.resolve(), "name": folder.name,
            "options": replace(options, pieces=max(options.pieces, count)), "overwrite": overwrite,
            "tensorboard": None if tensorboard is None else Path(tensorboard).resolve(),
            "here": Path.cwd(),
        }  # fmt: skip
        listeners: dict[str, Callable[..., None]] = {
            "progress": progress or (lambda stage, done, total: None),
            "epoch": on_epoch, "note": on_note,
        }  # fmt: skip
        _follow(_Fit(job, count, scratch), desk, listeners)
    return Run.load(folder)


class _Desk:
    """Where workers tell what happens and the driver asks, each in a process of its own."""

    def __init__(self) -> None:
        self._news: list[tuple[str, tuple[Any, ...]]] = []
        self._stop = self._over = False

    def tell(self, kind: str, *content: Any) -> bool:
        """`progress`, `epoch` or `note`, with what the callback takes, or how it ended: `done`, `error`.
        Gives whether to stop."""
        self._over |= kind in ("done", "error")
        self._news.append((kind, content))
        return self._stop

    def take(self) -> list[tuple[str, tuple[Any, ...]]]:
        """What is new."""
        news, self._news = self._news, []
        return news

    def stop(self) -> None:
        self._stop = True

    def over(self) -> bool:
        """Whether it has ended, well or not, or is to, so that nothing is to be started again."""
        return self._over or self._stop


def _new_desk() -> Any:
    """On the driver's own node, which cannot be lost without the driver."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Desk).remote()


class _Fit(Thread):
    """Ray Train's own waiting, in a thread, so that the driver can listen and be interrupted."""

    def __init__(self, job: dict[str, Any], count: int, scratch: str) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.config import LoggingConfig

        from tellapart.finetuning.group import PATIENCE

        super().__init__(daemon=True)
        self.error: Exception | None = None
        self._trainer = TorchTrainer(
            _work,
            train_loop_config=job,
            torch_config=TorchConfig("gloo", timeout_s=int(PATIENCE.total_seconds())),
            scaling_config=ScalingConfig(num_workers=(1, count) if count > 1 else 1),
            run_config=RunConfig(
                storage_path=scratch, failure_config=FailureConfig(max_failures=_TRIES),
                logging_config=LoggingConfig("ERROR"),
            ),
        )  # fmt: skip

    def run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # Ray's own kinds, or the connection's
            self.error = error


def _follow(fit: _Fit, desk: Any, listeners: dict[str, Callable[..., None]]) -> None:
    """Run it to its end, passing on what is told. Raises what a worker has raised."""
    import ray

    fit.start()
    try:
        while True:
            alive = fit.is_alive()  # asked before the news, so that none is missed
            for kind, content in ray.get(desk.take.remote()):
                if kind == "error":
                    raise content[0]
                if kind != "done":
                    listeners[kind](*content)
            if not alive:
                break
            fit.join(_POLL_SECONDS)
    except BaseException:
        ray.get(desk.stop.remote())
        fit.join(_STOP_SECONDS)  # Ray is not to be left while a thread waits for it
        raise
    if fit.error is not None:
        reason = f"{fit.error}".strip().rpartition("\n")[2]
        raise EngineError(
            f"the Ray job ended: {type(fit.error).__name__}: {reason}. The same command goes on from the "
            "last checkpoint."
        )


def _work(job: dict[str, Any]) -> None:
    """What each worker does. An error of its own ends the job for all, and none is started again; where a
    neighbour is lost, Ray starts all anew."""
    import ray

    from tellapart.finetuning.group import LostProcess, leave

    desk = job["desk"]
    if ray.get(desk.over.remote()):
        return
    try:
        _finetune(job)
        ray.get(desk.tell.remote("done"))
    except LostProcess:
        if not ray.get(desk.over.remote()):
            raise
    except (Exception, KeyboardInterrupt) as error:
        reason = f"{error}".partition("\n")[0]
        known = isinstance(error, TellapartError)
        told = error if known else EngineError(f"a worker ended: {type(error).__name__}: {reason}")
        ray.get(desk.tell.remote("error", told))
        leave()


def _finetune(job: dict[str, Any]) -> None:
    import ray

    from tellapart.finetuning.finetune import finetune

    desk, last = job["desk"], 0.0
    if not (job["run"] / "run.json").exists():
        node = ray.util.get_node_ip_address()
        raise RunError(
            f"{job['run']} is not to be seen on the node {node}. Put the run, and its pictures, into a "
            "folder that all nodes share under the same path."
        )
    if job["here"].is_dir():
        os.chdir(job["here"])  # a relative path means the same as for the driver

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > _POLL_SECONDS:
            last = time.monotonic()
            if ray.get(desk.tell.remote("progress", stage, done, total)):
                raise KeyboardInterrupt

    finetune(
        job["run"], job["options"], start=Run.load(job["base"]), name=job["name"],
        overwrite=job["overwrite"], workers=0, progress=progress,
        on_epoch=lambda row: ray.get(desk.tell.remote("epoch", row)),
        on_note=lambda note: ray.get(desk.tell.remote("note", note)),
        tensorboard=job["tensorboard"],
    )  # fmt: skip
