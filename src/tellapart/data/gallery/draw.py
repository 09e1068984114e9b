"""Draw a whole gallery into a folder, on all cores, and go on where an earlier call stopped."""

import csv
import json
import math
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple, dataclass
from io import StringIO
from pathlib import Path

from tellapart.data.cpus import cpu_count
from tellapart.data.gallery.crew import run_jobs
from tellapart.data.gallery.faults import FAULT_COLUMNS, Fault, plant_faults
from tellapart.data.gallery.files import write_aside
from tellapart.data.gallery.jobs import Job, Slot, slots
from tellapart.data.gallery.picture import CLASSES, plan_picture
from tellapart.errors import DatasetError, UsageError

__all__ = ["GallerySummary", "draw_gallery"]

_RECORD = "gallery.json"
_EDITION = 1  # raise when the same arguments come to draw other pictures
_LEAST_WITH_FAULTS = 10


@dataclass(frozen=True)
class GallerySummary:
    """A gallery on disk: its folder, how many files each class has, and the planted faults."""

    root: Path
    counts: dict[str, int]
    faults: tuple[Fault, ...]


def draw_gallery(
    out: Path,
    per_class: int = 120,
    seed: int = 0,
    *,
    faults: bool = False,
    valid: float | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GallerySummary:
    """Draw a data set of five classes, `per_class` pictures each, below the folder `out`.

    Files are OUT/CLASS/NAME, or OUT/SPLIT/CLASS/NAME where `valid`, the share from 0 to below 1
    that is held out, is more than 0; it is 0.2 by default with `faults`, 0 without. With `faults`
    some files are faulty, and OUT/faults.csv says which and how. The same arguments give the same
    bytes, whatever `workers` (processes, all cores by default). `progress` is called with the
    number of files done and the number of all.

    A folder that holds part of the same gallery is completed; files that are there are kept. Raises
    DatasetError if `out` holds anything else, UsageError for arguments that make no sense.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_gallery(Path(folder) / "art", per_class=1, workers=1).counts["painting"]
    1
    """
    out, share = Path(out), (0.2 if faults else 0.0) if valid is None else valid
    _check(per_class, seed, share, faults, workers)
    every = slots(per_class, share, seed)
    jobs, planted = plant_faults(every, seed) if faults else (_sound(every, seed), [])
    arguments = {"per_class": per_class, "seed": seed, "faults": faults, "valid": share}
    _claim(out, {"tellapart_gallery": _EDITION, **arguments})
    if faults:
        write_aside(out / "faults.csv", _table(planted))
    _complete(out, jobs, workers or cpu_count(), progress or _silent)
    counts = Counter(slot.label for slot in every)
    return GallerySummary(out, {label: counts[label] for label in CLASSES}, tuple(planted))


def _silent(done: int, total: int) -> None:
    pass


def _complete(
    out: Path, jobs: list[Job], workers: int, progress: Callable[[int, int], None]
) -> None:
    """Make the files that are not there yet."""
    for folder in {(out / job.path).parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not (out / job.path).exists()]
    there = len(jobs) - len(missing)
    progress(there, len(jobs))
    with closing(run_jobs(out, missing, workers)) as finished:
        for done, _ in enumerate(finished, start=there + 1):
            progress(done, len(jobs))


def _check(per_class: int, seed: int, valid: float, faults: bool, workers: int | None) -> None:
    if per_class < 1:
        raise UsageError(
            f"per_class must be at least 1, the pictures of each class; got {per_class}."
        )
    if seed < 0:
        raise UsageError(f"seed must be 0 or more; got {seed}.")
    if math.isnan(valid) or not 0 <= valid < 1:
        raise UsageError(f"valid is the share to hold out, from 0 to below 1; got {valid}.")
    if valid > 0 and per_class < 2:
        raise UsageError("per_class must be at least 2 to hold some out; ask for more, or valid=0.")
    if faults and per_class < _LEAST_WITH_FAULTS:
        raise UsageError(
            f"faults need per_class of at least {_LEAST_WITH_FAULTS} to find room; got {per_class}."
        )
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1; got {workers}.")


def _sound(every: list[Slot], seed: int) -> list[Job]:
    jobs = []
    for slot in every:
        plan = plan_picture(slot.label, slot.index, seed)
        path = slot.path(plan.subject, plan.encoding.suffix)
        jobs.append(Job(path, slot.label, slot.index, seed))
    return jobs


def _claim(out: Path, record: dict[str, object]) -> None:
    """Write down what this folder is for, or find that it is for the same already."""
    note = out / _RECORD
    if out.exists() and not out.is_dir():
        raise DatasetError(f"{out} is a file; a gallery needs a folder. Give another path.")
    if not out.exists() or all(path.name == f".{_RECORD}.part" for path in out.iterdir()):
        out.mkdir(parents=True, exist_ok=True)
        write_aside(note, (json.dumps(record, indent=2) + "\n").encode())
        return
    try:
        there = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DatasetError(
            f"{out} is not empty and holds no gallery. Give a new or an empty folder."
        ) from None
    if there != record:
        raise DatasetError(
            f"{out} holds a gallery drawn with other arguments: {json.dumps(there)}, and now "
            f"{json.dumps(record)}. Give another folder, or delete this one."
        )
    for part in out.rglob(".*.part"):  # left by a call that was killed
        part.unlink(missing_ok=True)


def _table(faults: list[Fault]) -> bytes:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FAULT_COLUMNS)
    writer.writerows(astuple(fault) for fault in faults)
    return text.getvalue().encode()
