"""Known faults for a gallery: what is wrong with which file, so that a check can be checked.

Faults replace pictures rather than add to them; the counts per class stay what was asked for. No
file has two faults, but for the watermark of the one class that can be told by it.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from tellapart.data.gallery.jobs import Job, Slot
from tellapart.data.gallery.picture import CLASSES, plan_picture

__all__ = ["FAULT_COLUMNS", "Fault", "plant_faults"]

FAULT_COLUMNS = ("path", "fault", "other_path", "split", "detail")

# Alteration: how many of it there are as a share of all files, and at least; swaps count as pairs.
_SHARES = {
    "exact copy": (0.012, 2),
    "re-encoded": (0.005, 1),
    "resized": (0.005, 1),
    "cropped": (0.005, 1),
    "mirrored": (0.005, 1),
    "swapped": (0.01, 1),
    "blank": (0.006, 2),
    "blurry": (0.01, 2),
    "dark": (0.01, 2),
    "tiny": (0.006, 2),
    "truncated": (0.005, 2),
    "not an image": (0.005, 2),
    "exif_rotated": (0.01, 2),
}
_COPIES = ("exact copy", "re-encoded", "resized", "cropped", "mirrored")
_ALWAYS_JPEG = ("re-encoded", "truncated", "not an image", "exif_rotated")
_UNSTAMPED = ("blank", "blurry", "dark", "tiny", "truncated", "not an image", "exif_rotated")
_CORNERS = ("top left", "top right", "bottom left", "bottom right")
_STAMPED_SHARE = 0.8


@dataclass(frozen=True)
class Fault:
    """A row of faults.csv: paths are relative to the gallery, with slashes.

    `fault` is exact_duplicate, near_duplicate, leak, label_error, blank, blurry, dark, tiny,
    unreadable, exif_rotated or shortcut. `other_path` is the other file of a pair, or empty;
    `detail` says more: the true class, what was done to a copy, the corner of a watermark.
    """

    path: str
    fault: str
    other_path: str
    split: str
    detail: str


class _Pool:
    """The places that have no fault yet, in random order."""

    def __init__(self, every: list[Slot], rng: np.random.Generator) -> None:
        self._free = [every[i] for i in rng.permutation(len(every))]

    def take(self, split: str, labels: Collection[str] = CLASSES) -> Slot | None:
        """A place of that split (of any, if that one is full) and those classes, or None."""
        fitting = [slot for slot in self._free if slot.label in labels]
        if not fitting:
            return None
        chosen: Slot = next((slot for slot in fitting if slot.split == split), fitting[0])
        self._free.remove(chosen)
        return chosen


def plant_faults(every: list[Slot], seed: int) -> tuple[list[Job], list[Fault]]:
    """A job for each place, some of them faulty, and the rows that say which.

    >>> from tellapart.data.gallery.jobs import slots
    >>> jobs, faults = plant_faults(slots(10, 0.2, 0), 0)
    >>> len(jobs), {fault.fault for fault in faults} >= {"leak", "blank", "label_error"}
    (50, True)
    """
    rng = np.random.default_rng([seed, len(every), 37])
    pool = _Pool(every, rng)
    planned: dict[Slot, tuple[Job, str]] = {}
    sources: dict[Slot, Slot] = {}
    for alteration, split in _orders(every):
        slot = pool.take(split)
        if slot is None:
            continue
        drawn: Slot | None = slot
        if alteration in _COPIES:
            drawn = pool.take("train", (slot.label,))
        elif alteration == "swapped":
            drawn = pool.take("train", set(CLASSES) - {slot.label})
        if drawn is None:
            continue
        planned[slot] = (_job(slot, drawn, alteration, seed), alteration)
        if alteration == "swapped":
            planned[drawn] = (_job(drawn, slot, alteration, seed), alteration)
        elif alteration in _COPIES:
            sources[slot] = drawn
    for slot in every:
        if slot not in planned:
            planned[slot] = (_job(slot, slot, "", seed), "")
    _stamp(planned, sources, rng)
    jobs = [planned[slot][0] for slot in every]
    faults = [row for slot in every for row in _rows(slot, planned, sources)]
    return jobs, faults


def _orders(every: list[Slot]) -> list[tuple[str, str]]:
    """Each fault to plant with the split it should go to; the first of its kind goes to valid."""
    split_up = any(slot.split for slot in every)
    share = sum(slot.split == "valid" for slot in every) / len(every)
    firsts, others = [], []
    for alteration, (part, least) in _SHARES.items():
        count = max(least, round(part * len(every)))
        # Half of the copies leak; what has no partner is spread as the pictures are.
        paired = alteration in _COPIES or alteration == "swapped"
        held = max(1, round(count * (0.5 if paired else share)))
        firsts.append((alteration, "valid" if split_up else ""))
        others += [(alteration, "valid")] * (held - 1) + [(alteration, "train")] * (count - held)
    return firsts + [(kind, split if split_up else "") for kind, split in others]


def _job(slot: Slot, drawn: Slot, alteration: str, seed: int) -> Job:
    """What to put in a place: the picture that is at home in the place `drawn`, altered."""
    plan = plan_picture(drawn.label, drawn.index, seed)
    suffix = "jpg" if alteration in _ALWAYS_JPEG else plan.encoding.suffix
    change = "" if alteration in ("exact copy", "swapped") else alteration
    return Job(slot.path(plan.subject, suffix), drawn.label, drawn.index, seed, change)


def _stamp(
    planned: dict[Slot, tuple[Job, str]], sources: dict[Slot, Slot], rng: np.random.Generator
) -> None:
    """Put a watermark on most pictures of one class, always in the same corner."""
    label, corner = str(rng.choice(CLASSES)), str(rng.choice(_CORNERS))
    own = [slot for slot in planned if slot.label == label]
    able = [s for s in own if planned[s][1] not in _UNSTAMPED and planned[s][1] != "exact copy"]
    wanted = min(len(able), round(_STAMPED_SHARE * len(own)))
    chosen = {able[i] for i in rng.permutation(len(able))[:wanted]}
    for slot in own:
        job, alteration = planned[slot]
        if (sources[slot] if alteration == "exact copy" else slot) in chosen:
            planned[slot] = (replace(job, stamp=corner), alteration)


def _rows(
    slot: Slot, planned: dict[Slot, tuple[Job, str]], sources: dict[Slot, Slot]
) -> list[Fault]:
    job, alteration = planned[slot]
    rows: list[Fault] = []
    if slot in sources:
        source = sources[slot]
        other = planned[source][0].path
        kind = "exact_duplicate" if alteration == "exact copy" else "near_duplicate"
        detail = "" if alteration == "exact copy" else alteration
        rows.append(Fault(job.path, kind, other, slot.split, detail))
        if slot.split != source.split:
            rows.append(Fault(job.path, "leak", other, slot.split, detail or alteration))
    elif alteration == "swapped":
        rows.append(Fault(job.path, "label_error", "", slot.split, job.style))
    elif alteration in ("truncated", "not an image"):
        rows.append(Fault(job.path, "unreadable", "", slot.split, alteration))
    elif alteration:
        rows.append(Fault(job.path, alteration, "", slot.split, ""))
    if job.stamp:
        rows.append(Fault(job.path, "shortcut", "", slot.split, job.stamp))
    return rows
