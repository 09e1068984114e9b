"""Which subject, where, before what, and lit from where: with the same chances in every class."""

from collections.abc import Callable

import numpy as np

from tellapart.data.gallery.curves import Points, box, ellipse, path, smooth, tube
from tellapart.data.gallery.scenes import Scene, rasterise
from tellapart.data.gallery.sketch import Bump, Crease, Shape, Sketch, Slot
from tellapart.data.gallery.subjects_animals import bird, cat
from tellapart.data.gallery.subjects_indoors import still_life, vase
from tellapart.data.gallery.subjects_outdoors import house, mountains, ship, tree
from tellapart.data.gallery.subjects_people import figure, portrait

__all__ = ["SUBJECTS", "canvas_size", "compose"]

SUBJECTS: dict[str, Callable[[np.random.Generator], Sketch]] = {
    "portrait": portrait,
    "figure": figure,
    "cat": cat,
    "bird": bird,
    "vase": vase,
    "still-life": still_life,
    "house": house,
    "tree": tree,
    "ship": ship,
    "mountains": mountains,
}

_OUTDOORS = {"house", "tree", "ship", "mountains"}
_EITHER = {"portrait", "figure", "cat", "bird"}


def canvas_size(rng: np.random.Generator) -> tuple[int, int]:
    """A width and height in pixels: the longer side 180 to 480, mostly 240 to 360."""
    longer = int(rng.integers(240, 361) if rng.random() < 0.8 else rng.choice([180, 200, 400, 480]))
    ratio = float(rng.choice([1.0, 0.8, 0.75, 0.7, 0.64], p=[0.15, 0.3, 0.25, 0.2, 0.1]))
    shorter = int(longer * ratio * rng.uniform(0.96, 1.0))
    return (shorter, longer) if rng.random() < 0.6 else (longer, shorter)


def compose(rng: np.random.Generator, subject: str, size: tuple[int, int]) -> Scene:
    """A scene with the subject somewhere on a canvas of `size` (width, height).

    >>> scene = compose(np.random.default_rng(0), "vase", (120, 160))
    >>> scene.shape
    (160, 120)
    """
    side = float(rng.choice([-1, 1]))
    light = np.array(
        [side * rng.uniform(0.35, 0.75), -rng.uniform(0.25, 0.65), rng.uniform(0.6, 0.8)]
    )
    light /= np.linalg.norm(light)
    sketch = _placed(rng, SUBJECTS[subject](rng), size)
    backdrop, floor = _backdrop(rng, subject, sketch, size)
    first = len(backdrop.shapes)
    backdrop.shapes += sketch.shapes
    backdrop.creases += [
        Crease(crease.points, crease.weight, crease.behind + first) for crease in sketch.creases
    ]
    backdrop.bumps += sketch.bumps
    backdrop.focus, backdrop.stands = sketch.focus, sketch.stands
    x, y, z = (float(value) for value in light)
    return rasterise(backdrop, size, first, (x, y, z), floor)


def _placed(rng: np.random.Generator, sketch: Sketch, size: tuple[int, int]) -> Sketch:
    """The sketch scaled, perhaps mirrored, and moved to its place in pixels."""
    width, height = size
    left, top, right, bottom = sketch.bounds()
    if sketch.stands == "cut":
        scale = min(width / 1.8, height / 1.8) * rng.uniform(0.85, 1.1)
        x = width / 2 + rng.uniform(-0.06, 0.06) * width
        y = rng.uniform(0.06, 0.14) * height - top * scale
    elif sketch.stands == "fill":
        scale = width / (right - left) * rng.uniform(1.0, 1.25)
        x, y = width / 2, height * rng.uniform(0.8, 0.98) - bottom * scale
    else:
        room = rng.uniform(0.8, 0.92)
        scale = min(width * room / (right - left), height * (room - 0.04) / (bottom - top))
        slack = width - (right - left) * scale
        x = slack * rng.uniform(0.3, 0.7) - left * scale
        low = height - (height - (bottom - top) * scale) * rng.uniform(0.25, 0.5)
        y = low - bottom * scale
    mirror = float(rng.choice([-1, 1]))
    if mirror < 0 and sketch.stands != "cut":
        x = width - x
    lean = rng.normal(0, 0.02)
    turn = np.array([[np.cos(lean), np.sin(lean)], [-np.sin(lean), np.cos(lean)]]) * scale

    def place(points: Points) -> Points:
        return (points * (mirror, 1)) @ turn + (x, y)

    fx, fy = place(np.array([sketch.focus[:2]]))[0]
    moved = Sketch(sketch.stands, (float(fx), float(fy), sketch.focus[2] * scale))
    corners = place(np.array([(left, top), (right, bottom)]))
    (x0, y0), (x1, y1) = np.minimum(*corners), np.maximum(*corners)
    moved.extent = (float(x0), float(y0), float(x1), float(y1))
    moved.shapes = [
        Shape(place(s.points), s.slot, s.relief, s.tone, s.line, s.clings) for s in sketch.shapes
    ]
    moved.creases = [Crease(place(c.points), c.weight, c.behind) for c in sketch.creases]
    for b in sketch.bumps:
        bx, by = place(np.array([(b.x, b.y)]))[0]
        moved.bumps.append(Bump(bx, by, b.rx * scale, b.ry * scale, b.height * scale))
    return moved


def _backdrop(
    rng: np.random.Generator, subject: str, sketch: Sketch, size: tuple[int, int]
) -> tuple[Sketch, float]:
    """What is behind the subject, in pixels, and the height of the line where the floor begins."""
    height = size[1]
    out = Sketch("floor")
    foot = (
        sketch.bounds()[3]
        if sketch.stands in ("floor", "afloat")
        else height * rng.uniform(0.75, 1.0)
    )
    floor = float(foot - height * rng.uniform(0.04, 0.16))
    outdoors = subject in _OUTDOORS or (subject in _EITHER and rng.random() < 0.4)
    if outdoors:
        _landscape(out, rng, subject, floor, size)
    else:
        _room(out, rng, sketch, floor, size)
    return out, floor


def _strip(width: int, y: float, bottom: float, wave: Points | None = None) -> Points:
    if wave is None:
        return box(-9, y, width + 9, bottom + 9)
    return np.concatenate([wave, [(width + 9.0, bottom + 9.0), (-9.0, bottom + 9.0)]])


def _landscape(
    out: Sketch, rng: np.random.Generator, subject: str, floor: float, size: tuple[int, int]
) -> None:
    width, height = size
    out.add(box(-9, -9, width + 9, height + 9), "sky", 0.0, line=0)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(0, width), rng.uniform(0.05, 0.4) * height
        wide = rng.uniform(0.1, 0.25) * width
        for dx in (-0.6, 0.5, 0.0):
            cloud = ellipse(x + dx * wide, y - (dx == 0) * wide * 0.15, wide * 0.6, wide * 0.22)
            out.add(cloud, "light", 0.25, tone=-0.04, line=0.4)
    if subject not in ("mountains", "ship") and rng.random() < 0.7:
        for rise in (0.14, 0.05):
            along = np.linspace(-9, width + 9, 7)
            crest = floor - height * rise * rng.uniform(0.2, 1.3, 7)
            hill = smooth(np.stack([along, crest], axis=1), closed=False)
            out.add(_strip(width, 0, height, hill), "far", 0.2, tone=rise - 0.1, line=0.6)
    slot: Slot = "water" if subject == "ship" else "ground"
    if subject != "mountains":
        out.add(_strip(width, floor, height), slot, 0.0, line=0.6)
        for _ in range(int(rng.integers(2, 8))):
            x, y = rng.uniform(0, width), rng.uniform(floor, height)
            reach = rng.uniform(0.04, 0.15) * width
            out.crease(path((x - reach, y), (x, y - 2), (x + reach, y + 1)), 0.5)


def _room(
    out: Sketch, rng: np.random.Generator, sketch: Sketch, floor: float, size: tuple[int, int]
) -> None:
    width, height = size
    out.add(box(-9, -9, width + 9, height + 9), "wall", 0.0, tone=rng.uniform(-0.2, 0.1), line=0)
    kind = str(rng.choice(["plain", "window", "drape", "niche"], p=[0.45, 0.15, 0.2, 0.2]))
    side = float(rng.choice([-1, 1]))
    if kind == "window":
        x, wide = width * (0.5 + 0.34 * side), width * rng.uniform(0.1, 0.16)
        top, low = height * rng.uniform(0.05, 0.12), height * rng.uniform(0.4, 0.55)
        out.add(box(x - wide - 4, top - 4, x + wide + 4, low + 4), "wood", 0.1)
        out.add(box(x - wide, top, x + wide, low), "sky", 0.0)
        out.crease(np.array([(x, top), (x, low)]), 1.2)
        out.crease(np.array([(x - wide, (top + low) / 2), (x + wide, (top + low) / 2)]), 1.2)
    elif kind == "drape":
        for share in (0.52, 0.44, 0.36):
            x = width * (0.5 + side * share)
            fold = path(
                (x, -9), (x + 6, height * 0.35), (x + side * 10, height * 0.7), (x, height + 9)
            )
            out.add(
                tube(fold, [width * 0.05, width * 0.06, width * 0.08]), "cloth2", 0.5, tone=-0.05
            )
    elif kind == "niche":
        x, y, radius = sketch.focus
        wide = max(radius * 1.7, width * 0.36)
        arc = ellipse(x, y, wide, wide, steps=48)
        arc = arc[arc[:, 1] <= y + 1]
        arch = np.concatenate(
            [arc, [(x + wide, y), (x + wide, height + 9), (x - wide, height + 9)]]
        )
        arch = arch[np.argsort(np.arctan2(arch[:, 1] - height, arch[:, 0] - x))]
        out.add(arch, "stone", 0.0, tone=-0.12)
    if sketch.stands == "floor":
        if rng.random() < 0.5:
            out.add(box(-9, floor, width + 9, height + 9), "table", 0.0)
        else:
            edge = min(height - 4.0, sketch.bounds()[3] + height * 0.05)
            out.add(box(-9, floor, width + 9, edge), "table", 0.0, tone=0.06)
            out.add(box(-9, edge, width + 9, height + 9), "table", 0.0, tone=-0.1)
