"""Is flipping safe? Letters and digits, textures, galleries and the real data, with seeds of their own.

    python benchmarks/transformations.py [--seeds 5] [--changes flip] [--real] [--fits]

Letters are drawn in Pillow's own font, at several sizes, weights and places, tilted by up to 8°; textures
have no left and no right. The last line is the share of verdicts that are as they must be.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from machine import describe, finish
from tellapart.audit.fit_choice import choose_fit
from tellapart.audit.transformations import sample_rows, transformation_safety
from tellapart.data.dataset import Dataset
from tellapart.data.gallery import draw_gallery
from tellapart.model.backbones import open_backbone
from tellapart.training.embed import Embedder, embed_again

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
UNSAFE = ("bdpq25SR", "FGJLR", "2Z5S", "bdAHTO")
SAFE = ("AHOT", "8XVW")
TEXTURES = ("checkers", "dots", "noise", "rings")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--changes", default="flip")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--fits", action="store_true")
    given = parser.parse_args()
    print(describe())
    embedder = Embedder(open_backbone("tf_efficientnet_lite0"))
    changes = given.changes.split(",")
    if given.real:
        for name in ("art_style", "anime_cartoon"):
            if (SHARED / name).is_dir():
                report(Dataset.from_folder(SHARED / name), name, embedder, changes, given.fits)
    right = []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            for name, must, draw in cases(Path(scratch), 1000 + seed):
                draw()
                dataset = Dataset.from_folder(Path(scratch) / name)
                verdict = report(dataset, f"{name} {seed}", embedder, changes, given.fits)
                right.append(verdict == must)
    if right:
        finish("verdicts as they must be", float(np.mean(right)), at_least=0.9)


def cases(root: Path, seed: int):
    """Name, verdict that flipping must get, and what draws it."""
    for name in UNSAFE:
        yield name, "unsafe", lambda name=name: draw_all(root / name, name, letter, seed)
    for name in SAFE:
        yield name, "safe", lambda name=name: draw_all(root / name, name, letter, seed)
    yield "textures", "safe", lambda: draw_all(root / "textures", TEXTURES, texture, seed)
    yield "gallery", "safe", lambda: draw_gallery(root / "gallery", per_class=40, seed=seed)


def report(dataset, name: str, embedder: Embedder, changes: list[str], fits: bool) -> str:
    """Print what is found, and give the verdict on the first change."""
    rows = sample_rows(dataset.targets, dataset.groups)
    features = np.zeros((len(dataset), embedder.backbone.dimensions["all"]), np.float32)
    features[rows] = embed_again(dataset, rows, embedder).values
    start = time.perf_counter()
    safeties = transformation_safety(dataset, embedder, features, changes=changes)
    for safety in safeties:
        print(f"{name}: {safety.sentence()}; {safety.farther} farther")
    if fits:
        print(f"{name}: {choose_fit(dataset, embedder, features).sentence()}")
    print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
    return safeties[0].verdict


def draw_all(root: Path, classes, draw, seed: int, per_class: int = 40) -> None:
    rng = np.random.default_rng(seed)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            draw(rng, name).save(root / name / f"{i:03}.png")


def letter(rng: np.random.Generator, name: str) -> Image.Image:
    ink, paper = (tuple(map(int, rng.integers(*span, 3))) for span in ((0, 100), (160, 256)))
    if rng.random() < 0.3:
        ink, paper = paper, ink
    image = Image.new("RGB", (160, 160), paper)
    x, y = (int(v) for v in 80 + rng.integers(-15, 16, 2))
    font = ImageFont.load_default(float(rng.integers(70, 120)))
    weight = int(rng.integers(0, 4))
    ImageDraw.Draw(image).text(
        (x, y), name, ink, font, anchor="mm", stroke_width=weight, stroke_fill=ink
    )
    return image.rotate(float(rng.uniform(-8, 8)), Image.Resampling.BICUBIC, fillcolor=paper)


def texture(rng: np.random.Generator, name: str) -> Image.Image:
    a, b = rng.integers(0, 256, (2, 3))
    step = int(rng.integers(6, 25))
    y, x = np.mgrid[:160, :160] + rng.integers(0, 50, 2)[:, None, None]
    if name == "checkers":
        mask = (x // step + y // step) % 2
    elif name == "dots":
        mask = np.hypot(x % (2 * step) - step, y % (2 * step) - step) < 0.6 * step
    elif name == "rings":
        mask = np.sin(np.hypot(x - x.mean(), y - y.mean()) / step * 4) > 0
    else:
        side = 160 // step + 2
        small = Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8))
        mask = np.asarray(small.resize((160, 160), Image.Resampling.BICUBIC)) / 255
    pixels = a + (b - a) * np.asarray(mask, float)[..., None] + rng.normal(0, 6, (160, 160, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
