"""Sculpture: the scene's relief carved in stone or cast in bronze, lit, and photographed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tellapart.data.gallery.lines import Hand, draw_lines
from tellapart.data.gallery.palettes import tinted
from tellapart.data.gallery.scenes import Scene
from tellapart.data.gallery.texture import (
    Field,
    Planes,
    blend,
    colour,
    crop,
    from_middle,
    slopes,
    soften,
    step,
)

__all__ = ["render_sculpture"]

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class _Material:
    """What a statue is made of: colours to choose from, and how its surface takes light."""

    colours: tuple[RGB, ...]
    gloss: float
    sharpness: float
    grain: float  # roughness that shades
    speckle: float  # colour that varies from crystal to crystal
    veins: float
    glow: float  # light that comes through from within


_MARBLES = ((0.88, 0.86, 0.82), (0.82, 0.76, 0.68), (0.76, 0.78, 0.80), (0.30, 0.30, 0.32))
_LIMESTONES = ((0.80, 0.72, 0.58), (0.66, 0.60, 0.50), (0.72, 0.68, 0.62))
_GRANITES = ((0.46, 0.45, 0.46), (0.58, 0.46, 0.42), (0.34, 0.37, 0.36))
_CLAYS = ((0.68, 0.38, 0.26), (0.74, 0.50, 0.36), (0.56, 0.30, 0.20))
_BRONZES = ((0.40, 0.28, 0.15), (0.30, 0.24, 0.18), (0.24, 0.30, 0.25))
_GILDINGS = ((0.74, 0.56, 0.24), (0.66, 0.50, 0.26))
_WOODS = ((0.44, 0.28, 0.16), (0.56, 0.40, 0.24), (0.30, 0.20, 0.14))
_MATERIALS = {
    "marble": _Material(_MARBLES, 0.15, 18, 0.2, 0.03, 0.5, 0.25),
    "limestone": _Material(_LIMESTONES, 0.02, 8, 0.9, 0.10, 0.1, 0.1),
    "granite": _Material(_GRANITES, 0.2, 22, 0.4, 0.45, 0.0, 0.0),
    "terracotta": _Material(_CLAYS, 0.04, 8, 0.7, 0.10, 0.0, 0.05),
    "bronze": _Material(_BRONZES, 0.75, 26, 0.12, 0.06, 0.0, 0.0),
    "gilt": _Material(_GILDINGS, 0.6, 20, 0.15, 0.05, 0.0, 0.05),
    "wood": _Material(_WOODS, 0.15, 12, 0.25, 0.05, 0.0, 0.0),
}
_WALLS = (
    (0.72, 0.70, 0.67),
    (0.50, 0.50, 0.51),
    (0.20, 0.20, 0.22),
    (0.36, 0.40, 0.46),
    (0.55, 0.46, 0.36),
    (0.42, 0.30, 0.22),
    (0.34, 0.42, 0.30),
    (0.84, 0.82, 0.78),
    (0.46, 0.20, 0.18),
    (0.60, 0.66, 0.74),
    (0.78, 0.66, 0.46),
)


def render_sculpture(scene: Scene, rng: np.random.Generator) -> Planes:
    """The scene as a photograph of a sculpture: float32 (3, H, W) in [0, 1]."""
    name = str(rng.choice(list(_MATERIALS), p=[0.28, 0.14, 0.13, 0.12, 0.18, 0.05, 0.10]))
    material = _MATERIALS[name]
    relief = scene.stands == "fill" or rng.random() < 0.35
    depth = rng.uniform(0.35, 0.7) if relief else rng.uniform(0.8, 1.15)
    stone = _stone(scene, rng, material, name)
    body = _lit(scene, rng, material, np.float32(depth), stone)
    if relief:
        return _photograph(rng, _slab(scene, rng, body))
    room, blocked = _room(scene, rng)
    picture = room * (1 - np.float32(rng.uniform(0.25, 0.65)) * blocked)
    edge = soften((scene.part >= scene.first).astype(np.float32), 1)
    return _photograph(rng, blend(picture, body, edge))


def _stone(scene: Scene, rng: np.random.Generator, material: _Material, name: str) -> Planes:
    """The colour of the material at each place."""
    base = tinted(rng, material.colours)
    fleck = (crop(rng, "tooth", scene.shape) - 0.5) * np.float32(material.speckle)
    cloud = (crop(rng, "cloud", scene.shape) - 0.5) * np.float32(0.16)
    if name == "wood":
        grain = np.roll(crop(rng, "streak", scene.shape[::-1]).T, 7, axis=1)
        cloud = cloud + (grain - 0.5) * np.float32(0.28)
    body = base * (1 + fleck + cloud)
    if rng.random() < material.veins:
        vein = 1 - np.abs(crop(rng, "cloud", scene.shape) - 0.5) * np.float32(22)
        tone = base * colour(0.62, 0.62, 0.66)
        body = blend(body, tone, np.clip(vein, 0, 1) * np.float32(rng.uniform(0.2, 0.6)))
    if name == "bronze" and rng.random() < 0.6:  # green where rain stood
        hollow = np.clip(soften(scene.height, 6) - scene.height, 0, 4) * 0.2
        patch = step(crop(rng, "cloud", scene.shape) + hollow, 0.55, 1.0)
        body = blend(body, colour(0.30, 0.46, 0.40), patch * np.float32(0.8))
    return body


def _lit(
    scene: Scene,
    rng: np.random.Generator,
    material: _Material,
    depth: np.float32,
    body: Planes,
) -> Planes:
    """The surface under one lamp and the light of the room."""
    surface = scene.height * depth
    detail = _carved(scene, rng)
    detail += crop(rng, "tooth", scene.shape) * np.float32(material.grain)
    rx, ry = slopes(detail)
    gx, gy = scene.gx * depth + rx, scene.gy * depth + ry
    lx, ly, lz = (np.float32(value) for value in scene.light)
    length = np.sqrt(1 + gx * gx + gy * gy)
    facing = (lz - gx * lx - gy * ly) / length
    wrap = np.float32(0.1 + material.glow)
    diffuse = np.clip((facing + wrap) / (1 + wrap), 0, 1)
    # Blinn's highlight: where the surface faces half-way between the lamp and the viewer.
    halfway = lz + 1 - gx * lx - gy * ly
    shine = np.clip(halfway / (length * np.sqrt(2 + 2 * lz)), 0, 1)
    hollow = np.clip((soften(surface, 7) - surface) * np.float32(0.06), 0, 0.45)
    cast = np.clip(scene.shade / np.maximum(0.22 + 0.78 * np.maximum(facing, 0), 0.1), 0.5, 1)
    ambient = np.float32(rng.uniform(0.16, 0.34))
    light = (ambient + (1.12 - ambient) * diffuse * cast) * (1 - hollow)
    out: Planes = body * light
    gleam = np.float32(material.gloss) * shine ** np.float32(material.sharpness)
    out += gleam * colour(1.0, 0.96, 0.88)
    return out


def _carved(scene: Scene, rng: np.random.Generator) -> Field:
    """What the chisel adds to the round forms: ledges, grooves along lines, hollow openings."""
    size = np.float32(max(scene.shape) / 300)
    parts = len(scene.slots)
    ledge = rng.uniform(0.0, 2.5, parts) * (np.arange(parts) > 0)
    ledge -= [4.0 * (slot in ("dark", "iris")) for slot in scene.slots]
    steps = soften(scene.per_part((ledge * size).astype(np.float32)), 2)
    groove = draw_lines(
        scene, rng, Hand(width=float(1.6 * size), swell=0.4, fade=0.6), backdrop=0.6
    )
    return steps - groove * np.float32(rng.uniform(0.8, 1.6))


def _slab(scene: Scene, rng: np.random.Generator, body: Planes) -> Planes:
    """A relief: often with the raised rim of its own block."""
    if rng.random() < 0.4:
        return body
    height, width = scene.shape
    rim = int(min(height, width) * rng.uniform(0.03, 0.07))
    bevel = np.ones(scene.shape, np.float32)
    lx, ly = scene.light[0], scene.light[1]
    edge = max(2, rim // 3)
    bevel[rim - edge : rim, rim:-rim] = 1 + 0.4 * ly
    bevel[-rim : edge - rim, rim:-rim] = 1 - 0.4 * ly
    bevel[rim:-rim, rim - edge : rim] = 1 + 0.4 * lx
    bevel[rim:-rim, -rim : edge - rim] = 1 - 0.4 * lx
    flat = np.ones(scene.shape, bool)
    flat[rim:-rim, rim:-rim] = False
    middle = body[:, flat].mean(axis=1)[:, None, None]
    plain = middle * (0.94 + 0.12 * crop(rng, "tooth", scene.shape))
    out: Planes = np.where(flat, plain * bevel, body)
    shadow = soften(flat.astype(np.float32), 4) * ~flat
    out *= 1 - 0.5 * shadow
    return out


def _room(scene: Scene, rng: np.random.Generator) -> tuple[NDArray[np.float32], Field]:
    """What is behind a statue, out of focus, and the shadow that the statue throws on it."""
    height, width = scene.shape
    wall = tinted(rng, _WALLS)
    x, y = from_middle(scene.shape)
    lamp = np.square(x - scene.light[0] * 0.8) + np.square(y - scene.light[1] * 0.8)
    room = wall * (1.12 - np.float32(rng.uniform(0.1, 0.35)) * lamp)
    if rng.random() < 0.35:  # a garden or a hall, far out of focus
        blotch = soften(crop(rng, "mottle", (height, width)), 12)
        other = soften(crop(rng, "cloud", (height, width)), 8)
        far = tinted(rng, _WALLS) * blotch + tinted(rng, _WALLS) * (1 - blotch)
        room = room * 0.35 + far * (0.4 + 0.6 * other)
    if scene.floor < height - 4:
        plinth = tinted(rng, _WALLS) * np.float32(rng.uniform(0.7, 1.1))
        depth = np.clip((y * 0.5 + 0.5) * height - scene.floor, 0, None) / max(
            height - scene.floor, 1
        )
        top = plinth * (0.85 + 0.25 * depth + 0.05 * crop(rng, "mottle", scene.shape))
        room = blend(room, top, step(depth, 0.0, 0.04))
    return room, _shadow(scene)


def _shadow(scene: Scene) -> Field:
    """The statue's outline, moved away from the light and softened."""
    height, width = scene.shape
    reach = 0.09 * max(height, width)
    dx, dy = round(-scene.light[0] * reach), round(-scene.light[1] * reach * 0.6)
    subject = (scene.part >= scene.first).astype(np.float32)
    moved = np.zeros_like(subject)
    source = subject[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    moved[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = source
    return soften(moved, max(3, reach / 3)).clip(0, 1)


def _photograph(rng: np.random.Generator, picture: Planes) -> Planes:
    """A camera: corners fall off, and the sensor adds a little noise."""
    _, height, width = picture.shape
    x, y = from_middle((height, width))
    corner = 1 - np.float32(rng.uniform(0.0, 0.14)) * (x * x + y * y)
    noise = (crop(rng, "grain", (height, width)) - 0.5) * np.float32(rng.uniform(0.0, 0.05))
    return picture * corner + noise
