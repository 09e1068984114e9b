"""How many planted copies are found, among how many false alarms, and how the cost grows.

    python benchmarks/copies.py [--seed 6] [--at-least 0.97]      # planted in art_style
    python benchmarks/copies.py --hard                            # cut and framed by more, tilted
    python benchmarks/copies.py --folder DATA
    python benchmarks/copies.py --gallery                         # those of draw_gallery(faults=True)
    python benchmarks/copies.py --simulated 10000 100000          # up to 1,000,000

Planted are 16 % copies of the kinds of `KINDS`, as files. A planted copy is found where it is in the
group of its picture. A pair is a false alarm where its pictures do not come from the same one; pairs
that are found before anything is planted are listed, to be judged by eye, and not counted. Simulated
pictures are random thumbnails of shapes, which lie in a mapped file of 7 kB a picture, and random
vectors of 128 numbers; a tenth are copies.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from machine import describe, finish
from tellapart.data.copies import Copies, find_copies
from tellapart.data.dataset import Dataset
from tellapart.data.gallery import draw_gallery
from tellapart.data.images import decode, read_bytes
from tellapart.data.picture_facts import FACT, SIDE
from tellapart.evaluation.metrics import wilson_interval
from tellapart.model.backbones import open_backbone
from tellapart.training.embed import Embedder, embed

ART = Path(__file__).resolve().parents[2] / "shared" / "data" / "art_style"
Turn = Image.Transpose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=ART)
    parser.add_argument("--hard", action="store_true")
    parser.add_argument("--gallery", action="store_true")
    parser.add_argument("--simulated", type=int, nargs="+")
    parser.add_argument("--share", type=float, default=0.16)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--at-least", type=float)
    given = parser.parse_args()
    print(describe())
    if given.simulated:
        value = min([simulated(count, given.seed) for count in given.simulated])
    elif given.gallery:
        value = drawn(given.seed)
    else:
        value = planted(given.folder, given.share, given.seed, HARD if given.hard else KINDS)
    finish("value", value, at_least=given.at_least)


def jpeg(image: Image.Image, quality: int) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def cropped(image, rng, share=(0.02, 0.08)):
    (w, h), (left, top, right, bottom) = image.size, rng.uniform(*share, 4)
    return image.crop((int(left * w), int(top * h), int(w - right * w), int(h - bottom * h)))


def tilted(image, rng):
    angle, (w, h) = rng.uniform(2, 8) * rng.choice([-1, 1]), image.size
    if rng.random() < 0.5:
        colour = (0, 0, 0) if rng.random() < 0.5 else (255, 255, 255)
        expand = bool(rng.random() < 0.5)
        return image.rotate(angle, Image.Resampling.BICUBIC, expand=expand, fillcolor=colour)
    slope = np.tan(np.radians(abs(angle)))
    x, y = int(h / 2 * slope) + 1, int(w / 2 * slope) + 1
    return image.rotate(angle, Image.Resampling.BICUBIC).crop((x, y, w - x, h - y))


def bordered(image, rng, share=(0.02, 0.08)):
    x, y = (max(1, round(side * rng.uniform(*share))) for side in image.size)
    colour = tuple(rng.integers(0, 256, 3).tolist()) if rng.random() < 0.5 else (0, 0, 0)
    frame = Image.new("RGB", (image.width + 2 * x, image.height + 2 * y), colour)
    frame.paste(image, (x, y))
    return frame


def watermarked(image, rng):
    (w, h), layer = image.size, Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    colour = (*rng.integers(0, 256, 3).tolist(), int(rng.integers(120, 256)))
    if rng.random() < 0.5:
        font = ImageFont.load_default(max(8, int(min(w, h) * rng.uniform(0.08, 0.2))))
        place = w * rng.uniform(0.02, 0.4), h * rng.uniform(0.05, 0.8)
        draw.text(place, "www.pictures.com", fill=colour, font=font)
    else:
        side = min(w, h) * rng.uniform(0.15, 0.33)
        x, y = rng.uniform(0, w - side), rng.uniform(0, h - side)
        draw.ellipse((x, y, x + side, y + side), fill=colour)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def resized(image, rng):
    scale = min(np.exp(rng.uniform(np.log(0.3), np.log(3))), 2500 / max(image.size))
    size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def mirrored(image, rng):
    return image.transpose(Turn.FLIP_LEFT_RIGHT)


KINDS = {  # cropped and framed by as much as draw_gallery(faults=True) crops: 2–8 % at each side
    "exact": None,
    "re-encoded": lambda image, rng: image,
    "resized": resized,
    "cropped": cropped,
    "mirrored": mirrored,
    "rotated": lambda image, rng: image.transpose(Turn(int(rng.choice([2, 3, 4])))),
    "bordered": bordered,
    "watermarked": watermarked,
}
HARD = {  # a crop leaves as little as half of the picture
    "cropped": lambda image, rng: cropped(image, rng, (0.0, 0.15)),
    "cropped, mirrored": lambda image, rng: mirrored(cropped(image, rng, (0.0, 0.15)), rng),
    "bordered": lambda image, rng: bordered(image, rng, (0.03, 0.15)),
    "tilted": tilted,
}


def planted(root: Path, share: float, seed: int, every: dict) -> float:
    """The smaller one of recall and precision, of copies planted among the pictures of a folder."""
    rng = np.random.default_rng(seed)
    paths = Dataset.from_folder(root).paths
    sources = rng.permutation(len(paths))[: round(share * len(paths))]
    kinds = [list(every)[number % len(every)] for number in range(len(sources))]
    embedder = Embedder(open_backbone("tf_efficientnet_lite0"))
    with tempfile.TemporaryDirectory() as scratch:
        for number, (source, kind) in enumerate(zip(sources, kinds, strict=True)):
            content = read_bytes(root / paths[source])
            change = every[kind]
            if change is not None:
                content = jpeg(change(decode(content), rng), int(rng.integers(30, 91)))
            (Path(scratch) / f"{number:05d}.jpg").write_bytes(content)
        made = [f"{number:05d}.jpg" for number in range(len(sources))]
        own, new = embed(root, paths, embedder), embed(Path(scratch), made, embedder)
    length = embedder.backbone.dimensions["final"]
    before = find_copies(own.sha256, own.facts, own.values[:, :length])
    vectors, facts = (
        np.concatenate([own.values, new.values]),
        np.concatenate([own.facts, new.facts]),
    )
    start = time.perf_counter()
    copies = find_copies([*own.sha256, *new.sha256], facts, vectors[:, :length])
    print(f"{len(facts):,} pictures compared in {time.perf_counter() - start:.1f} s")
    found = recall(copies, len(paths), sources, kinds)
    return min(found, precision(before, copies, sources, paths))


def recall(copies: Copies, count: int, sources: np.ndarray, kinds: list[str]) -> float:
    found = copies.groups[count:] == copies.groups[sources]
    for kind in dict.fromkeys(kinds):
        own = found[[name == kind for name in kinds]]
        print(f"  {kind:<20}{own.sum():>5} of {len(own)}")
    low, high = wilson_interval(int(found.sum()), len(found))
    print(f"recall {found.mean():.4f} ({low:.3f}–{high:.3f}), n = {len(found)}")
    return float(found.mean())


def precision(before: Copies, copies: Copies, sources: np.ndarray, paths: Sequence[str]) -> float:
    root = np.concatenate([np.arange(len(paths)), sources])
    own = set(zip(before.copy.tolist(), before.original.tolist(), strict=True))
    own |= {(b, a) for a, b in own}
    ends = list(zip(root[copies.copy].tolist(), root[copies.original].tolist(), strict=True))
    print(f"pairs {len(ends)}; {len(before)} without any planted:")
    for pair in range(len(before)):
        a, b = paths[before.copy[pair]], paths[before.original[pair]]
        print(f"  {before.kinds[pair]}, {before.similarity[pair]:.2f}: {a} – {b}")
    new = [pair for pair in ends if pair not in own]
    right = sum(a == b for a, b in new)
    low, high = wilson_interval(right, len(new))
    print(f"precision of the others {right / len(new):.4f} ({low:.3f}–{high:.3f}), n = {len(new)}")
    for a, b in new:
        if a != b:
            print(f"  false: {paths[a]} – {paths[b]}")
    return right / len(new)


def drawn(seed: int) -> float:
    """Recall of the gallery's own copies; every other pair counts as false."""
    with tempfile.TemporaryDirectory() as scratch:
        gallery = draw_gallery(Path(scratch) / "art", 240, seed, faults=True)
        dataset = Dataset.from_folder(gallery.root)
        embedder = Embedder(open_backbone("tf_efficientnet_lite0"))
        features = embed(gallery.root, dataset.paths, embedder, cache=Path(scratch) / "cache")
        rows = [row for row in range(len(dataset.paths)) if row not in features.failures]
        paths = [dataset.paths[row] for row in rows]
        vectors = features.values[rows][:, : embedder.backbone.dimensions["final"]]
    copies = find_copies([features.sha256[row] for row in rows], features.facts[rows], vectors)
    number = {path: row for row, path in enumerate(paths)}
    truth = {
        frozenset((number[f.path], number[f.other_path])): f.detail or "exact copy"
        for f in gallery.faults
        if f.other_path and f.fault in ("exact_duplicate", "near_duplicate")
    }
    blank = {number[f.path] for f in gallery.faults if f.fault == "blank" and f.path in number}
    missed = [kind for (a, b), kind in truth.items() if copies.groups[a] != copies.groups[b]]
    ends = list(zip(copies.copy.tolist(), copies.original.tolist(), strict=True))
    false = [pair for pair in ends if frozenset(pair) not in truth and not set(pair) <= blank]
    for a, b in false:
        print(f"  {paths[a]} – {paths[b]}")
    print(f"{len(paths)} pictures, {len(truth)} copies, missed {dict(Counter(missed))}")
    print(f"pairs {len(ends)}, neither planted nor blank {len(false)}")
    return min(1 - len(missed) / len(truth), 1 - len(false) / max(1, len(ends)))


def simulated(count: int, seed: int) -> float:
    """Recall of planted crops, mirrored, noisy and framed ones among `count` random pictures."""
    rng = np.random.default_rng(seed)
    originals = count - count // 10
    sources = rng.permutation(originals)[: count // 10]
    with tempfile.NamedTemporaryFile() as file:
        facts = np.memmap(file.name, FACT, "w+", shape=(count,))
        facts["width"] = facts["height"] = 480
        for start in range(0, originals, 4096):
            rows = min(4096, originals - start)
            facts["thumbnail"][start : start + rows] = shapes(rows, rng)
        for row, source in enumerate(sources, originals):
            facts["thumbnail"][row] = changed(facts["thumbnail"][source], row % 4, rng)
        vectors = rng.standard_normal((count, 128), np.float32)
        vectors[originals:] = vectors[sources] + 0.5 * vectors[originals:]
        start = time.perf_counter()
        copies = find_copies([str(row) for row in range(count)], facts, vectors)
        seconds = time.perf_counter() - start
        del facts
    found = (copies.groups[originals:] == copies.groups[sources]).mean()
    print(f"{count:>9,} pictures  {seconds:>7.1f} s  recall {found:.4f}  pairs {len(copies):,}")
    return float(found)


def shapes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Random pictures uint8 (count, 48, 48, 3): smooth noise of 12 × 12 patches and finer of 24 × 24."""
    coarse = rng.integers(0, 160, (count, 12, 12, 3)).repeat(4, axis=1).repeat(4, axis=2)
    fine = rng.integers(0, 90, (count, 24, 24, 3)).repeat(2, axis=1).repeat(2, axis=2)
    return (coarse + fine).astype(np.uint8)


def changed(thumbnail: np.ndarray, kind: int, rng: np.random.Generator) -> np.ndarray:
    if kind == 0:
        return np.clip(thumbnail + rng.normal(0, 4, thumbnail.shape), 0, 255).astype(np.uint8)
    if kind == 1:
        return thumbnail[:, ::-1]
    image = Image.fromarray(thumbnail)
    box = (4, 2, 44, 46) if kind == 2 else (-5, -5, 53, 53)
    return np.asarray(image.crop(box).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
