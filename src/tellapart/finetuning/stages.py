"""Stages: what training went on to make of a run, each a run folder below `RUN/stages`.

They belong to the run as it was trained: where it is trained anew, or its pictures change, the old ones
count no more. The run itself is the first stage, `stage-1`, unless another one has that name.
"""

import csv
import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tellapart.data.atomic_file import write_atomically
from tellapart.data.dataset import COLUMNS, Dataset
from tellapart.data.hashing import sha256_of_files
from tellapart.errors import DatasetError, RunError, UsageError
from tellapart.evaluation.metrics import Metrics
from tellapart.finetuning.explanation import FIELDS, Epoch, StageOutcome, explain
from tellapart.finetuning.schedule import Cycle
from tellapart.training.probe import Probe
from tellapart.training.run import Run, claim_folder, read_config, write_info, write_run, writing
from tellapart.training.run_pictures import run_pictures
from tellapart.training.train import held_out_metrics, run_tables

__all__ = [
    "FIRST",
    "base_stage",
    "claim_stage",
    "copy_stage",
    "cycle_facts",
    "held_out",
    "identity",
    "needed_stages",
    "planned_stage",
    "read_history",
    "run_dataset",
    "stage_folder",
    "write_stage",
]

FIRST = "stage-1"
_OWN = ("checkpoint.safetensors", "network.onnx", "network.safetensors")
_LONGEST_NAME = 100  # bytes
_PIECES = "pieces"


def identity(run: Run) -> str:
    """What its stages belong to: SHA-256 over the pictures with their splits, the classes and the probe.

    A run that is trained anew in the same folder is another one.
    """
    digest = hashlib.sha256("\0".join(run.classes).encode("utf-8", "surrogateescape"))
    for name in ("dataset.csv", "probe.safetensors"):
        digest.update((run.folder / name).read_bytes())
    return digest.hexdigest()


def planned_stage(
    run: Run, start: str | Run | None, name: str | None, options: dict[str, Any]
) -> tuple[Run, Path, dict[str, Any]]:
    """The stage to begin with, the folder of the new one, and what tells it from others.

    Without `start`, a stage of these options that was begun before, or finished under this name, begins
    where it began then; so the same call again means the same stage. One that was begun in other
    `pieces` is the same stage, and keeps its own. Raises UsageError.
    """
    options = dict(options)
    pieces = options.pop(_PIECES, 1)
    if start is None:
        places = [stage_folder(run, name)] if name is not None else _unfinished(run)
        wanted = {"of_run": identity(run), **options}
        for config in map(read_config, places):
            if config and wanted.items() <= config.items():
                start = config["from"]
                break
    base = base_stage(run, start)
    origin = {"from": base.info.get("stage", FIRST), "from_identity": identity(base)}
    config = {"of_run": identity(run), **origin, **options}
    folder = stage_folder(run, name, config)
    if folder == base.folder:
        raise UsageError(f"{folder} cannot begin with itself; choose another --name or --from")
    begun = read_config(folder)
    if _same(begun, config):
        return base, folder, begun
    return base, folder, config | ({_PIECES: pieces} if pieces > 1 else {})


def _same(begun: Any, config: dict[str, Any] | None) -> bool:
    """Whether what a folder holds is of this configuration, in however many pieces it was begun."""
    kept = {k: v for k, v in begun.items() if k != _PIECES} if isinstance(begun, dict) else begun
    return bool(kept == config)


def _unfinished(run: Run) -> list[Path]:
    folders = sorted((run.folder / "stages").glob("*/config.json"))
    return [file.parent for file in folders if not (file.parent / "run.json").exists()]


def claim_stage(folder: Path, config: dict[str, Any], *, overwrite: bool = False) -> Run | None:
    """Make the folder this stage's, before anything is computed; the stage where it is finished.

    What another configuration has left in it goes, a finished stage only with `overwrite`. Raises
    RunError where that is missing.
    """
    finished, same = (folder / "run.json").exists(), read_config(folder) == config
    if finished and same:
        return Run.load(folder)
    if finished and not overwrite:
        raise RunError(f"{folder} is a stage with other options or data; choose another --name")
    with writing(folder):
        (folder / "run.json").unlink(missing_ok=True)  # first: from here on it is unfinished
        if not same:
            for name in _OWN:
                (folder / name).unlink(missing_ok=True)
    claim_folder(folder, config, overwrite=overwrite)
    return None


def copy_stage(run: Run, stage: Run, name: str) -> Run:
    """A copy of a stage of this run, or of the run itself, under another name; replaces one of it.

    What stands under that name stays until the copy is whole. Raises RunError, UsageError.
    """
    folder = stage_folder(run, name)
    if stage.folder == run.folder and name == FIRST and not folder.exists():
        return stage
    facts = {
        "of_run": identity(run), "from": FIRST, "depth": 0, **stage.info, "stage": name,
        "replaceable": False, "finished": time.time(),
    }  # fmt: skip
    if folder == stage.folder:
        return write_info(folder, facts)
    aside, old = (folder.with_name(f".{name}.{what}") for what in ("new", "old"))
    with writing(folder):
        for leftover in (aside, old):
            shutil.rmtree(leftover, ignore_errors=True)
        for file in sorted(stage.folder.iterdir()):
            if file.is_file() and file.name != "run.json" and not file.name.startswith("."):
                write_atomically(aside / file.name, file.read_bytes())
        write_info(aside, facts)
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    return Run(folder, facts)


def _finish_copies(stages: Path) -> None:
    """Put back what a kill between the two renames of `copy_stage` has left under its old name."""
    for old in stages.glob(".*.old"):
        if not (folder := stages / old.name[1:-4]).exists():
            old.rename(folder)


def needed_stages(run: Run, stage: Run) -> set[str]:
    """The names of stages that may not be replaced, of this one, and of those that it came from."""
    infos = {file.parent.name: Run.load(file.parent).info for file in _finished(run)}
    names = {name for name, info in infos.items() if not info.get("replaceable")}
    name = stage.info.get("stage")
    while name in infos and name not in names:
        names.add(name)
        name = infos[name].get("from")
    return names


def _finished(run: Run) -> list[Path]:
    """The run.json of each stage, but of none that is being copied."""
    found = (run.folder / "stages").glob("*/run.json")
    return [file for file in found if not file.parent.name.startswith(".")]


def stage_folder(run: Run, name: str | None, config: dict[str, Any] | None = None) -> Path:
    """Where a stage lies or is to lie: a named one, one of this configuration that was not finished,
    or the next free number."""
    stages = run.folder / "stages"
    if name is not None:
        odd = name.startswith(".") or "/" in name or "\\" in name or not name.isprintable()
        if not name or odd or len(name.encode(errors="surrogateescape")) > _LONGEST_NAME:
            raise UsageError(f"a stage cannot be called {name!r}; use a name such as stage-2")
        return stages / name
    number = 2
    while (folder := stages / f"stage-{number}").exists():
        if not (folder / "run.json").exists() and _same(read_config(folder), config):
            return folder
        number += 1
    return folder


def base_stage(run: Run, start: str | Run | None) -> Run:
    """The stage to begin with: `start`, or the last one that was finished, or the run itself.

    Raises UsageError where there is no such stage of this run, RunError for a stage given as a run.
    """
    if "of_run" in run.info:
        raise RunError(f"{run.folder} is a stage; give its run, and the stage by --from")
    if isinstance(start, Run):
        return start
    own = identity(run)
    _finish_copies(run.folder / "stages")
    found = [Run.load(file.parent) for file in _finished(run)]
    stages = {stage.folder.name: stage for stage in found if stage.info.get("of_run") == own}
    if start is None and stages:
        return max(stages.values(), key=lambda stage: stage.info["finished"])
    if start in stages:
        return stages[start]
    if start not in (None, FIRST):
        names = ", ".join([FIRST, *sorted(stages)])
        raise UsageError(f"{run.folder} has no stage {start!r} of its own; it has {names}")
    if start == FIRST and (run.folder / "stages" / FIRST).exists():
        raise UsageError(f"{run.folder}/stages/{FIRST} was not finished, or is of an older run")
    return run


def cycle_facts(cycle: Cycle) -> dict[str, Any]:
    """What run.json says of the rates: a row of them for each of at most 200 steps, evenly chosen."""
    steps = len(cycle.lrs)
    chosen = np.unique(np.linspace(0, steps - 1, min(steps, 200)).round().astype(int))
    rates = cycle.lrs.reshape(steps, -1)[chosen]
    return {
        "step": chosen.tolist(),
        "lr": rates.tolist(),
        "momentum": cycle.momenta[chosen].tolist(),
    }


def read_history(stage: Run) -> list[Epoch]:
    """The rows of a stage's table, as its history.csv has them; none where it was not trained in epochs."""
    file = stage.folder / "history.csv"
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as opened:
        rows = [[float(row[name]) for name in FIELDS] for row in csv.DictReader(opened)]
    return [Epoch(int(e), t, v, int(wrong), int(n), s, lr) for e, t, v, wrong, n, s, lr in rows]


def run_dataset(run: Run, *, checked: bool = True) -> Dataset:
    """The pictures of a run, with their splits, read and compared with what they were if `checked`.

    Raises RunError, or DatasetError where none validate.
    """
    dataset = run_pictures(run)
    if not len(dataset.rows_of("valid")):
        raise DatasetError(
            f"{run.folder} has no validation pictures to measure by; train with --valid 0.2 first"
        )
    if checked:
        _check_pictures(run, dataset)
    return dataset


def _check_pictures(run: Run, dataset: Dataset) -> None:
    """Raises DatasetError where a picture is not what the run was trained on."""
    found = sha256_of_files(dataset.root, dataset.paths)
    changed = [
        path
        for path, wanted, sha256 in zip(dataset.paths, dataset.table["sha256"], found, strict=True)
        if wanted != sha256
    ]
    if changed:
        raise DatasetError(
            f"{len(changed)} pictures in {dataset.root} have changed or are gone since "
            f"{run.folder} was trained, {changed[0]} among them. Train again, then fine-tune."
        )


def held_out(dataset: Dataset) -> Dataset:
    """The pictures that nothing is trained on, with all classes of the run."""
    rows = dataset.table[dataset.table["split"] != "train"][list(COLUMNS)]
    chosen = Dataset.from_rows(dataset.root, [tuple(row) for row in rows.itertuples(index=False)])
    return replace(chosen, classes=dataset.classes)


def write_stage(
    folder: Path,
    run: Run,
    base: Run,
    dataset: Dataset,
    probe: Probe,
    probabilities: NDArray[np.float32],
    history: Sequence[Epoch],
    facts: dict[str, Any],
    *,
    notes: Sequence[str] = (),
) -> Run:
    """Measure a stage, explain it, and write it; it is finished then.

    `probabilities` float32 (N, K) are those of `held_out(dataset)`, in its order. `facts` go into its
    run.json, over those of the run: what differs, such as the backbone.
    """
    part = held_out(dataset)
    metrics = held_out_metrics(part, probabilities)
    outcome = _outcome(folder.name, part, probabilities, metrics)
    before = _before(base, part)
    findings = (
        explain(history, before, outcome, classes=run.classes) if before else explain(history)
    )
    info = {
        **run.info, "trust": None, "stage": folder.name, "of_run": identity(run),
        "from": base.info.get("stage", FIRST), "depth": base.info.get("depth", 0) + 1,
        "finished": time.time(), "metrics": {name: m.to_json() for name, m in metrics.items()},
        "fit_notes": [*notes, *(f"{finding}".rstrip(".") for finding in findings)], **facts,
    }  # fmt: skip
    tables = run_tables(part, probabilities)
    with (run.folder / "dataset.csv").open(
        encoding="utf-8", newline="", errors="surrogateescape"
    ) as file:
        header, *pictures = csv.reader(file)
    rows = [[getattr(row, name) for name in FIELDS] for row in history]
    tables |= {"dataset.csv": (header, pictures), "history.csv": (FIELDS, rows)}
    return write_run(folder, info, probe, tables)


def _outcome(
    name: str, dataset: Dataset, probabilities: NDArray[np.float32], metrics: dict[str, Metrics]
) -> StageOutcome:
    rows = dataset.rows_of("valid")
    correct = probabilities[rows].argmax(axis=1) == dataset.targets[rows]
    return StageOutcome(name, correct, metrics["valid"].log_loss)


def _before(base: Run, dataset: Dataset) -> StageOutcome | None:
    """What the stage before said of the same validation pictures, by its own predictions."""
    predicted = {row[0]: row[3] == row[2] for row in base.predictions() if row[1] == "valid"}
    paths = [dataset.paths[row] for row in dataset.rows_of("valid")]
    if any(path not in predicted for path in paths):
        return None
    correct = np.asarray([predicted[path] for path in paths], bool)
    probe = base.info["probe"].get("recipe") == "probe"
    name = base.info.get("stage", "the probe" if probe else FIRST)
    return StageOutcome(name, correct, base.metrics["valid"].log_loss)
