"""Animals: a cat and a bird."""

import numpy as np

from tellapart.data.gallery.curves import ellipse, mirrored, path, points, smooth, tube
from tellapart.data.gallery.sketch import Sketch

__all__ = ["bird", "cat"]


def cat(rng: np.random.Generator) -> Sketch:
    """A cat that sits, its tail about it."""
    sketch = Sketch("floor", focus=(0.0, -0.05, 0.6))
    side = rng.choice([-1, 1])
    tail = path((0.5, 2.2), (1.1, 2.2), (1.3, 1.7), (rng.uniform(1.0, 1.6), rng.uniform(0.9, 1.4)))
    sketch.add(tube(tail, [0.15, 0.14, 0.1]) * (side, 1), "hair", tone=-0.04)
    half = points("0,.1 .38,.35 .5,.9 .72,1.5 .78,2.1 .5,2.34 0,2.3")
    sketch.add(smooth(mirrored(half)), "hair", 0.8)
    sketch.add(smooth(points("-.2,.4 .2,.4 .25,1 0,1.5 -.25,1")), "eye", 0.4, line=0)
    for x in (-0.6, 0.6):
        sketch.add(ellipse(x, 2.0, 0.3, 0.36), "hair", 0.8, tone=-0.03)
    for x in (-0.2, 0.2):
        sketch.add(tube(path((x * 0.9, 1.1), (x, 1.8), (x, 2.25)), [0.15, 0.14, 0.14]), "hair", 0.8)
        sketch.add(ellipse(x * 1.05, 2.3, 0.2, 0.11), "hair", tone=0.04)
    for x in (-1, 1):
        ear = points(".12,-.36 .4,-.85 .52,-.2")
        sketch.add(smooth(ear, steps=3) * (x, 1), "hair", 0.5)
        sketch.add((smooth(ear, steps=3) * 0.6 + (0.14, -0.16)) * (x, 1), "lip", 0.2, line=0.4)
    sketch.add(
        smooth(points("0,-.45 .4,-.36 .56,.05 .3,.36 0,.42 -.3,.36 -.56,.05 -.4,-.36")),
        "hair",
        0.9,
    )
    _cat_face(sketch, rng)
    return sketch


def _cat_face(sketch: Sketch, rng: np.random.Generator) -> None:
    sketch.add(ellipse(0, 0.22, 0.22, 0.15), "eye", 0.5, line=0, clings=True)
    for x in (-0.22, 0.22):
        sketch.add(ellipse(x, -0.04, 0.11, 0.085), "leaf", 0.6, clings=True)
        sketch.add(ellipse(x, -0.04, rng.uniform(0.025, 0.06), 0.08), "dark", 0.2, clings=True)
    sketch.add(smooth(points("-.06,.12 .06,.12 0,.19"), steps=3), "lip", 0.4, clings=True)
    sketch.crease(path((0, 0.19), (0.02, 0.26), (0.12, 0.29)), 0.9)
    sketch.crease(path((0, 0.19), (-0.02, 0.26), (-0.12, 0.29)), 0.9)
    for x in (-1, 1):
        for rise in (0.14, 0.22, 0.3):
            sketch.crease(path((x * 0.2, 0.23), (x * 0.5, rise), (x * 0.75, rise + 0.02)), 0.5)
    if rng.random() < 0.6:  # a tabby
        for y in (0.9, 1.2, 1.5, 1.8):
            for x in (-1, 1):
                sketch.crease(path((x * 0.75, y), (x * 0.55, y + 0.06), (x * 0.36, y + 0.03)), 2.0)
        for x in (-0.12, 0.0, 0.12):
            sketch.crease(path((x * 1.5, -0.42), (x, -0.22)), 1.6)


def bird(rng: np.random.Generator) -> Sketch:
    """A bird on a branch with leaves."""
    sketch = Sketch("air", focus=(-0.72, -0.42, 0.5))
    droop = rng.uniform(-0.15, 0.25)
    branch = path((-1.6, 1.0 + droop), (-0.4, 0.86), (0.5, 0.92), (1.7, 0.7 - droop))
    twig = path((0.6, 0.9), (1.0, 1.2), (1.2, 1.6))
    sketch.add(tube(twig, [0.06, 0.03]), "wood")
    sketch.add(tube(branch, [0.12, 0.1, 0.09, 0.04]), "wood")
    tail = [(0.6, 0.15), (1.5, rng.uniform(0.5, 0.9)), (1.62, rng.uniform(0.5, 0.7)), (0.8, -0.1)]
    sketch.add(smooth(tail, steps=4), "bloom", 0.4, tone=-0.08)
    body = points(
        "-1,-.5 -.8,-.78 -.45,-.7 -.2,-.4 .4,-.25 .85,.1 .5,.55 -.1,.72 -.7,.45 -.92,-.05"
    )
    sketch.add(smooth(body), "bloom", 0.9)
    belly = points("-.9,-.1 -.5,-.05 0,.3 .4,.52 -.1,.7 -.68,.43")
    sketch.add(smooth(belly), "bloom2", 0.3, line=0, clings=True)
    wing = points("-.5,-.2 -.1,-.32 .5,-.05 1.1,.34 .5,.36 -.1,.3")
    sketch.add(smooth(wing), "bloom", 0.5, tone=-0.1)
    for share in np.linspace(0.15, 0.8, 5):
        sketch.crease(
            path((-0.3 + share * 0.3, -0.15 + share * 0.3), (0.3, share * 0.36), (0.95, 0.3)), 0.7
        )
    beak = points("-.97,-.58 -1.32,-.46 -.97,-.42")
    sketch.add(smooth(beak, steps=3), "fruit2", 0.7)
    sketch.add(ellipse(-0.78, -0.54, 0.07, 0.07), "dark", clings=True)
    for x in (-0.2, 0.1):
        sketch.add(tube(path((x, 0.66), (x - 0.03, 0.95)), 0.025), "fruit2")
    for x, y, angle in (
        (-1.2, 1.15, 0.9),
        (-1.3, 0.7, -0.8),
        (1.25, 1.5, 0.6),
        (1.5, 0.55, -0.5),
        (0.9, 1.3, 2.2),
    ):
        leaf = smooth(points("-.3,0 0,-.13 .32,0 0,.13"))
        cos, sin = np.cos(angle + droop), np.sin(angle + droop)
        turned = leaf @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
        sketch.add(turned, "leaf", 0.4, tone=rng.uniform(-0.08, 0.08))
        sketch.crease(turned[[0, 12]], 0.5)
    return sketch
