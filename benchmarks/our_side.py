"""Our side of `vs_fastai.py`, a process of its own for each stage. Runs in `.venv`.

    python benchmarks/our_side.py JOB        JOB is JSON; `vs_fastai.py` says what is in it

`frozen` is all that `tellapart.train` does, from opening the table of pictures to the written run.
`unfrozen` trains that run's network on; its clock is that of the epochs, validation included, and
`whole_call` has the seconds of `tellapart.finetune` with all that comes before and after.
"""

import csv
import json
import sys
import time
from pathlib import Path
from typing import Any

from tellapart.data.dataset import Dataset
from tellapart.training.run import Run
from tellapart.training.train import TrainOptions, train


def main() -> None:
    job = json.loads(sys.argv[1])
    folder = Path(job["folder"])
    run, answer = {"frozen": frozen, "unfrozen": unfrozen}[job["stage"]](job, folder / "run")
    with (folder / f"{job['stage']}.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "predicted"])
        rows.writerows(
            [path, label, predicted]
            for path, split, label, predicted, *_ in run.predictions()
            if split != "train"
        )
    (folder / f"{job['stage']}.json").write_text(json.dumps(answer))


def frozen(job: dict[str, Any], out: Path) -> tuple[Run, dict[str, Any]]:
    began = time.monotonic()
    dataset = Dataset.from_csv(job["pictures"], root=job["root"])
    run = train(dataset, out, TrainOptions(job["backbone"]))
    ended = time.monotonic()
    parts = {**run.info["seconds"], "computed": run.info["computed"]}
    return run, {
        "seconds": ended - began, "ended": ended, "images": len(dataset), "parts": parts
    }  # fmt: skip


def unfrozen(job: dict[str, Any], out: Path) -> tuple[Run, dict[str, Any]]:
    from tellapart.finetuning import finetune as module

    clock: dict[str, Any] = {}
    epochs = module.train_epochs

    def timed(classifier: Any, learn: Any, valid: Any, *rest: Any, **named: Any) -> Any:
        began = time.monotonic()
        trained = epochs(classifier, learn, valid, *rest, **named)
        clock["ended"] = time.monotonic()
        clock["seconds"] = clock["ended"] - began
        clock["images"] = (len(learn.paths) + len(valid.paths)) * len(trained.history)
        return trained

    module.train_epochs = timed
    options = module.FinetuneOptions(epochs=job["epochs"], lr=f"{job['lowest']}..{job['highest']}")
    began = time.monotonic()
    stage = module.finetune(
        out, options,
        on_epoch=lambda row: print(f"    epoch {row.epoch}: {row.errors} of {row.n} wrong", flush=True),
    )  # fmt: skip
    return stage, {**clock, "parts": {"whole_call": round(time.monotonic() - began, 3)}}


if __name__ == "__main__":
    main()
