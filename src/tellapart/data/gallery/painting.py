"""Paintings: colour laid in strokes of the brush that follow the form, on canvas."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tellapart.data.gallery.lines import Hand, draw_lines
from tellapart.data.gallery.palettes import Mood, local_colours, tinted
from tellapart.data.gallery.scenes import Scene
from tellapart.data.gallery.texture import (
    Field,
    Planes,
    blend,
    colour,
    crop,
    from_middle,
    slopes,
    smear,
    soften,
    weave,
)

__all__ = ["render_painting"]


@dataclass(frozen=True)
class _Manner:
    """How a painter works: brush `width` and `length` in pixels, how loose, how thick."""

    width: float
    length: float
    scatter: float  # how far a stroke's colour leaves the true one
    relief: float  # how thick the paint stands
    contrast: float  # of light and shadow
    finish: float  # how much of the true picture is worked out over the strokes
    drawing: float  # how dark contours are
    moods: tuple[Mood, ...]


_MANNERS = {
    "smooth": _Manner(4.5, 2.4, 0.03, 0.5, 1.15, 0.6, 0.35, ("dark", "warm", "natural", "muted")),
    "impressionist": _Manner(
        5.0, 2.4, 0.09, 1.0, 0.8, 0.2, 0.25, ("vivid", "natural", "pale", "cool")
    ),
    "expressionist": _Manner(
        8.0, 3.0, 0.11, 1.3, 1.0, 0.1, 0.75, ("vivid", "vivid", "warm", "cool")
    ),
    "grisaille": _Manner(5.0, 2.2, 0.03, 0.7, 1.1, 0.5, 0.35, ("grey", "muted")),
    "watercolour": _Manner(9.0, 2.0, 0.04, 0.1, 0.6, 0.5, 0.3, ("pale", "natural", "muted")),
}


def render_painting(scene: Scene, rng: np.random.Generator) -> Planes:
    """The scene as a painting: float32 (3, H, W) in [0, 1]."""
    name = str(rng.choice(list(_MANNERS), p=[0.3, 0.27, 0.2, 0.1, 0.13]))
    manner = _MANNERS[name]
    true = _seen(scene, rng, manner)
    dx, dy = _flow(scene, rng)
    painted, ridges = _strokes(scene, rng, manner, true, dx, dy)
    bristles = smear(crop(rng, "grain", scene.shape), dx, dy, int(3 + manner.width * 0.8))
    relief = (bristles - 0.5) * np.float32(5.5) + ridges
    cloth = weave(rng, scene.shape, rng.uniform(2.6, 3.6)) * np.float32(rng.uniform(0.0, 0.35))
    gx, gy = slopes(relief + cloth)
    light = (gx * np.float32(scene.light[0]) + gy * np.float32(scene.light[1])) * np.float32(-0.09)
    gloss = 1 + light * np.float32(manner.relief)
    out = painted * gloss
    if name == "watercolour":
        return _washed(scene, rng, out)
    return _varnished(scene, rng, out)


def _seen(scene: Scene, rng: np.random.Generator, manner: _Manner) -> Planes:
    """What the painter sees: local colour in coloured light and shadow."""
    mood = manner.moods[int(rng.integers(len(manner.moods)))]
    colours = local_colours(rng, scene.slots, scene.tones, mood)
    if rng.random() < 0.15:  # a ground of gold, as the early masters had it
        behind = [i < scene.first and slot in ("sky", "wall") for i, slot in enumerate(scene.slots)]
        colours[np.array(behind)] = tinted(rng, ((0.80, 0.62, 0.26), (0.68, 0.50, 0.22))).ravel()
    x, y = from_middle(scene.shape)
    fall = 1 + np.float32(rng.uniform(0.0, 0.35)) * (x * scene.light[0] + y * scene.light[1])
    lit = (0.72 + manner.contrast * (scene.shade - 0.7)) * fall
    warmth = np.float32(rng.uniform(-0.12, 0.25))
    tilt = (scene.shade - 0.6) * warmth  # warm light has cool shadows
    lit = lit * np.float32(1.2)
    picture = scene.paint(colours)
    for plane, band in zip(picture, (lit + tilt * lit, lit, lit - tilt * lit), strict=True):
        plane *= band
    hand = Hand(width=max(1.2, manner.width * 0.25), tremor=0.4, swell=0.8, fade=0.5)
    contours = draw_lines(scene, rng, hand, backdrop=0.4) * np.float32(manner.drawing)
    picture *= 1 - contours
    return picture


def _flow(scene: Scene, rng: np.random.Generator) -> tuple[Field, Field]:
    """Which way the brush goes: around round forms, along one direction on flat ones."""
    parts = len(scene.slots)
    angle = rng.uniform(-0.5, 0.5) + rng.normal(0, 0.4, parts)
    if rng.random() < 0.3:
        angle[: scene.first] = rng.uniform(-1.5, 1.5)
    swirl = (crop(rng, "cloud", scene.shape) - 0.5) * np.float32(rng.uniform(0.5, 3.0))
    turn = scene.per_part(angle.astype(np.float32)) + swirl
    dx = np.cos(turn) * np.float32(0.25) - scene.gy
    dy = np.sin(turn) * np.float32(0.25) + scene.gx
    length = np.sqrt(dx * dx + dy * dy) + np.float32(1e-6)
    return dx / length, dy / length


def _strokes(
    scene: Scene,
    rng: np.random.Generator,
    manner: _Manner,
    true: Planes,
    dx: Field,
    dy: Field,
) -> tuple[NDArray[np.float32], Field]:
    """The picture in strokes, large ones first, and how the paint stands at their edges."""
    height, width = scene.shape
    canvas = Image.new("I", (width, height), -1)
    pen = ImageDraw.Draw(canvas)
    flat = true.reshape(3, -1)
    places: list[NDArray[np.int64]] = []
    used = 0
    scale = max(scene.shape) / 300
    for size, cover, most in ((1.5, 1.3, 900), (0.7, 1.0, 1500)):
        wide = max(2.0, manner.width * size * scale)
        count = min(most, int(cover * height * width / (wide * wide * manner.length)))
        x, y = rng.uniform(0, width, count), rng.uniform(0, height, count)
        at = y.astype(np.int64) * width + x.astype(np.int64)
        reach = wide * manner.length * rng.uniform(0.3, 0.6, count)
        ex, ey = dx.ravel()[at] * reach, dy.ravel()[at] * reach
        ends = np.stack([x - ex, y - ey, x + ex, y + ey], axis=1).tolist()
        broad = max(1, round(wide))
        for stroke, line in enumerate(ends, start=used):
            pen.line(line, fill=stroke, width=broad)
        places.append(at)
        used += count
    number = np.asarray(canvas).astype(np.intp)
    off = rng.normal(0, manner.scatter, used) + rng.normal(0, manner.scatter * 0.5, (3, used))
    table = flat[:, np.concatenate(places)] * (1 + off.astype(np.float32))
    strokes: Planes = table.take(number, axis=1, mode="clip")
    finish = np.where(number < 0, np.float32(1), np.float32(manner.finish))
    ridges = rng.uniform(0, 1.4, used).astype(np.float32).take(number, mode="clip")
    return _wet(blend(strokes, true, finish)), ridges


def _wet(picture: Planes) -> Planes:
    """Neighbouring strokes run into each other by a pixel."""
    out = picture.copy()
    out[:, 1:-1] += picture[:, 2:] + picture[:, :-2]
    out[:, 1:-1] *= np.float32(1 / 3)
    middle = out[:, :, 1:-1] + out[:, :, 2:] + out[:, :, :-2]
    out[:, :, 1:-1] = middle * np.float32(1 / 3)
    return out


def _washed(scene: Scene, rng: np.random.Generator, painted: Planes) -> Planes:
    """Thin colour that lets the paper through and gathers at the rims of its pools."""
    paper = tinted(rng, ((0.96, 0.95, 0.91), (0.93, 0.90, 0.82), (0.88, 0.87, 0.84)))
    pool = soften(painted.mean(axis=0), 3)
    bloom = crop(rng, "cloud", scene.shape) * 0.35 + np.float32(rng.uniform(0.45, 0.7))
    rim = np.clip(np.abs(pool - painted.mean(axis=0)) * 1.5, 0, 0.2)
    out = blend(paper, painted, bloom + rim)
    return out + ((crop(rng, "tooth", scene.shape) - 0.5) * 0.05)


def _varnished(scene: Scene, rng: np.random.Generator, painted: Planes) -> Planes:
    """Old varnish yellows and darkens, and some paint has cracked."""
    if rng.random() < 0.3:
        cracks = np.clip(1 - crop(rng, "crackle", scene.shape) * 14, 0, 1)
        painted = painted * (1 - np.float32(rng.uniform(0.1, 0.3)) * cracks)
    yellow = np.float32(max(0.0, rng.normal(0.0, 0.25)))
    return painted * (1 - yellow * colour(0.05, 0.16, 0.4))
