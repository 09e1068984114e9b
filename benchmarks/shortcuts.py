"""Shortcuts: are planted marks and clues found, and is an honest data set left alone?

    python benchmarks/shortcuts.py [--seeds 40] [--part marks|alarms|real|limits|all]

`marks` draws galleries with faults and looks for their watermark: right class, right corner. `alarms`
counts findings on galleries without faults and on random parts of ../shared/data with shuffled labels,
which have no shortcut. `real` prints what is found on the real data as it is. `limits` plants marks of
other sizes and strengths on one class of art_style. The last line is the share of false alarms.
"""

import argparse
import csv
import hashlib
import tempfile
import time
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from machine import describe, finish
from tellapart.audit.finding import Finding
from tellapart.audit.shortcuts import shortcut
from tellapart.audit.subject import Subject
from tellapart.data.copies.copies import Copies
from tellapart.data.dataset import Dataset
from tellapart.data.gallery import draw_gallery
from tellapart.data.images import read_picture
from tellapart.data.picture_facts import LEAST_SIDE, picture_facts
from tellapart.errors import ImageError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CORNERS = ("top left", "top right", "bottom left", "bottom right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--part", default="all")
    given = parser.parse_args()
    print(describe())
    parts = ("marks", "real", "limits", "alarms") if given.part == "all" else (given.part,)
    if "marks" in parts:
        marks(given.seeds)
    if "real" in parts:
        real()
    if "limits" in parts:
        limits()
    if "alarms" in parts:
        finish("false alarms", alarms(given.seeds), at_most=0.05)


def subject_of(
    dataset: Dataset, change=None, rows=None, targets_seed: int | None = None
) -> Subject:
    """A subject of what the shortcut check looks at: no features, copies by equal bytes."""
    rows = range(len(dataset)) if rows is None else rows
    kept, facts, hashes = [], [], []
    for row in rows:
        content = (dataset.root / dataset.paths[row]).read_bytes()
        try:
            picture = read_picture(BytesIO(content), shorter_side=LEAST_SIDE)
        except ImageError:
            continue
        if change is not None:
            picture = change(row, picture)
        kept.append(row)
        facts.append(picture_facts(content, picture))
        hashes.append(hashlib.sha256(content).hexdigest())
    labels = np.asarray(dataset.labels, object)[kept]
    if targets_seed is not None:
        labels = np.random.default_rng(targets_seed).permutation(labels)
    paths = [dataset.paths[row] for row in kept]
    # Rows of a dataset are sorted by path, and so are these.
    own = Dataset.from_rows(dataset.root, list(zip(paths, labels, strict=True))).with_hashes(hashes)
    return subject_from(own, np.asarray(facts))


def subject_from(dataset: Dataset, facts) -> Subject:
    none = np.zeros(0, np.intp)
    copies = Copies(none, none, none.astype(object), np.zeros(0, np.float32), dataset.groups)
    return Subject(dataset, np.zeros((len(dataset), 0), np.float32), 0, facts, copies)


def line(finding: Finding) -> str:
    d = finding.details
    if d["kind"] == "clue":
        return f"{d['clue']} (lift {d['lift']:.2f}, p {d['p']:.1g})"
    return f"mark {d['class']} {d['place']} ({d['share']:.2f})"


def marks(seeds: int) -> None:
    """The gallery's own watermark."""
    right = wrong = others = 0
    for seed in range(seeds):
        per_class = (40, 80, 120)[seed % 3]
        with tempfile.TemporaryDirectory() as scratch:
            draw_gallery(Path(scratch) / "g", per_class=per_class, seed=seed, faults=True)
            with (Path(scratch) / "g" / "faults.csv").open() as file:
                stamped = [row for row in csv.DictReader(file) if row["fault"] == "shortcut"]
            label, corner = stamped[0]["path"].split("/")[-2], stamped[0]["detail"]
            found = shortcut(subject_of(Dataset.from_folder(Path(scratch) / "g")))
        hits = [f for f in found if f.details.get("class") == label]
        right += any(f.details["place"] == corner for f in hits)
        wrong += any(f.details["place"] != corner for f in hits) or not hits
        others += len(found) - len(hits)
        if not any(f.details["place"] == corner for f in hits) or len(found) > len(hits):
            print(f"  seed {seed}, {per_class}: {label} {corner}; found {list(map(line, found))}")
    print(
        f"gallery's watermark: right class and corner {right} of {seeds}, else {wrong}, others {others}"
    )


def alarms(seeds: int) -> float:
    """The share of data sets without a shortcut that raise one."""
    raised = []
    for seed in range(seeds):
        kind = ("gallery", "art_style", "gallery", "anime_cartoon")[seed % 4]
        if kind != "gallery" and not SHARED.is_dir():
            continue
        if kind == "gallery":
            with tempfile.TemporaryDirectory() as scratch:
                per_class = (40, 80, 120)[seed % 3]
                draw_gallery(Path(scratch) / "g", per_class=per_class, seed=1000 + seed)
                found = shortcut(subject_of(Dataset.from_folder(Path(scratch) / "g")))
        else:
            dataset = Dataset.from_folder(SHARED / kind)
            rng = np.random.default_rng(seed)
            n = min(int(rng.choice([60, 120, 200])), len(dataset))
            rows = np.sort(rng.choice(len(dataset), n, replace=False))
            found = shortcut(subject_of(dataset, rows=rows, targets_seed=seed))
        raised.append(bool(found))
        if found:
            print(f"  {kind} {seed}: {list(map(line, found))}")
    print(f"false alarms: {sum(raised)} of {len(raised)} data sets")
    return sum(raised) / len(raised)


def real() -> None:
    """The real data as it is."""
    for name in ("art_style", "anime_cartoon"):
        if not (SHARED / name).is_dir():
            continue
        subject = subject_of(Dataset.from_folder(SHARED / name))
        start = time.perf_counter()
        found = shortcut(subject)
        print(f"{name}: {time.perf_counter() - start:.2f} s for {len(subject.dataset)} pictures")
        for finding in found:
            print(f"  score {finding.score:.2f}: {finding.evidence}")


def stamp(share: float, strength: float, corner: str):
    """A ring with a bar, `share` of the shorter side wide, in a corner."""

    def stamped(picture):
        image = picture.pixels.copy()
        size = max(4, round(min(image.size) * share))
        mark = Image.new("L", (96, 96))
        pen = ImageDraw.Draw(mark)
        pen.rectangle((4, 30, 91, 65), outline=255, width=9)
        pen.line((4, 91, 91, 4), fill=255, width=9)
        mark = mark.resize((size, size), Image.Resampling.LANCZOS).point(lambda v: v * strength)
        gap = size // 4
        x = gap if "left" in corner else image.width - size - gap
        y = gap if "top" in corner else image.height - size - gap
        image.paste((250, 250, 250), (x, y), mark)
        image.paste((20, 20, 20), (x + max(1, size // 20), y + max(1, size // 20)),
                    mark.point(lambda v: v // 2))  # fmt: skip
        return picture._replace(pixels=image)

    return stamped


def limits() -> None:
    """Marks on 80 % of one class of art_style, 100 pictures of each: found in how many of 8 cases?"""
    if not (SHARED / "art_style").is_dir():
        return
    dataset = Dataset.from_folder(SHARED / "art_style")
    for share in (1 / 6, 1 / 8, 1 / 10, 1 / 12, 1 / 16, 1 / 20):
        for strength in (0.9, 0.5, 0.3):
            hits: Counter[str] = Counter()
            for trial in range(8):
                rng = np.random.default_rng(trial)
                label, corner = dataset.classes[trial % 4], CORNERS[(trial // 2) % 4]
                every = [
                    rng.permutation(np.flatnonzero(dataset.targets == k))[:100] for k in range(4)
                ]
                own = set(every[trial % 4][:80].tolist())
                mark = stamp(share, strength, corner)
                subject = subject_of(
                    dataset, lambda row, p, own=own, mark=mark: mark(p) if row in own else p,
                    np.sort(np.concatenate(every)),
                )  # fmt: skip
                found = [f.details for f in shortcut(subject) if f.details["kind"] == "mark"]
                hits["right"] += any((d["class"], d["place"]) == (label, corner) for d in found)
                hits["wrong"] += any((d["class"], d["place"]) != (label, corner) for d in found)
            print(f"mark 1/{1 / share:.0f} of the shorter side, strength {strength}: "
                  f"found {hits['right']} of 8, wrong {hits['wrong']}")  # fmt: skip


if __name__ == "__main__":
    main()
