"""Lines drawn by hand: they tremble, swell and fade, and may be drawn over twice."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tellapart.data.gallery.scenes import Lines, Scene
from tellapart.data.gallery.texture import Field

__all__ = ["Hand", "draw_lines"]

_CHUNK = 5  # points drawn in one go with one width


@dataclass(frozen=True)
class Hand:
    """How lines are drawn: `width` and `tremor` in pixels, `swell` from 0 (even) to 1.

    `fade` is how far the ends run thin, `faint` how far a line breaks up, both from 0 to 1.
    """

    width: float
    tremor: float = 0.0
    swell: float = 0.0
    fade: float = 0.0
    faint: float = 0.0
    passes: int = 1


def draw_lines(
    scene: Scene, rng: np.random.Generator, hand: Hand, *, backdrop: float = 1.0
) -> Field:
    """How much of each pixel the lines of a scene cover: float32 (H, W) in [0, 1].

    `backdrop` is the weight of the lines behind the subject, 0 to leave them out.
    """
    height, width = scene.shape
    total = np.zeros(scene.shape, np.float32)
    for _ in range(hand.passes):
        canvas = Image.new("L", (width * 2, height * 2))
        _one_pass(ImageDraw.Draw(canvas), scene.lines, scene.first, rng, hand, backdrop)
        cover = np.asarray(canvas.reduce(2), np.float32) * np.float32(1 / 255)
        np.maximum(total, cover, out=total)
    return total


def _waver(rng: np.random.Generator, count: int, every: int) -> NDArray[np.float64]:
    """Slow noise along a line, of deviation about 1."""
    knots = rng.standard_normal(count // every + 2)
    return np.interp(np.arange(count) / every, np.arange(len(knots)), knots)


def _one_pass(
    pen: ImageDraw.ImageDraw,
    lines: Lines,
    first: int,
    rng: np.random.Generator,
    hand: Hand,
    backdrop: float,
) -> None:
    count = len(lines.run)
    if count == 0:
        return
    wander = np.stack([_waver(rng, count, 7), _waver(rng, count, 7)], axis=1) * hand.tremor
    points = (lines.points + wander) * 2
    pressure = 1 + hand.swell * 0.6 * _waver(rng, count, 9)
    weight = np.where(lines.part < first, lines.weight * backdrop, lines.weight)
    broad = np.maximum(weight, 0.45) * hand.width * 2 * np.clip(pressure, 0.3, 1.8)
    starts = np.flatnonzero(np.diff(lines.run, prepend=-1))
    ends = np.append(starts[1:], count)
    here = np.arange(count)
    margin = np.minimum(here - starts[lines.run], ends[lines.run] - 1 - here)
    broad *= 1 - hand.fade * np.clip(1 - margin / 5, 0, 1)
    ink = np.clip(0.75 + 0.25 * pressure - hand.faint * np.abs(_waver(rng, count, 5)), 0, 1)
    ink *= np.minimum(broad, 1.0) * (weight > 0)  # what is thinner than the grid gets paler
    begin = np.concatenate([np.arange(a, b - 1, _CHUNK) for a, b in zip(starts, ends, strict=True)])
    stop = np.minimum(begin + _CHUNK + 1, ends[lines.run[begin]])
    middle = (begin + stop - 1) // 2
    widths = np.maximum(1, np.round(broad[middle])).astype(int).tolist()
    fills = np.round(255 * ink[middle]).astype(int).tolist()
    flat = points.ravel().tolist()
    for a, b, wide, fill in zip(begin.tolist(), stop.tolist(), widths, fills, strict=True):
        if fill > 0:
            pen.line(flat[2 * a : 2 * b], fill=fill, width=wide)
