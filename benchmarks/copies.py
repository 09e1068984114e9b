"""How many planted copies are found, among how many false alarms, and how the cost grows.

    python benchmarks/copies.py [--seed 6] [--at-least 0.97]      # planted in art_style
    python benchmarks/copies.py --folder DATA
    python benchmarks/copies.py --gallery                         # those of draw_gallery(faults=True)
    python benchmarks/copies.py --simulated 10000 100000          # up to 1,000,000

Planted are 5 % copies of the kinds of `KINDS`, as files. A planted copy is found where it is in the
group of its picture; a pair is a false alarm where its pictures do not come from the same one, the
copies that the data has by itself included: they are listed, to be judged by eye. Simulated pictures
are random thumbnails of shapes, which lie in a mapped file of 7 kB a picture, and random vectors of
128 numbers; a tenth are copies.
"""

import argparse
import tempfile
import time
from collections import Counter
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
    parser.add_argument("--gallery", action="store_true")
    parser.add_argument("--simulated", type=int, nargs="+")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--at-least", type=float)
    given = parser.parse_args()
    print(describe())
    if given.simulated:
        value = min([simulated(count, given.seed) for count in given.simulated])
    elif given.gallery:
        value = drawn(given.seed)
    else:
        value = planted(given.folder, given.share, given.seed)
    finish("value", value, at_least=given.at_least)


def jpeg(image: Image.Image, quality: int) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def cropped(image, rng):
    w, h = image.size
    keep_w, keep_h = (
        max(1, round(w * rng.uniform(0.7, 0.95))),
        max(1, round(h * rng.uniform(0.7, 0.95))),
    )
    x, y = int(rng.integers(0, w - keep_w + 1)), int(rng.integers(0, h - keep_h + 1))
    return image.crop((x, y, x + keep_w, y + keep_h))


def tilted(image, rng):
    angle, (w, h) = rng.uniform(2, 8) * rng.choice([-1, 1]), image.size
    if rng.random() < 0.5:
        colour = (0, 0, 0) if rng.random() < 0.5 else (255, 255, 255)
        expand = bool(rng.random() < 0.5)
        return image.rotate(angle, Image.Resampling.BICUBIC, expand=expand, fillcolor=colour)
    slope = np.tan(np.radians(abs(angle)))
    x, y = int(h / 2 * slope) + 1, int(w / 2 * slope) + 1
    return image.rotate(angle, Image.Resampling.BICUBIC).crop((x, y, w - x, h - y))


def framed(image, rng):
    x, y = (round(side * rng.uniform(0.03, 0.15)) for side in image.size)
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


KINDS = {
    "exact": None,
    "re-encoded": lambda image, rng: image,
    "resized": resized,
    "cropped": cropped,
    "mirrored": lambda image, rng: image.transpose(Turn.FLIP_LEFT_RIGHT),
    "rotated": lambda image, rng: image.transpose(Turn(int(rng.choice([2, 3, 4])))),
    "tilted": tilted,
    "framed": framed,
    "watermarked": watermarked,
    "cropped, mirrored": lambda i, rng: cropped(i, rng).transpose(Turn.FLIP_LEFT_RIGHT),
}


def facts_of(image: Image.Image) -> np.ndarray:
    fact = np.zeros((), FACT)
    fact["width"], fact["height"] = image.size
    fact["thumbnail"] = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    return fact


def planted(root: Path, share: float, seed: int) -> float:
    rng = np.random.default_rng(seed)
    paths = Dataset.from_folder(root).paths
    sources = rng.permutation(len(paths))[: round(share * len(paths))]
    facts = [facts_of(decode(read_bytes(root / path))) for path in paths]
    kinds = [list(KINDS)[number % len(KINDS)] for number in range(len(sources))]
    embedder = Embedder(open_backbone("tf_efficientnet_lite0"))
    with tempfile.TemporaryDirectory() as scratch:
        for number, (source, kind) in enumerate(zip(sources, kinds, strict=True)):
            content = read_bytes(root / paths[source])
            change = KINDS[kind]
            if change is not None:
                content = jpeg(change(decode(content), rng), int(rng.integers(30, 91)))
            (Path(scratch) / f"{number:05d}.jpg").write_bytes(content)
            facts.append(facts_of(decode(content)))
        made = [f"{number:05d}.jpg" for number in range(len(sources))]
        own, new = embed(root, paths, embedder), embed(Path(scratch), made, embedder)
    vectors = np.concatenate([own.values, new.values])[:, : embedder.backbone.dimensions["final"]]
    start = time.perf_counter()
    copies = find_copies([*own.sha256, *new.sha256], np.array(facts, FACT), vectors)
    print(f"{len(facts):,} pictures compared in {time.perf_counter() - start:.1f} s")
    return report(copies, len(paths), sources, kinds, paths)


def report(copies: Copies, count: int, sources: np.ndarray, kinds: list[str], paths) -> float:
    """Recall by kind, and precision with every pair that was not planted taken for a false alarm."""
    found = copies.groups[count:] == copies.groups[sources]
    for kind in KINDS:
        own = found[[name == kind for name in kinds]]
        print(f"{kind:<20}{own.sum():>5} of {len(own)}")
    low, high = wilson_interval(int(found.sum()), len(found))
    print(f"recall {found.mean():.4f} ({low:.3f}–{high:.3f}), n = {len(found)}")
    root = np.concatenate([np.arange(count), sources])
    alarms = root[copies.copy] != root[copies.original]
    low, high = wilson_interval(int((~alarms).sum()), len(alarms))
    print(
        f"pairs {len(copies)}, not planted {alarms.sum()}; precision if all of these are false: "
        f"{1 - alarms.mean():.4f} ({low:.3f}–{high:.3f})"
    )
    for pair in np.flatnonzero(alarms):
        a, b = root[copies.copy[pair]], root[copies.original[pair]]
        print(f"  {copies.kinds[pair]}, {copies.similarity[pair]:.2f}: {paths[a]} – {paths[b]}")
    return float(min(found.mean(), 1 - alarms.mean()))


def drawn(seed: int) -> float:
    """Recall of the gallery's own copies; every other pair counts as false."""
    with tempfile.TemporaryDirectory() as scratch:
        gallery = draw_gallery(Path(scratch) / "art", 240, seed, faults=True)
        dataset = Dataset.from_folder(gallery.root)
        embedder = Embedder(open_backbone("tf_efficientnet_lite0"))
        features = embed(gallery.root, dataset.paths, embedder, cache=Path(scratch) / "cache")
        rows = [row for row in range(len(dataset.paths)) if row not in features.failures]
        paths = [dataset.paths[row] for row in rows]
        facts = [facts_of(decode(read_bytes(gallery.root / path))) for path in paths]
    vectors = features.values[rows][:, : embedder.backbone.dimensions["final"]]
    copies = find_copies([features.sha256[row] for row in rows], np.array(facts, FACT), vectors)
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
