"""People: a portrait and a standing figure."""

import numpy as np

from tellapart.data.gallery.curves import ellipse, mirrored, moved, path, points, smooth, tube
from tellapart.data.gallery.sketch import Sketch

__all__ = ["figure", "portrait"]


def portrait(rng: np.random.Generator) -> Sketch:
    """Head and shoulders, turned a little to one side; the head is one unit high."""
    sketch = Sketch("cut", focus=(0.0, -0.06, 0.66))
    turn = float(rng.uniform(-0.9, 0.9))
    cover = str(
        rng.choice(["short", "long", "veil", "hat", "bun"], p=[0.25, 0.25, 0.2, 0.15, 0.15])
    )
    beard = cover != "bun" and rng.random() < 0.35
    _behind_head(sketch, rng, cover, turn)
    _shoulders(sketch, rng)
    _face(sketch, rng, turn, beard)
    _hair(sketch, rng, cover, turn)
    return sketch


def _behind_head(sketch: Sketch, rng: np.random.Generator, cover: str, turn: float) -> None:
    back = -0.08 * turn
    if cover == "long":
        drop = rng.uniform(0.6, 1.1)
        half = [*points("0,-.62 .36,-.5 .5,-.1 .5,.35"), (0.56, drop), (0.25, drop + 0.1)]
        sketch.add(moved(smooth(mirrored(half)), back, 0), "hair", 0.7)
        for x in (-0.43, 0.43):
            strand = path((x, -0.1), (x * 1.05, 0.3), (x * 1.15, drop))
            sketch.crease(moved(strand, back, 0), 0.5)
    elif cover == "veil":
        veil = mirrored(points("0,-.7 .4,-.56 .56,-.05 .54,.4 .74,.95 .4,1.3"))
        sketch.add(moved(smooth(veil), back, 0), "cloth2", 0.7)
    elif cover == "bun":
        sketch.add(ellipse(back * 3, -0.56, 0.22, 0.2), "hair")
        sketch.add(ellipse(back, -0.1, 0.45, 0.5), "hair", 0.8)
    else:
        sketch.add(ellipse(back, -0.12, 0.44, 0.48), "hair", 0.8)


def _shoulders(sketch: Sketch, rng: np.random.Generator) -> None:
    width = rng.uniform(0.85, 1.1)
    neck = points("-.19,.2 .19,.2 .2,.6 .34,.86 0,1 -.34,.86 -.2,.6")
    half = [(0.24, 0.66), (0.6, 0.8), (width, 1.05), (width + 0.1, 1.6), (width + 0.12, 2.2)]
    sketch.add(smooth(mirrored(half)), "cloth", 0.35)
    sketch.add(smooth(neck), "skin", 0.7)
    sketch.bump(0, 0.55, 0.3, 0.12, -0.05)
    kind = rng.integers(3)
    if kind == 0:
        collar = points("-.36,.8 -.2,.68 0,.94 .2,.68 .36,.8 0,1.24")
        sketch.add(smooth(collar), "cloth2", 0.4)
    elif kind == 1:
        lapel = points("-.22,.62 -.6,.76 -1,1.08 -1.15,2.2 -.3,2.3 -.36,1.5 -.3,1.0")
        for side, tone in ((1, 0.0), (-1, -0.05)):
            sketch.add(smooth(lapel) * (side * width, 1), "cloth2", 0.2, tone=tone)
    else:
        band = smooth(points("-.35,.84 0,1.04 .35,.84"), closed=False)
        sketch.add(tube(band, [0.05, 0.06, 0.05]), "cloth2", 0.7)
    for _ in range(int(rng.integers(4, 8))):
        x, lean = rng.uniform(-0.75, 0.75), rng.uniform(-0.2, 0.2)
        sketch.crease(path((x * 0.6, 1.05 + abs(x) * 0.2), (x, 1.4), (x * 1.1 + lean, 1.9)))


def _face(sketch: Sketch, rng: np.random.Generator, turn: float, beard: bool) -> None:
    jaw, chin = rng.uniform(0.28, 0.34), 0.08 * turn
    for ear in (-1, 1):
        if ear * turn < 0.3:
            sketch.add(ellipse(ear * 0.37 - 0.04 * turn, 0.03, 0.06, 0.11), "skin", 0.6)
    head = [(0, -0.5), (0.27, -0.42), (0.38, -0.14), (0.36, 0.1), (jaw, 0.3), (0.14 + chin, 0.47)]
    left = [(-x + 2 * max(0, y) * chin * 2, y) for x, y in head[:0:-1]]
    sketch.add(smooth([*head, (chin, 0.5), *left]), "skin", 0.65)
    if beard:
        length = rng.uniform(0.55, 0.85)
        rim = [(-0.37, 0.02), (-0.3, 0.2), (chin - 0.12, 0.17), (chin + 0.12, 0.17), (0.3, 0.2)]
        low = [
            (0.37, 0.02),
            (0.34, 0.3),
            (0.18, length - 0.1),
            (chin, length),
            (-0.18, length - 0.1),
        ]
        sketch.add(smooth([*rim, *low, (-0.34, 0.3)]), "hair", 0.5, tone=0.04)
        for x in np.linspace(-0.16, 0.16, 5):
            sketch.crease(path((chin + x, 0.36), (chin + x * 1.2, length - 0.16)), 0.4)
    middle = 0.13 * turn
    for side in (-1.0, 1.0):
        _eye(sketch, rng, middle + side * (0.155 - 0.05 * max(0.0, side * turn)), turn)
    _nose_and_mouth(sketch, rng, turn, middle)


def _eye(sketch: Sketch, rng: np.random.Generator, x: float, turn: float) -> None:
    y, half = -0.03, 0.085
    sketch.bump(x, y - 0.01, 0.11, 0.07, -0.05)
    lid = smooth([(x - half, y + 0.01), (x, y - 0.042), (x + half, y + 0.005), (x, y + 0.034)])
    sketch.add(lid, "eye", 0.8, line=0.8, clings=True)
    sketch.add(
        ellipse(x + 0.03 * turn, y - 0.004, 0.033, 0.035), "iris", 0.4, line=0.7, clings=True
    )
    sketch.crease(path((x - half, y + 0.01), (x, y - 0.046), (x + half, y)), 1.4)
    brow = y - rng.uniform(0.1, 0.12)
    sketch.crease(
        path((x - half * 1.2, brow + 0.03), (x, brow - 0.01), (x + half * 1.2, brow + 0.02)), 1.6
    )


def _nose_and_mouth(sketch: Sketch, rng: np.random.Generator, turn: float, middle: float) -> None:
    tip = middle + 0.07 * turn
    side = 1.0 if turn >= 0 else -1.0
    sketch.bump(tip * 0.9 + middle * 0.1, 0.06, 0.05, 0.14, 0.09)
    sketch.bump(tip, 0.13, 0.06, 0.05, 0.06)
    ridge = path(
        (middle - side * 0.05, -0.1), (middle + side * 0.02, 0.0), (tip + side * 0.045, 0.13)
    )
    sketch.crease(ridge, 0.9)
    sketch.crease(
        path((tip + side * 0.045, 0.13), (tip + side * 0.02, 0.17), (tip - side * 0.05, 0.16)), 1.2
    )
    y, half = rng.uniform(0.27, 0.295), rng.uniform(0.1, 0.13)
    centre = middle + 0.02 * turn
    lips = [
        (centre - half, y),
        (centre - 0.03, y - 0.032),
        (centre, y - 0.02),
        (centre + 0.03, y - 0.032),
    ]
    lips += [(centre + half, y), (centre, y + 0.05)]
    sketch.add(smooth(lips), "lip", 0.8, line=0.5, clings=True)
    sketch.crease(path((centre - half, y), (centre, y + 0.005), (centre + half, y)), 1.2)
    sketch.bump(centre, 0.4, 0.09, 0.06, 0.05)
    for cheek in (-0.22, 0.22):
        sketch.bump(centre + cheek, 0.12, 0.1, 0.1, 0.03)


def _hair(sketch: Sketch, rng: np.random.Generator, cover: str, turn: float) -> None:
    part = -0.1 * turn + rng.uniform(-0.08, 0.08)
    if cover == "veil":
        outer = points("-.5,.5 -.54,-.1 -.34,-.58 0,-.68 .34,-.58 .54,-.1 .5,.5")
        inner = points(".36,.3 .35,-.1 .2,-.36 0,-.42 -.2,-.36 -.35,-.1 -.36,.3")
        sketch.add(smooth(np.concatenate([outer, inner])), "cloth2", 0.9)
        sketch.crease(path((-0.45, 0.2), (-0.44, -0.2), (-0.2, -0.55)), 0.5)
        sketch.crease(path((0.46, 0.3), (0.45, -0.15), (0.26, -0.5)), 0.5)
        return
    top = points("-.42,.08 -.45,-.2 -.3,-.52 0,-.6 .3,-.52 .45,-.2 .42,.08 .36,-.1 .27,-.3")
    fringe = [(part + 0.1, -0.37), (part, -0.4), (-0.27, -0.3), (-0.36, -0.1)]
    sketch.add(smooth(np.concatenate([top, fringe])), "hair", 0.8)
    for share in np.linspace(-0.9, 0.9, 7):
        end = (share * 0.42, -0.12 - 0.2 * (1 - share**2))
        sketch.crease(path((part, -0.57), (share * 0.32, -0.47), end), 0.5)
    if cover == "hat":
        brim, tall = rng.uniform(0.55, 0.75), rng.uniform(0.75, 1.0)
        crown = mirrored([(0, -tall - 0.05), (0.38, -tall), (0.42, -0.34), (0, -0.28)])
        sketch.add(ellipse(0, -0.38, brim, 0.1), "cloth2", 0.4)
        sketch.add(smooth(crown), "cloth2", 0.8)
        sketch.add(tube(path((-0.42, -0.44), (0, -0.36), (0.42, -0.44)), 0.05), "cloth", 0.3)


def figure(rng: np.random.Generator) -> Sketch:
    """A standing figure in a long robe, perhaps holding something; about six units high."""
    sketch = Sketch("floor", focus=(0.0, 0.5, 0.85))
    sway, spread = rng.uniform(-0.25, 0.25), rng.uniform(1.0, 1.4)
    for x in (-0.35, 0.3):
        sketch.add(ellipse(x, 6.0, 0.3, 0.14), "skin")
    robe = [(-0.25, 1.15), (-0.8, 1.5), (-0.72, 2.6), (-0.9 - sway, 4.2), (-spread, 5.9), (0, 6.05)]
    robe += [(spread, 5.9), (0.9 - sway, 4.2), (0.72, 2.6), (0.8, 1.5), (0.25, 1.15)]
    sketch.add(smooth(robe), "cloth", 0.5)
    for share in np.linspace(-0.75, 0.75, int(rng.integers(5, 8))):
        foot = (share * spread * 1.05, 5.85)
        sketch.crease(
            path((share * 0.6, rng.uniform(2.4, 3.2)), (share * 0.85 - sway * 0.5, 4.3), foot)
        )
    _cloak(sketch, rng, spread)
    _arms(sketch, rng)
    _small_head(sketch, rng)
    return sketch


def _cloak(sketch: Sketch, rng: np.random.Generator, spread: float) -> None:
    if rng.random() < 0.3:
        return
    side = float(rng.choice([-1, 1]))
    cloak = points("-.3,1.15 -.88,1.5 -1.02,3 -1.3,5.2 -.5,5.3 .2,4.2 .75,3.1 .3,2.6 0,1.6").copy()
    cloak[3, 0] = -spread - 0.1  # the hem is as wide as the robe
    sketch.add(smooth(cloak) * (side, 1), "cloth2", 0.5)
    for share in np.linspace(0.2, 0.9, 4):
        start, end = (-0.8 + share * 0.5, 1.7 + share), (0.5 - share, 3.2 + 1.9 * share)
        sketch.crease(path(start, (-0.4, 3.0 + share), end) * (side, 1))


def _arms(sketch: Sketch, rng: np.random.Generator) -> None:
    side, lift = float(rng.choice([-1, 1])), rng.uniform(1.7, 2.5)
    if rng.random() < 0.5:
        staff = np.array([(1.0, rng.uniform(-0.6, 0.6)), (1.05, 6.0)])
        sketch.add(tube(staff, rng.uniform(0.04, 0.07)) * (side, 1), "wood")
        hand = (0.97, lift)
    else:
        book = smooth(points(".2,-.4 .8,-.5 .9,.4 .25,.5"), steps=3)
        sketch.add(moved(book, 0.0, lift) * (side, 1), "fruit", 0.2)
        hand = (0.75, lift + 0.2)
    upper = path((0.62, 1.5), (0.9, 2.3), (hand[0] - 0.12, hand[1] + 0.05))
    sketch.add(tube(upper, [0.26, 0.24, 0.2]) * (side, 1), "cloth", 0.9, tone=0.05)
    sketch.add(ellipse(hand[0], hand[1], 0.17, 0.15) * (side, 1), "skin")
    lower = path((-0.62, 1.5), (-0.9, 2.3), (-0.3, rng.uniform(2.5, 3.0)))
    sketch.add(tube(lower, [0.26, 0.25, 0.2]) * (side, 1), "cloth", 0.9, tone=0.04)
    x, y = lower[-1]
    sketch.add(ellipse(x + 0.12, y, 0.2, 0.14) * (side, 1), "skin")


def _small_head(sketch: Sketch, rng: np.random.Generator) -> None:
    cover, turn = str(rng.choice(["veil", "long", "short"])), rng.uniform(-0.08, 0.08)
    if cover == "veil":
        hood = mirrored(points("0,-.2 .5,.1 .52,.8 .75,1.5 0,1.8"))
        sketch.add(smooth(hood), "cloth2", 0.7)
    elif cover == "long":
        locks = points("0,-.1 .46,.2 .5,1.2 -.5,1.2 -.46,.2")
        sketch.add(smooth(locks), "hair", 0.7)
    else:
        sketch.add(ellipse(0, 0.36, 0.43, 0.44), "hair", 0.8)
    sketch.add(smooth(points("-.17,.8 .17,.8 .24,1.3 0,1.45 -.24,1.3")), "skin", 0.6)
    sketch.add(ellipse(0, 0.52, 0.34, 0.47), "skin", 0.9)
    fringe = points("-.37,.5 -.3,.12 0,0 .3,.12 .37,.5 .2,.26 -.2,.26")
    sketch.add(smooth(fringe), "hair", 0.6)
    if cover == "short" and rng.random() < 0.6:
        beard = points("-.33,.6 -.14,.74 .14,.74 .33,.6 .22,1 0,1.2 -.22,1")
        sketch.add(smooth(beard), "hair", 0.5)
    for x in (-0.14, 0.14):
        sketch.add(ellipse(x + turn, 0.48, 0.05, 0.032), "iris", 0.3, line=0.8, clings=True)
        sketch.crease(path((x + turn - 0.08, 0.4), (x + turn, 0.36), (x + turn + 0.08, 0.4)), 1.0)
    sketch.bump(turn, 0.58, 0.06, 0.14, 0.09)
    sketch.crease(path((turn, 0.44), (turn + 0.05, 0.62), (turn - 0.02, 0.65)), 0.8)
    sketch.crease(path((turn - 0.09, 0.77), (turn, 0.785), (turn + 0.09, 0.77)), 1.2)
