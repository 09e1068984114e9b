"""Drawings: pencil, charcoal and chalk on paper, the strokes caught on its tooth."""

import numpy as np
from numpy.typing import NDArray

from tellapart.data.gallery.lines import Hand, draw_lines
from tellapart.data.gallery.palettes import Mood, local_colours, luminance, tinted
from tellapart.data.gallery.scenes import Scene
from tellapart.data.gallery.texture import Field, Planes, blend, colour, crop, soften, step, streaks

__all__ = ["render_drawing"]

_PAPERS = (
    (0.97, 0.96, 0.94),
    (0.94, 0.90, 0.80),
    (0.90, 0.89, 0.85),
    (0.62, 0.67, 0.72),
    (0.76, 0.65, 0.49),
    (0.86, 0.73, 0.66),
    (0.66, 0.62, 0.52),
    (0.76, 0.76, 0.75),
)
_MEDIA = {
    "graphite": (0.22, 0.22, 0.24),
    "charcoal": (0.10, 0.10, 0.10),
    "sanguine": (0.58, 0.21, 0.12),
    "sepia": (0.32, 0.20, 0.11),
    "blue": (0.16, 0.24, 0.52),
}


def render_drawing(scene: Scene, rng: np.random.Generator) -> Planes:
    """The scene as a drawing: float32 (3, H, W) in [0, 1]."""
    medium = str(rng.choice([*_MEDIA, "coloured"], p=[0.3, 0.16, 0.14, 0.12, 0.08, 0.2]))
    paper = _paper(scene, rng, medium == "coloured")
    mood: Mood = "natural" if rng.random() < 0.5 else "vivid"
    colours = local_colours(rng, scene.slots, scene.tones, mood)
    dark = _darkness(scene, rng, luminance(colours))
    tooth = crop(rng, "tooth", scene.shape)
    hatched = _hatching(scene, rng, dark, tooth)
    soft = medium == "charcoal" or rng.random() < 0.3
    if soft:  # rubbed with a finger
        hatched = np.maximum(hatched, soften(hatched, 4) * (0.75 + 0.25 * tooth))
    hand = Hand(
        width=rng.uniform(0.8, 1.5) * (1.3 if medium == "charcoal" else 1.0),
        tremor=rng.uniform(0.4, 1.1),
        swell=rng.uniform(0.4, 1.0),
        fade=0.8,
        faint=rng.uniform(0.1, 0.4),
        passes=int(rng.integers(1, 4)),
    )
    outline = draw_lines(scene, rng, hand, backdrop=rng.uniform(0.2, 0.8))
    outline *= np.clip(1.25 - 0.75 * tooth, 0, 1)
    if medium == "coloured":
        paper = _crayons(scene, rng, paper, colours, tooth, dark)
        lead = colour(*_MEDIA[str(rng.choice(["graphite", "sepia", "blue"]))])
        hatched *= 0.3
    else:
        lead = colour(*_MEDIA[medium])
    drawn = blend(paper, lead, hatched * np.float32(rng.uniform(0.6, 0.9)))
    drawn = blend(drawn, lead, outline * np.float32(rng.uniform(0.75, 1.0)))
    if float(paper.mean()) < 0.8:
        drawn = _chalk(scene, rng, drawn, tooth)
    return drawn


def _paper(scene: Scene, rng: np.random.Generator, light: bool) -> Planes:
    base = tinted(rng, _PAPERS[:3] if light else _PAPERS)
    grain = (crop(rng, "tooth", scene.shape) - 0.5) * 0.05
    stain = (crop(rng, "cloud", scene.shape) - 0.5) * np.float32(rng.uniform(0.02, 0.1))
    return base + (grain + stain)


def _darkness(scene: Scene, rng: np.random.Generator, lightness: NDArray[np.float32]) -> Field:
    """How dark the draughtsman means each place to be; the backdrop is barely begun."""
    worth = np.float32(rng.uniform(0.3, 0.8))  # how far local colour counts beside the light
    share = 1.08 - 1.12 * scene.shade * (1 - worth + worth * scene.per_part(lightness + 0.3))
    behind = rng.uniform(0.0, 0.55)
    care = np.where(np.arange(len(scene.slots)) < scene.first, behind, 1.0).astype(np.float32)
    return np.clip(share * scene.per_part(care) * np.float32(rng.uniform(0.8, 1.15)), 0, 0.95)


def _hatching(scene: Scene, rng: np.random.Generator, dark: Field, tooth: Field) -> Field:
    """Strokes side by side, a second layer across them in the shadows."""
    angle = float(rng.choice([-0.8, -0.6, 0.7, 2.2]) + rng.normal(0, 0.15))
    scale = rng.uniform(0.9, 1.5)
    turn = rng.normal(0, 0.25, len(scene.slots)).astype(np.float32)
    field = scene.per_part(turn) + np.float32(angle)
    first = streaks(rng, scene.shape, field, scale)
    loose = soften(dark, 3)  # strokes run a little over the outline
    layer = np.clip((first - 1 + loose) * 2.6, 0, 1)
    second = streaks(rng, scene.shape, field + np.float32(0.9), scale)
    across = np.clip((second - 1.5 + loose) * 2.6, 0, 1)
    hatched: Field = np.maximum(layer * 0.75, across) * np.clip(1.3 - 0.8 * tooth, 0, 1)
    return hatched


def _crayons(
    scene: Scene,
    rng: np.random.Generator,
    paper: Planes,
    colours: NDArray[np.float32],
    tooth: Field,
    dark: Field,
) -> Planes:
    """Local colour in strokes that leave some paper."""
    strokes = streaks(rng, scene.shape, float(rng.uniform(-1, 1)), 1.3)
    behind = np.where(np.arange(len(scene.slots)) < scene.first, rng.uniform(0.1, 0.9), 1.0)
    cover = 0.45 + 0.4 * dark + 0.35 * (strokes - 0.5) - 0.3 * (tooth - 0.5)
    cover *= scene.per_part(behind.astype(np.float32))
    rich = scene.paint(colours) * (0.75 + 0.35 * scene.shade)
    return blend(paper, rich, np.clip(cover, 0, 0.95))


def _chalk(scene: Scene, rng: np.random.Generator, drawn: Planes, tooth: Field) -> Planes:
    """White heightening on tinted paper, where most light falls."""
    strokes = streaks(rng, scene.shape, float(rng.uniform(-1, 1)), 1.2)
    lit = step(scene.shade, 0.78, 0.98) * (scene.part >= scene.first)
    cover = np.clip(lit * (0.4 + 0.9 * strokes) * (1.2 - 0.8 * tooth), 0, 0.9)
    return blend(drawn, colour(0.97, 0.95, 0.9), cover)
