"""Icons: flat colour in dark outlines on gold or a plain ground, a halo, a border, signs of age."""

import numpy as np
from PIL import Image, ImageDraw

from tellapart.data.gallery.lines import Hand, draw_lines
from tellapart.data.gallery.palettes import Colours, Mood, local_colours, tinted
from tellapart.data.gallery.scenes import Scene
from tellapart.data.gallery.texture import Planes, blend, colour, crop, from_middle, pixels, step

__all__ = ["render_icon"]

_GOLDS = ((0.80, 0.62, 0.26), (0.72, 0.54, 0.22), (0.86, 0.70, 0.36), (0.62, 0.45, 0.20))
_GROUNDS = (
    (0.56, 0.16, 0.11),
    (0.16, 0.28, 0.20),
    (0.13, 0.20, 0.38),
    (0.84, 0.78, 0.64),
    (0.70, 0.66, 0.56),
    (0.36, 0.42, 0.38),
    (0.62, 0.60, 0.62),
)
_ROBES = (
    (0.58, 0.14, 0.11),
    (0.14, 0.20, 0.40),
    (0.18, 0.34, 0.22),
    (0.70, 0.44, 0.16),
    (0.36, 0.16, 0.26),
    (0.84, 0.76, 0.60),
    (0.26, 0.36, 0.46),
    (0.46, 0.28, 0.16),
)
_BORDERS = (
    (0.56, 0.14, 0.10),
    (0.30, 0.16, 0.10),
    (0.74, 0.56, 0.26),
    (0.14, 0.24, 0.30),
    (0.82, 0.74, 0.58),
)


def render_icon(scene: Scene, rng: np.random.Generator) -> Planes:
    """The scene as an icon: float32 (3, H, W) in [0, 1]."""
    gilded = rng.random() < 0.55
    ground = tinted(rng, _GOLDS if gilded else _GROUNDS)
    gold = ground if gilded else tinted(rng, _GOLDS)
    picture = _panel(scene, rng, ground, gilded)
    colours = _pigments(scene, rng)
    picture = _backdrop(scene, rng, picture, colours)
    picture = _halo(scene, rng, picture, gold)
    subject = scene.part >= scene.first
    painted = _modelled(scene, rng, colours)
    np.copyto(picture, painted, where=subject)
    line = tinted(rng, ((0.13, 0.08, 0.06), (0.20, 0.09, 0.06), (0.10, 0.10, 0.12)))
    hand = Hand(width=rng.uniform(1.2, 2.0), tremor=0.2, swell=0.25, fade=0.3)
    picture = blend(picture, line, draw_lines(scene, rng, hand, backdrop=0.0) * np.float32(0.92))
    picture = _border(scene, rng, picture, gold)
    return _aged(scene, rng, picture)


def _panel(scene: Scene, rng: np.random.Generator, ground: Planes, gilded: bool) -> Planes:
    """Leaf laid in squares and worn to the red clay, or an even coat of colour."""
    sheen = (crop(rng, "cloud", scene.shape) - 0.5) * np.float32(0.34 if gilded else 0.14)
    sheen = sheen + (crop(rng, "tooth", scene.shape) - 0.5) * 0.07
    if gilded:
        x, y = from_middle(scene.shape)
        glow = -0.25 * (np.square(x - rng.uniform(-0.6, 0.6)) + np.square(y + 0.4))
        sheen = sheen + 0.35 * glow + 0.1
    picture: Planes = ground * (1 + sheen)
    if gilded and rng.random() < 0.6:
        worn = step(
            crop(rng, "cloud", scene.shape) * 0.6 + crop(rng, "tooth", scene.shape) * 0.4, 0.7, 0.9
        )
        picture = blend(picture, colour(0.50, 0.22, 0.12), worn * np.float32(0.7))
    return picture


def _pigments(scene: Scene, rng: np.random.Generator) -> Colours:
    mood: Mood = ("natural", "muted", "warm", "vivid")[int(rng.integers(4))]
    colours = local_colours(rng, scene.slots, scene.tones * np.float32(0.5), mood)
    robes = np.array(_ROBES, np.float32)[rng.permutation(len(_ROBES))]
    flesh = tinted(rng, ((0.66, 0.46, 0.28), (0.54, 0.36, 0.22), (0.76, 0.58, 0.40))).ravel()
    given = {
        "cloth": robes[0],
        "cloth2": robes[1],
        "jar": robes[2],
        "roof": robes[3],
        "bloom": robes[4],
        "skin": flesh,
    }
    for index, slot in enumerate(scene.slots):
        if slot in given:
            colours[index] = given[slot] * (1 + scene.tones[index])
    return colours


def _backdrop(scene: Scene, rng: np.random.Generator, picture: Planes, colours: Colours) -> Planes:
    """Floor and hills as flat bands; sky and wall give way to the ground."""
    shown = [slot in ("ground", "table", "water", "far", "stone", "cloth2") for slot in scene.slots]
    shown[0] = False
    amount = np.array(shown, np.float32) * np.float32(rng.choice([0.0, 0.8, 1.0]))
    amount[scene.first :] = 0
    return blend(picture, scene.paint(colours), scene.per_part(amount))


def _halo(scene: Scene, rng: np.random.Generator, picture: Planes, gold: Planes) -> Planes:
    """A disc of light behind what matters most, with a rim and often punched dots."""
    x, y, radius = scene.focus
    radius *= rng.uniform(0.95, 1.2)
    columns, rows = pixels(scene.shape)
    u, v = columns - np.float32(x), rows - np.float32(y)
    far = np.sqrt(u * u + v * v)
    tone = (
        gold * np.float32(rng.uniform(1.05, 1.3)) if rng.random() < 0.75 else tinted(rng, _GROUNDS)
    )
    rays = 1 + 0.06 * np.sin(np.arctan2(v, u) * np.float32(rng.choice([0, 24, 48])))
    disc = tone * (rays * (0.9 + 0.14 * far / np.float32(radius)))
    picture = blend(picture, disc, np.clip(radius - far + 0.5, 0, 1))
    dark = colour(0.28, 0.12, 0.06)
    rim = np.clip(1.3 - np.abs(far - np.float32(radius)), 0, 1)
    if rng.random() < 0.6:
        rim = np.maximum(rim, np.clip(1.0 - np.abs(far - np.float32(radius * 0.87)), 0, 1) * 0.7)
        beads = np.sin(np.arctan2(v, u) * np.float32(int(radius * 0.9))) > 0.2
        rim = np.maximum(
            rim, np.float32(0.6) * beads * (np.abs(far - np.float32(radius * 0.935)) < 1.2)
        )
    return blend(picture, dark, rim.astype(np.float32))


def _modelled(scene: Scene, rng: np.random.Generator, colours: Colours) -> Planes:
    """Light in a few flat steps, and fine bright lines where folds catch it."""
    steps = int(rng.integers(3, 5))
    soft = rng.uniform(0.06, 0.3)
    levels = scene.shade * np.float32(steps)
    whole = np.floor(levels)
    light = (whole + step(levels - whole, 0.5 - soft, 0.5 + soft)) / np.float32(steps)
    strength = np.float32(rng.uniform(0.35, 0.8))
    picture = scene.paint(colours) * (1 + strength * (light - 0.62))
    high = step(scene.shade, 0.86, 0.92) * np.float32(rng.uniform(0.1, 0.45))
    picture = blend(picture, colour(0.96, 0.88, 0.7), high)
    cloth = np.array([slot in ("cloth", "cloth2") for slot in scene.slots])
    if rng.random() < 0.5:  # assist: hatching in gold along the slope of a garment
        across = scene.gx * np.float32(scene.light[0]) + scene.gy * np.float32(scene.light[1])
        x, y = pixels(scene.shape)
        x, y = x - np.float32(scene.focus[0]), y - np.float32(scene.focus[1])
        fan = np.sin(np.arctan2(x, y + np.float32(scene.shape[0] * 0.3)) * np.float32(110))
        lines = step(fan, 0.55, 0.85) * step(-across, 0.1, 0.4) * cloth[scene.part]
        picture = blend(picture, colour(0.9, 0.74, 0.4), lines * np.float32(0.8))
    return picture + ((crop(rng, "tooth", scene.shape) - 0.5) * 0.04)


def _border(scene: Scene, rng: np.random.Generator, picture: Planes, gold: Planes) -> Planes:
    """A raised rim about the picture, with a line inside and often one outside."""
    if rng.random() < 0.15:
        return picture
    height, width = scene.shape
    rim = max(5, int(min(height, width) * rng.uniform(0.03, 0.09)))
    base = gold * np.float32(0.92) if rng.random() < 0.4 else tinted(rng, _BORDERS)
    grain = 1 + 0.2 * (crop(rng, "cloud", scene.shape) - 0.5)
    frame = Image.new("L", (width, height), 255)
    ImageDraw.Draw(frame).rectangle((rim, rim, width - rim - 1, height - rim - 1), fill=0)
    band = np.asarray(frame, np.float32) * np.float32(1 / 255)
    picture = blend(picture, base * grain, band)
    lines = Image.new("L", (width, height))
    pen = ImageDraw.Draw(lines)
    pen.rectangle(
        (rim, rim, width - rim - 1, height - rim - 1), outline=230, width=max(1, rim // 5)
    )
    if rng.random() < 0.6:
        pen.rectangle((1, 1, width - 2, height - 2), outline=200, width=max(1, rim // 6))
    stroke = tinted(rng, ((0.46, 0.10, 0.08), (0.18, 0.10, 0.07), (0.86, 0.72, 0.42)))
    return blend(picture, stroke, np.asarray(lines, np.float32) * np.float32(1 / 255))


def _aged(scene: Scene, rng: np.random.Generator, picture: Planes) -> Planes:
    """Candle smoke, cracks, and places where the paint has come off."""
    if rng.random() < 0.6:
        cracks = step(crop(rng, "crackle", scene.shape), 0.07, 0.01)
        cracks = cracks * step(crop(rng, "cloud", scene.shape), 0.2, 0.8)
        picture = blend(
            picture,
            colour(0.2, 0.12, 0.08),
            cracks * np.float32(rng.uniform(0.2, 0.7)),
        )
    if rng.random() < 0.3:
        lost = step(
            crop(rng, "cloud", scene.shape) * 0.7 + crop(rng, "mottle", scene.shape) * 0.3,
            0.84,
            0.87,
        )
        bare = colour(0.80, 0.72, 0.58) * (0.9 + 0.2 * crop(rng, "tooth", scene.shape))
        picture = blend(picture, bare, lost)
    smoke = np.float32(rng.uniform(0.0, 0.35))
    shadow = 1 - smoke * (0.4 + 0.6 * crop(rng, "cloud", scene.shape))
    return picture * shadow
