"""Engravings: tone made of lines alone, that swell in the dark and bend with the form."""

import numpy as np
from numpy.typing import NDArray

from tellapart.data.gallery.lines import Hand, draw_lines
from tellapart.data.gallery.palettes import Mood, local_colours, luminance, tinted
from tellapart.data.gallery.scenes import Scene
from tellapart.data.gallery.texture import Field, Planes, blend, colour, crop, pixels, soften, step

__all__ = ["render_engraving"]

_PAPERS = (
    (0.95, 0.93, 0.88),
    (0.91, 0.86, 0.75),
    (0.84, 0.77, 0.63),
    (0.88, 0.87, 0.84),
    (0.80, 0.76, 0.70),
    (0.72, 0.66, 0.54),
    (0.76, 0.80, 0.82),
    (0.90, 0.80, 0.72),
)
_INKS = (
    (0.08, 0.08, 0.09),
    (0.08, 0.08, 0.09),
    (0.17, 0.11, 0.08),
    (0.27, 0.15, 0.08),
    (0.10, 0.14, 0.24),
    (0.36, 0.13, 0.09),
    (0.12, 0.20, 0.16),
)


def render_engraving(scene: Scene, rng: np.random.Generator) -> Planes:
    """The scene as an engraving: float32 (3, H, W) in [0, 1]."""
    mood: Mood = "natural" if rng.random() < 0.6 else "vivid"
    colours = local_colours(rng, scene.slots, scene.tones, mood)
    dark = _darkness(scene, rng, luminance(colours))
    pitch = float(rng.uniform(2.8, 4.6)) * max(0.9, min(1.25, max(scene.shape) / 320))
    ink = _hatching(scene, rng, dark, pitch)
    if rng.random() < 0.2:  # a woodcut: white lines in a dark block
        ink = np.maximum(ink, step(dark, 0.72, 0.8))
    hand = Hand(width=rng.uniform(0.8, 1.4), tremor=0.25, swell=0.5, fade=0.5)
    ink = np.maximum(ink, draw_lines(scene, rng, hand, backdrop=rng.uniform(0.6, 0.9)))
    paper = _paper(scene, rng)
    if rng.random() < 0.35:
        paper = _tint(scene, rng, paper, colours)
    press = np.clip(1.12 - 0.3 * crop(rng, "tooth", scene.shape), 0, 1)
    tone = colour(*_INKS[int(rng.integers(len(_INKS)))])
    strength = rng.uniform(0.62, 0.8) if rng.random() < 0.15 else rng.uniform(0.85, 0.98)
    printed = blend(paper, tone, ink * press * np.float32(strength))
    return _plate(scene, rng, printed, paper, tone)


def _darkness(scene: Scene, rng: np.random.Generator, lightness: NDArray[np.float32]) -> Field:
    """How much of each place is to be ink."""
    worth = np.float32(rng.uniform(0.4, 0.9))
    value = scene.shade * (1 - worth + worth * scene.per_part(lightness + 0.25))
    behind = rng.uniform(0.1, 0.95)
    care = np.where(np.arange(len(scene.slots)) < scene.first, behind, 1.0).astype(np.float32)
    dark = (1.1 - 1.2 * value) * scene.per_part(care)
    return np.clip(dark * np.float32(rng.uniform(0.85, 1.1)), 0.0, 0.97)


def _hatching(scene: Scene, rng: np.random.Generator, dark: Field, pitch: float) -> Field:
    """Up to three systems of lines; each bends as if it were drawn on the surface itself."""
    parts = len(scene.slots)
    subject = np.arange(parts) >= scene.first
    base = float(rng.uniform(-0.9, 0.9))
    angles = np.where(subject, base + rng.normal(0, 0.5, parts), rng.normal(0, 0.06, parts))
    bend = np.float32(rng.uniform(0.25, 0.5))  # more would close the lines into rings
    waver = (crop(rng, "cloud", scene.shape) - 0.5) * np.float32(rng.uniform(1, 5))
    relief = scene.height * bend + waver
    first = _system(scene, angles, relief, pitch, dark)
    deep = np.clip((dark - 0.42) * 1.5, 0, 0.8)
    second = _system(scene, angles + rng.uniform(0.7, 1.2), relief * np.float32(0.7), pitch, deep)
    ink = np.maximum(first, second)
    if rng.random() < 0.6:
        deepest = np.clip((dark - 0.7) * 2, 0, 0.7)
        ink = np.maximum(
            ink, _system(scene, angles - 0.8, relief * np.float32(0.4), pitch * 1.1, deepest)
        )
    return ink


def _system(
    scene: Scene, angles: NDArray[np.float64], relief: Field, pitch: float, dark: Field
) -> Field:
    """Parallel lines `pitch` pixels apart whose thickness is `dark` of it."""
    x, y = pixels(scene.shape)
    per_pixel = np.float32(1 / pitch)
    sines = scene.per_part((np.sin(angles) / pitch).astype(np.float32))
    cosines = scene.per_part((np.cos(angles) / pitch).astype(np.float32))
    phase = x * sines + y * cosines
    phase += relief * per_pixel
    from_line = np.abs(phase - np.rint(phase)) * np.float32(pitch)
    thin = np.where(dark > 0.04, dark * np.float32(pitch / 2), np.float32(-1))
    ink: Field = np.clip(thin - from_line + 0.5, 0, 1)
    return ink


def _paper(scene: Scene, rng: np.random.Generator) -> Planes:
    paper = np.broadcast_to(tinted(rng, _PAPERS), (3, *scene.shape))
    age = step(crop(rng, "cloud", scene.shape), 0.3, 1.0) * np.float32(rng.uniform(0.0, 0.25))
    paper = blend(paper, colour(0.70, 0.56, 0.36), age)
    if rng.random() < 0.25:  # foxing
        spots = step(crop(rng, "mottle", scene.shape), 0.93, 0.99) * np.float32(0.35)
        paper = blend(paper, colour(0.55, 0.36, 0.2), spots)
    return paper + ((crop(rng, "grain", scene.shape) - 0.5) * 0.03)


def _tint(
    scene: Scene,
    rng: np.random.Generator,
    paper: Planes,
    colours: NDArray[np.float32],
) -> Planes:
    """Watercolour by hand over the print, not quite within the lines."""
    dx, dy = rng.integers(-2, 3, 2)
    part = np.roll(scene.part, (int(dy), int(dx)), axis=(0, 1))
    wash = np.clip(colours * 0.6 + 0.5, 0, 1).T.copy().take(part, axis=1, mode="clip")
    cover = crop(rng, "mottle", scene.shape) * 0.25 + np.float32(rng.uniform(0.35, 0.75))
    painted = rng.random(len(colours)) < rng.uniform(0.5, 1.0)
    cover = cover * soften(painted.astype(np.float32)[part], 2)
    tinted_paper: Planes = paper * (1 - cover * (1 - wash))
    return tinted_paper


def _plate(
    scene: Scene,
    rng: np.random.Generator,
    printed: Planes,
    paper: Planes,
    ink: Planes,
) -> Planes:
    """Often the print has a border line and bare paper around it."""
    if rng.random() < 0.45:
        return printed
    height, width = scene.shape
    rim = int(min(height, width) * rng.uniform(0.03, 0.08))
    foot = rim + int(height * rng.choice([0.0, 0.06]))
    out = paper.copy()
    inner = np.s_[:, rim : height - foot, rim : width - rim]
    out[inner] = ink + (out[inner] - ink) * np.float32(0.1)
    within = np.s_[:, rim + 1 : height - foot - 1, rim + 1 : width - rim - 1]
    out[within] = printed[within]
    if foot > rim:  # the title below, too small to read
        line = np.s_[:, height - foot // 2 - 3 : height - foot // 2, width // 3 : -(width // 3)]
        letters = crop(rng, "tooth", scene.shape)[line[1:]] > 0.55
        out[line] = blend(out[line], ink, letters.astype(np.float32) * np.float32(0.8))
    return out
