"""Things under the sky: a house, a tree, a ship, mountains."""

from itertools import pairwise

import numpy as np

from tellapart.data.gallery.curves import (
    Points,
    box,
    ellipse,
    mirrored,
    moved,
    path,
    points,
    smooth,
    tube,
)
from tellapart.data.gallery.sketch import Sketch

__all__ = ["house", "mountains", "ship", "tree"]


_FLAG = points("0,0 .3,-.06 .5,.04 .28,.1 0,.16")


def _crown(
    sketch: Sketch, rng: np.random.Generator, x: float, y: float, rx: float, ry: float, count: int
) -> None:
    """Clumps of leaves that together fill an ellipse, the back ones first."""
    angle = np.arange(count) * 2.399963  # the golden angle spreads them evenly
    reach = np.sqrt((np.arange(count) + 0.5) / count)[::-1]
    size = 1.25 / np.sqrt(count) + 0.1
    for a, r in zip(angle, reach, strict=True):
        cx, cy = x + np.cos(a) * r * rx, y + np.sin(a) * r * ry
        wobble = rng.uniform(0.78, 1.12, 11)
        around = np.arange(11) * 2 * np.pi / 11
        clump = (
            np.stack([np.cos(around) * rx, np.sin(around) * ry], axis=1) * wobble[:, None] * size
        )
        tone = rng.uniform(-0.07, 0.07) - 0.06 * (cy - y) / ry
        sketch.add(smooth(moved(clump, cx, cy), steps=3), "leaf", 0.7, tone=tone, line=0.7)


def tree(rng: np.random.Generator) -> Sketch:
    """One tree: round, slender as a cypress, a fir, or bare in winter."""
    sketch = Sketch("floor", focus=(0.0, -1.9, 1.1))
    kind = str(rng.choice(["round", "cypress", "fir", "bare"], p=[0.45, 0.15, 0.15, 0.25]))
    lean, foot = rng.uniform(-0.25, 0.25), rng.uniform(0.14, 0.22)
    if kind == "fir":
        sketch.add(tube(points("0,0 0,-0.6"), 0.1), "wood")
        _fir(sketch, rng)
        return sketch
    if kind == "bare":
        _branch(sketch, rng, (0.0, 0.05), lean * 0.5, 1.25, foot, 0)
        return sketch
    trunk = path((0, 0.05), (lean * 0.3, -0.6), (lean, -1.4), (lean * 1.2, -2.2))
    sketch.add(tube(trunk, [foot, foot * 0.7, foot * 0.55, foot * 0.3]), "wood", 0.9)
    for x in (-0.5, 0.0, 0.45):
        bark = path((x * foot, -0.1), (x * foot + lean * 0.4, -0.8), (x * foot * 0.6 + lean, -1.3))
        sketch.crease(bark, 0.6)
    if kind == "cypress":
        _crown(sketch, rng, lean, -1.9, 0.42, 1.5, 13)
        return sketch
    for side in (-1, 1):
        limb = path((lean, -1.2), (lean + side * 0.45, -1.7), (lean + side * 0.75, -2.2))
        sketch.add(tube(limb, [foot * 0.45, foot * 0.15]), "wood", 0.9)
    wide, tall = rng.uniform(0.85, 1.25), rng.uniform(0.75, 1.0)
    _crown(sketch, rng, lean, -2.0, wide, tall, int(rng.integers(9, 16)))
    return sketch


def _fir(sketch: Sketch, rng: np.random.Generator) -> None:
    tiers = int(rng.integers(4, 7))
    for i in range(tiers):
        y, wide, drop = -0.4 - i * 2.6 / tiers, 1.0 - i / (tiers + 0.6), 3.9 / tiers
        tier = points("0,-1 .45,-.45 1,0 .5,.04 .15,.1 -.4,.03 -1,0 -.45,-.45") * (wide, drop)
        sketch.add(smooth(moved(tier, 0, y), steps=4), "leaf", 0.5, tone=rng.uniform(-0.05, 0.05))


def _branch(
    sketch: Sketch,
    rng: np.random.Generator,
    start: tuple[float, float],
    heading: float,
    length: float,
    radius: float,
    depth: int,
) -> None:
    """A bare branch and those that fork from it; the finest are single lines."""
    bend = heading + rng.normal(0, 0.2)
    x, y = start
    knee = (x + np.sin(heading) * length * 0.5, y - np.cos(heading) * length * 0.5)
    end = (knee[0] + np.sin(bend) * length * 0.5, knee[1] - np.cos(bend) * length * 0.5)
    spine = path(start, knee, end)
    if depth == 3:
        sketch.crease(spine, 1.1)
        return
    forks = 3 if depth == 0 else int(rng.integers(2, 4))
    for spread in np.linspace(-0.65, 0.65, forks) + rng.normal(0, 0.12, forks):
        at = spine[-1] if rng.random() < 0.6 else spine[-3]
        share = rng.uniform(0.62, 0.8)
        _branch(sketch, rng, (at[0], at[1]), bend + spread, length * share, radius * 0.6, depth + 1)
    sketch.add(tube(spine, [radius, radius * 0.62]), "wood", 0.9)


def house(rng: np.random.Generator) -> Sketch:
    """A house, a church or a tower, seen from a corner."""
    sketch = Sketch("floor", focus=(0.0, -1.0, 1.1))
    front, side = rng.uniform(0.9, 1.3), rng.uniform(0.6, 1.3)
    wall, ridge = rng.uniform(0.8, 1.3), rng.uniform(0.5, 0.9)
    if rng.random() < 0.5:
        x = rng.choice([-1.0, 1.0]) * rng.uniform(1.2, 1.6)
        sketch.add(tube(np.array([(x, 0.0), (x, -1.0)]), 0.07), "wood")
        _crown(sketch, rng, x, -1.35, 0.55, 0.7, 7)
    if rng.random() < 0.45:
        _tower(sketch, rng, -front * 0.5, wall)
    rise = 0.12  # the side wall runs back and so its foot climbs
    flank = np.array([(0, -wall), (side, -wall - rise * 0.2), (side, -rise), (0, 0)])
    sketch.add(flank, "wall", 0.0, tone=-0.14)
    peak = (-front / 2, -wall - ridge - 0.06)
    gable = np.array([(-front, -wall), (peak[0], peak[1] + 0.06), (0, -wall), (0, 0), (-front, 0)])
    sketch.add(gable, "wall", 0.0)
    far_peak = (side - front / 2 + 0.1, -wall - ridge - 0.02)
    eaves = ((side + 0.12, -wall - rise * 0.2 + 0.06), (0.06, -wall + 0.1))
    roof = np.array([peak, far_peak, *eaves])
    sketch.add(roof, "roof", 0.15)
    for share in np.linspace(0.2, 0.8, 4):
        sketch.crease(roof[:2] * (1 - share) + roof[:1:-1] * share, 0.5)
    verge = np.array([(-front - 0.1, -wall + 0.12), peak, (0.08, -wall + 0.12)])
    sketch.add(tube(verge, 0.05), "roof", 0.3, tone=-0.08)
    _openings(sketch, rng, front, side, wall)
    return sketch


def _openings(
    sketch: Sketch, rng: np.random.Generator, front: float, side: float, wall: float
) -> None:
    door = -front * rng.uniform(0.35, 0.65)
    arch = points("-.13,0 -.13,-.4 -.09,-.5 0,-.54 .09,-.5 .13,-.4 .13,0")
    sketch.add(moved(arch, door, 0), "wood", 0.1, tone=-0.1, clings=True)
    windows = [(-front * share, -wall * 0.7) for share in (0.82, 0.2)]
    windows.append((-front * 0.5, -wall - 0.12))
    for share in np.linspace(0.25, 0.78, int(rng.integers(2, 4))):
        windows.append((side * share, -wall * 0.58))
    for x, y in windows:
        half = 0.09
        pane = box(x - half, y - 0.13, x + half, y + 0.13)
        sketch.add(pane, "dark", 0.0, tone=0.05, clings=True)
        sketch.crease(np.array([(x, y - 0.13), (x, y + 0.13)]), 0.5)
        sketch.crease(np.array([(x - half, y), (x + half, y)]), 0.5)
    if rng.random() < 0.5:
        for y in np.linspace(-wall * 0.9, -0.1, 6):
            x = rng.uniform(-front * 0.95, side * 0.6)
            sketch.crease(np.array([(x, y), (x + 0.16, y)]), 0.4)


def _tower(sketch: Sketch, rng: np.random.Generator, x: float, wall: float) -> None:
    top = -wall - rng.uniform(0.8, 1.3)
    sketch.add(box(x - 0.3, top, x + 0.3, 0), "stone", 0.6)
    sketch.add(box(x - 0.08, top + 0.15, x + 0.08, top + 0.45), "dark", 0.0, clings=True)
    if rng.random() < 0.5:
        dome = mirrored(points("0,-.78 .2,-.5 .4,-.25 .36,0"))
        sketch.add(smooth(moved(dome, x, top), steps=4), "roof", 1.0)
        top -= 0.3
    else:
        sketch.add(moved(points("-.38,.04 0,-.8 .38,.04"), x, top), "roof", 0.5)
    sketch.add(tube(np.array([(x, top - 0.4), (x, top - 0.85)]), 0.02), "dark")
    sketch.add(tube(np.array([(x - 0.1, top - 0.7), (x + 0.1, top - 0.7)]), 0.02), "dark")


def ship(rng: np.random.Generator) -> Sketch:
    """A sailing ship on waves."""
    sketch = Sketch("afloat", focus=(0.0, -1.1, 1.1), extent=(-1.6, -2.4, 1.8, 0.5))
    masts = [-0.75, -0.05, 0.65] if rng.random() < 0.6 else [-0.45, 0.45]
    if rng.random() < 0.35:
        _lateen(sketch, rng)
    else:
        belly = rng.uniform(0.1, 0.25)
        for x in masts:
            _mast(sketch, rng, x, rng.uniform(1.8, 2.3), belly)
        for start, end in ((masts[0], -1.35), (masts[-1], 1.45)):
            sketch.crease(np.array([(start, -1.75), (end, -0.4)]), 0.5)
    hull = points(
        "-1.3,-.5 -.9,-.34 .3,-.26 1,-.4 1.5,-.62 1.42,-.5 1.1,-.05 .7,.25 -.9,.25 -1.2,0"
    )
    sketch.add(smooth(hull, steps=5), "wood", 0.8)
    for drop in (0.1, 0.22, 0.34):
        plank = path((-1.2, -0.42 + drop), (0.2, -0.2 + drop), (1.3 - drop, -0.48 + drop))
        sketch.crease(plank, 0.6)
    for row, y in enumerate((0.12, 0.27, 0.46)):
        along = np.linspace(-9, 9, 55)
        crest = y + 0.05 * np.cos(np.arange(55) * np.pi + row) + rng.normal(0, 0.02, 55)
        rim = smooth(np.stack([along, crest], axis=1), closed=False, steps=3)
        wave = np.concatenate([rim, [(9, 9), (-9, 9)]])
        sketch.add(wave, "water", 0.0, tone=0.05 - 0.05 * row)
    return sketch


def _mast(sketch: Sketch, rng: np.random.Generator, x: float, tall: float, belly: float) -> None:
    sketch.add(tube(np.array([(x, -0.2), (x + 0.03, -tall)]), 0.04), "wood")
    rows = np.linspace(-tall + 0.12, -0.42, int(rng.integers(2, 4)) + 1)
    for top, foot in pairwise(rows.tolist()):
        half, low, middle = 0.24 + 0.1 * (top + tall), foot - 0.06, (top + foot) / 2
        right = path((half, top), (half * 1.2 + belly, middle), (half * 1.15, low))
        hem = path((half * 1.15, low), (belly, low - 0.1), (-half * 1.15, low))
        left = path((-half * 1.15, low), (-half * 1.05 + belly * 0.8, middle), (-half, top))
        sail = moved(np.concatenate([right, hem, left]), x, 0)
        sketch.add(sail, "light", 0.35, tone=rng.uniform(-0.1, 0.0))
        for share in (-0.4, 0.3):
            seam = path((share * half, top), (share * half + belly, middle), (share * half, low))
            sketch.crease(moved(seam, x, 0), 0.4)
        sketch.add(tube(np.array([(x - half - 0.06, top), (x + half + 0.06, top)]), 0.025), "wood")
    sketch.add(smooth(moved(_FLAG, x, -tall), steps=3), "cloth", 0.3)


def _lateen(sketch: Sketch, rng: np.random.Generator) -> None:
    tall, lean = rng.uniform(2.0, 2.35), rng.uniform(0.0, 0.3)
    sketch.add(tube(np.array([(0.0, -0.2), (0.02, -tall)]), 0.04), "wood")
    jib = np.concatenate([path((-0.08, -tall + 0.3), (-0.5, -1.2), (-1.25, -0.5)), [(-0.1, -0.5)]])
    sketch.add(jib, "light", 0.3, tone=-0.07)
    leech = path((0.08, -tall + 0.1), (0.75 + lean, -1.4), (1.1, -0.5))
    sketch.add(np.concatenate([leech, [(0.08, -0.45)]]), "light", 0.35)
    for share in (0.3, 0.55, 0.8):
        x, y = leech[int(share * (len(leech) - 1))]
        sketch.crease(np.array([(0.08, y + 0.05), (x, y)]), 0.4)
    sketch.add(smooth(moved(_FLAG, 0, -tall), steps=3), "cloth", 0.3)


def mountains(rng: np.random.Generator) -> Sketch:
    """Ranges behind each other, a sun or moon, a lake, small firs in front."""
    sketch = Sketch("fill", focus=(float(rng.uniform(-0.9, 0.9)), -1.4, 0.3))
    x, y, radius = sketch.focus
    sketch.add(ellipse(x, y, radius * 0.8, radius * 0.8), "light", 0.2)
    for row, (base, tall) in enumerate(((-0.6, 0.9), (-0.35, 0.75), (-0.1, 0.35))):
        ridge = _ridge(rng, base, tall)
        body = np.concatenate([ridge, points("2.8,7 -2.8,7")])
        sketch.add(body, "far" if row < 2 else "ground", 0.0, tone=0.1 - 0.1 * row)
        for i in np.argsort(ridge[:, 1])[:4]:
            _spur(sketch, rng, ridge[i], tall)
    if rng.random() < 0.6:
        sketch.add(ellipse(rng.uniform(-0.5, 0.5), 0.2, 1.2, 0.16), "water", 0.0, tone=0.05)
    fir = mirrored(points("0,-2 .3,-1.2 .2,-1.2 .5,-.4 .08,-.4 .08,0"))
    for y in np.sort(rng.uniform(0.1, 0.55, int(rng.integers(4, 10)))):
        place = (rng.uniform(-1.7, 1.7), y)
        sketch.add(fir * rng.uniform(0.16, 0.3) + place, "leaf", 0.5, tone=-0.1)
    sketch.extent = (-1.8, -1.7, 1.8, 0.6)
    return sketch


def _spur(sketch: Sketch, rng: np.random.Generator, peak: Points, tall: float) -> None:
    """The edge that runs down from a peak, and the slope beside it that lies in the shade."""
    x, y = peak
    side, drop = float(rng.choice([-1, 1])), tall * rng.uniform(0.5, 0.8)
    edge = path((x, y), (x + 0.05 * side, y + drop * 0.4), (x + 0.22 * side, y + drop))
    sketch.crease(edge, 0.8)
    sketch.bump(x + 0.18 * side, y + drop * 0.55, 0.16, drop * 0.45, -0.06)
    sketch.bump(x - 0.14 * side, y + drop * 0.55, 0.16, drop * 0.45, 0.05)


def _ridge(rng: np.random.Generator, base: float, tall: float) -> Points:
    count = int(rng.integers(11, 17))
    x = np.linspace(-2.8, 2.8, count) + rng.normal(0, 0.07, count)
    peaks = np.where(np.arange(count) % 2, 0.65, 0.1) * rng.uniform(0.6, 1, count)
    return np.stack([x, base - (peaks + rng.uniform(0.0, 0.35, count)) * tall], axis=1)
