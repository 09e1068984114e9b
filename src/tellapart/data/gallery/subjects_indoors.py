"""Things on a table: a vase with flowers, a still life."""

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
    turned,
)
from tellapart.data.gallery.sketch import Sketch, Slot

__all__ = ["still_life", "vase"]


def _vessel(rng: np.random.Generator, height: float, width: float) -> list[tuple[float, float]]:
    """The profile of a pot: (y, radius) from its rim at y = 0 down to its foot."""
    neck, belly = rng.uniform(0.3, 0.6) * width, width
    waist, low = rng.uniform(0.12, 0.24) * height, rng.uniform(0.42, 0.62) * height
    rim = neck * rng.uniform(1.1, 1.5)
    foot = rng.uniform(0.4, 0.65) * width
    return [(0.0, rim), (waist, neck), (low, belly), (height * 0.92, foot), (height, foot * 1.1)]


def vase(rng: np.random.Generator) -> Sketch:
    """A vase, often with flowers, of one unit's width and one to two units' height."""
    sketch = Sketch("floor")
    height, width = rng.uniform(1.5, 2.3), rng.uniform(0.6, 0.85)
    profile = _vessel(rng, height, width)
    flowers = rng.random() < 0.7
    if flowers:
        _bouquet(sketch, rng)
    if rng.random() < 0.45:
        for side in (-1, 1):
            reach = width * rng.uniform(1.05, 1.25)
            loop = path(
                (profile[0][1] * 0.8, 0.1),
                (reach, 0.15),
                (reach, height * 0.35),
                (width * 0.8, height * 0.42),
            )
            sketch.add(tube(loop, 0.06) * (side, 1), "jar", tone=-0.03)
    sketch.add(turned(profile), "jar", 1.0)
    rim = profile[0][1]
    sketch.add(ellipse(0, 0, rim, rim * 0.16), "dark" if not flowers else "jar", 0.2, tone=-0.1)
    for share in rng.uniform(0.12, 0.88, int(rng.integers(1, 4))):
        y = height * share
        radius = float(np.interp(y, [p[0] for p in profile], [p[1] for p in profile])) * 0.97
        band = path((-radius, y), (0, y + radius * 0.17), (radius, y))
        if rng.random() < 0.5:
            sketch.add(tube(band, rng.uniform(0.03, 0.09)), "bloom", 0.1, line=0.7, clings=True)
        else:
            sketch.crease(band, 0.8)
    sketch.focus = (0.0, -0.55, 0.9) if flowers else (0.0, height * 0.3, width * 1.25)
    return sketch


def _bouquet(sketch: Sketch, rng: np.random.Generator) -> None:
    count = int(rng.integers(4, 9))
    angles = np.linspace(-1.15, 1.15, count) + rng.normal(0, 0.08, count)
    lengths = rng.uniform(0.6, 1.3, count)
    tips = np.stack([np.sin(angles) * lengths, -0.15 - np.cos(angles) * lengths], axis=1)
    for x, y in tips:
        sketch.add(tube(path((0, 0.2), (x * 0.4, y * 0.5), (x, y)), 0.025), "leaf", tone=-0.08)
    for x, y in tips * rng.uniform(0.4, 0.85, (count, 1)):
        lean = np.arctan2(y, x) + rng.normal(0, 0.5)
        sketch.add(ellipse(x, y, 0.27, 0.09, lean), "leaf", 0.4, tone=rng.uniform(-0.1, 0.1))
        dx, dy = np.cos(lean) * 0.24, np.sin(lean) * 0.24
        sketch.crease(np.array([(x - dx, y - dy), (x + dx, y + dy)]), 0.5)
    for x, y in tips[rng.permutation(count)]:
        _flower(sketch, rng, x, y, rng.uniform(0.17, 0.3))


def _flower(sketch: Sketch, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    slot: Slot = "bloom" if rng.random() < 0.6 else "bloom2"
    kind = rng.integers(3)
    if kind == 0:  # a daisy: petals about a heart
        petals, start = int(rng.integers(5, 9)), rng.uniform(0, 6)
        for angle in start + np.arange(petals) * 2 * np.pi / petals:
            px, py = x + np.cos(angle) * size * 0.62, y + np.sin(angle) * size * 0.62
            sketch.add(
                ellipse(px, py, size * 0.42, size * 0.24, angle, steps=16),
                slot,
                0.5,
                tone=rng.uniform(-0.06, 0.06),
            )
        sketch.add(ellipse(x, y, size * 0.3, size * 0.3, steps=20), "fruit2")
    elif kind == 1:  # a rose: leaves within leaves
        for share, tone in ((1.0, -0.05), (0.7, 0.0), (0.42, 0.06)):
            sketch.add(_wavy(rng, x, y, size * share), slot, 0.6, tone=tone)
    else:  # a tulip
        cup = points("-.8,-.7 -.35,-.3 0,-.9 .35,-.3 .8,-.7 .6,.5 0,.8 -.6,.5")
        sketch.add(smooth(moved(cup * size, x, y), steps=4), slot, 0.9)
        sketch.crease(path((x, y - size * 0.6), (x - size * 0.2, y), (x, y + size * 0.7)), 0.6)


def _wavy(rng: np.random.Generator, x: float, y: float, size: float) -> Points:
    angle = np.arange(10) * 2 * np.pi / 10
    radius = size * rng.uniform(0.8, 1.1, 10)
    return smooth(
        np.stack([x + np.cos(angle) * radius, y + np.sin(angle) * radius], axis=1), steps=4
    )


def still_life(rng: np.random.Generator) -> Sketch:
    """Fruit, perhaps a bowl, a bottle or a jug, side by side on a table."""
    sketch = Sketch("floor", focus=(0.0, -0.7, 1.2))
    tall = rng.uniform(-0.9, 0.9)
    for _ in range(int(rng.integers(1, 3))):
        _standing(sketch, rng, tall)
        tall = -tall + rng.uniform(-0.3, 0.3)
    if rng.random() < 0.6:
        _bowl(sketch, rng, -tall * 0.5)
    count = int(rng.integers(3, 7))
    places = np.linspace(-1.5, 1.5, count) + rng.normal(0, 0.12, count)
    for x in places[rng.permutation(count)]:
        _fruit(sketch, rng, x, rng.uniform(0.0, 0.25), rng.uniform(0.26, 0.38))
    return sketch


def _standing(sketch: Sketch, rng: np.random.Generator, x: float) -> None:
    if rng.random() < 0.5:
        top, wide = rng.uniform(1.9, 2.5), rng.uniform(0.26, 0.36)
        profile = [
            (-top, 0.11),
            (-top + 0.6, 0.11),
            (-top + 0.95, wide),
            (-0.7, wide),
            (0.0, wide),
            (0.06, wide * 0.8),
        ]
        sketch.add(turned(profile, x), "jar", 1.0)
        sketch.add(ellipse(x, -top, 0.12, 0.04), "dark", 0.2)
        label = box(-0.8, -1.0, 0.8, -0.4)
        sketch.add(moved(label * (wide, 1), x, 0), "eye", 0.1, tone=-0.05, line=0.6, clings=True)
        return
    profile = [(y - 1.5, radius) for y, radius in _vessel(rng, 1.55, 0.5)]
    loop = path((0.3, -1.3), (0.85, -1.2), (0.75, -0.7), (0.4, -0.5))
    sketch.add(tube(loop * (rng.choice([-1, 1]), 1) + (x, 0), 0.06), "jar", tone=-0.04)
    sketch.add(turned(profile, x), "jar", 1.0)
    sketch.add(ellipse(x, -1.5, profile[0][1], 0.08), "dark", 0.2)


def _bowl(sketch: Sketch, rng: np.random.Generator, x: float) -> None:
    wide = rng.uniform(0.75, 1.0)
    for place in rng.permutation(np.linspace(-0.6, 0.6, 4)):
        _fruit(sketch, rng, x + place * wide, -0.42 - 0.25 * (1 - abs(place)), 0.27)
    bowl = turned([(-0.42, wide), (-0.1, wide * 0.8), (0.12, wide * 0.3), (0.2, wide * 0.36)], x)
    sketch.add(bowl, "stone", 0.9)
    sketch.crease(path((x - wide, -0.4), (x, -0.3), (x + wide, -0.4)), 0.7)


def _fruit(sketch: Sketch, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    slot: Slot = ("fruit", "fruit2", "leaf", "bloom")[int(rng.choice(4, p=[0.4, 0.3, 0.15, 0.15]))]
    kind, lean = rng.integers(3), rng.uniform(-0.5, 0.5)
    if kind == 0:
        half = points("0,-.85 .5,-.95 1,-.3 .85,.5 .3,.95 0,.88")
    elif kind == 1:
        half = points("0,-1.6 .3,-1.45 .45,-.7 .95,.1 .75,.8 0,.98")
    else:
        half = points("0,-1.15 .2,-1 .85,-.5 .95,.2 .5,.85 0,1")
    turn = np.array([[np.cos(lean), np.sin(lean)], [-np.sin(lean), np.cos(lean)]])
    sketch.add(smooth(moved(mirrored(half) @ turn * size, x, y - size), steps=5), slot, 1.0)
    stem = np.array([(0.0, half[0, 1] + 0.1), (0.1, half[0, 1] - 0.3)]) @ turn * size
    sketch.crease(moved(stem, x, y - size), 1.6)
