"""A scene: a sketch laid out on pixels, lit, and still free of any style.

The styles read from it which part is where, how the surface slopes, how much light falls on it and
which lines can be seen. Shapes are inflated from their outlines alone: how much of a shape lies
about a pixel, seen through a wide blur, is read as the height of a round body.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from tellapart.data.gallery.curves import Points
from tellapart.data.gallery.sketch import Bump, Shape, Sketch, Slot, Stand
from tellapart.data.gallery.texture import Field, Planes

__all__ = ["Lines", "Scene", "rasterise"]

_GRID = 18  # cells each way on which a shape's roundness is computed
_BLOCK = 16


@dataclass(frozen=True)
class Lines:
    """What can be seen of all outlines and creases, as points about 2.5 pixels apart.

    `points` is (M, 2) in pixels; the other arrays have M values: `run` numbers the unbroken pieces
    from 0, `weight` is what the sketch gave the line, `part` the shape it belongs to.
    """

    points: Points
    run: NDArray[np.int64]
    weight: NDArray[np.float32]
    part: NDArray[np.int32]
    crease: NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """What there is to draw. Fields are (H, W); lengths are in pixels.

    `part` numbers the frontmost shape at each pixel, `slots` and `tones` tell what each one is.
    Shapes before `first` are the backdrop. `height` rises towards the viewer with slopes `gx` and
    `gy`; `shade` is the light that arrives, 0 for none, about 0.7 on a flat plane, 1 at most;
    `light` is the direction it comes from; `focus` is x, y, radius of what matters most; `floor` is
    where the floor begins and `stands` how the subject meets it.
    """

    part: NDArray[np.intp]
    slots: tuple[Slot, ...]
    tones: NDArray[np.float32]
    first: int
    height: Field
    gx: Field
    gy: Field
    shade: Field
    light: tuple[float, float, float]
    lines: Lines
    focus: tuple[float, float, float]
    floor: float
    stands: Stand

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.part.shape
        return height, width

    def per_part(self, values: NDArray[np.float32]) -> Field:
        """One value for each shape, spread over its pixels: (P,) to (H, W)."""
        return values.take(self.part, mode="clip")  # which is quicker than to check the range

    def paint(self, colours: NDArray[np.float32]) -> Planes:
        """One colour for each shape, spread over its pixels: (P, 3) to (3, H, W)."""
        return np.ascontiguousarray(colours.T).take(self.part, axis=1, mode="clip")


class _Canvas:
    """The arrays of a scene while shape after shape is laid on them."""

    def __init__(self, width: int, height: int) -> None:
        self.part = np.zeros((height, width), np.intp)
        self.height = np.zeros((height, width), np.float32)

    def lay(self, index: int, shape: Shape) -> None:
        """Put one shape in front of all that is there."""
        rows, columns = self.part.shape
        # A shape that the rim of the picture cuts is round about its own middle, not the rim's.
        beyond = 0 if shape.relief == 0.0 else max(rows, columns) // 6
        left, top = np.maximum(shape.points.min(axis=0).astype(int) - 1, -beyond).tolist()
        right, bottom = np.minimum(
            shape.points.max(axis=0).astype(int) + 2, (columns + beyond, rows + beyond)
        ).tolist()
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, columns), min(bottom, rows)
        if x1 - x0 < 1 or y1 - y0 < 1:
            return
        outline = shape.points - (left, top)
        stencil = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(stencil).polygon(outline.ravel().tolist(), fill=255)
        inner, window = np.s_[y0 - top : y1 - top, x0 - left : x1 - left], np.s_[y0:y1, x0:x1]
        inside = np.asarray(stencil)[inner] > 0
        np.copyto(self.part[window], np.intp(index), where=inside)
        ground = np.float32(0) if shape.clings else self._height_behind(shape.points)
        if shape.relief == 0.0:
            if not shape.clings:
                np.copyto(self.height[window], ground, where=inside)
            return
        dome = inflate(outline, stencil)[inner]
        dome *= np.float32(shape.relief)
        if shape.clings:
            np.add(self.height[window], dome, out=self.height[window], where=inside)
        else:
            dome += ground
            np.copyto(self.height[window], dome, where=inside)

    def _height_behind(self, points: Points) -> np.float32:
        few = points[:: max(1, len(points) // 8)].astype(np.int64)
        at = few[:, 1] * self.part.shape[1] + few[:, 0]
        return np.float32(2 + 0.5 * float(self.height.take(at, mode="clip").sum()) / len(at))

    def swell(self, bump: Bump) -> None:
        """Add a soft bump or dent."""
        rows, columns = self.part.shape
        x, y, rx, ry = bump.x, bump.y, bump.rx, bump.ry
        left, right = max(int(x - 2.4 * rx), 0), min(int(x + 2.4 * rx) + 2, columns)
        top, bottom = max(int(y - 2.4 * ry), 0), min(int(y + 2.4 * ry) + 2, rows)
        if right - left < 2 or bottom - top < 2:
            return
        u = (np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x)) / np.float32(rx)
        v = (np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)) / np.float32(ry)
        bell = np.float32(bump.height) * np.exp(-(u * u + v * v))
        part = self.part[top:bottom, left:right]
        own = part[
            min(max(int(y) - top, 0), bottom - top - 1),
            min(max(int(x) - left, 0), right - left - 1),
        ]
        target = self.height[top:bottom, left:right]
        np.add(target, bell, out=target, where=part >= own)  # what is behind stays as it is


def _gentle_slope(height: Field, axis: int) -> Field:
    """The flatter of the differences to either neighbour, so that no edge of a shape is a cliff."""
    rise = np.diff(height, axis=axis)
    pad = [(0, 0), (0, 0)]
    pad[axis] = (1, 1)
    rise = np.pad(rise, pad, mode="edge")
    before, after = (rise[:-1], rise[1:]) if axis == 0 else (rise[:, :-1], rise[:, 1:])
    return np.where(np.abs(before) < np.abs(after), before, after)


def inflate(outline: Points, stencil: Image.Image) -> Field:
    """The height of a round body with this outline, in pixels, at every pixel of the stencil."""
    width, height = stencil.size
    coarse: Field = np.asarray(stencil.resize((_GRID, _GRID), Image.Resampling.BOX), np.float32)
    sides = outline[1:] - outline[:-1]
    rim = float(np.sqrt(np.einsum("ij,ij->i", sides, sides)).sum())
    area = float(coarse.sum()) / 255 * width * height / _GRID**2
    radius = max(0.7, 2 * area / max(rim, 1.0))  # of a disc this would be the radius
    if radius * _GRID < 1.6 * max(width, height):  # too thin to be seen on the coarse grid
        blurred = stencil.filter(ImageFilter.BoxBlur(radius * 0.5))
        dome: Field = np.asarray(blurred, np.float32)
    else:
        spread = max(2, round(0.9 * radius))
        # In blocks of rows: a product this small is slower on several threads than on one.
        rows = np.matmul(_bell(height, spread), coarse).reshape(-1, _BLOCK, _GRID)
        dome = np.matmul(rows, _bell(width, spread)[:width].T).reshape(-1, width)[:height]
    # From here on the name means the height; steps in place keep this loop's memory warm.
    top = max(float(dome.max()), 140.0)
    np.subtract(np.float32(top), dome, out=dome)
    dome *= np.float32(1 / (top - 102.0))
    dome *= dome
    np.subtract(np.float32(1), dome, out=dome)
    np.maximum(dome, 0, out=dome)
    np.sqrt(dome, out=dome)
    dome *= np.float32(radius)
    return dome


@lru_cache(maxsize=4096)
def _bell(length: int, spread: int) -> Field:
    """What blurs a column of coarse cells by spread / 2 pixels on its way to `length` pixels.

    Of shape (length or a little more, grid), so that the rows come in whole blocks.
    """
    cell = length / _GRID
    pixels = np.arange(-(-length // _BLOCK) * _BLOCK, dtype=np.float32) + np.float32(0.5)
    cells = (np.arange(_GRID, dtype=np.float32) + np.float32(0.5)) * np.float32(cell)
    sigma = max(spread / 2, 0.6 * cell)
    weights = np.exp(np.square(pixels[:, None] - cells) * np.float32(-0.5 / sigma**2))
    return weights * np.float32(cell / (sigma * np.sqrt(2 * np.pi)))


def rasterise(
    sketch: Sketch,
    size: tuple[int, int],
    first: int,
    light: tuple[float, float, float],
    floor: float,
) -> Scene:
    """Lay a sketch that is already in pixels on a canvas of `size` (width, height)."""
    canvas = _Canvas(*size)
    for index, shape in enumerate(sketch.shapes):
        canvas.lay(index, shape)
    for bump in sketch.bumps:
        canvas.swell(bump)
    gx, gy = _gentle_slope(canvas.height, 1), _gentle_slope(canvas.height, 0)
    shade = _illuminate(canvas.height, gx, gy, light)
    if sketch.stands == "floor":
        _ground_shadow(shade, canvas, sketch, first, light)
    return Scene(
        part=canvas.part,
        slots=tuple(shape.slot for shape in sketch.shapes),
        tones=np.array([shape.tone for shape in sketch.shapes], np.float32),
        first=first,
        height=canvas.height,
        gx=gx,
        gy=gy,
        shade=shade,
        light=light,
        lines=_visible_lines(sketch, canvas.part),
        focus=sketch.focus,
        floor=floor,
        stands=sketch.stands,
    )


def _illuminate(height: Field, gx: Field, gy: Field, light: tuple[float, float, float]) -> Field:
    """Light on a matt surface, less what stands in the way of it."""
    lx, ly, lz = (np.float32(value) for value in light)
    facing = lz - gx * lx
    facing -= gy * ly
    facing /= np.sqrt(1 + gx * gx + gy * gy)
    np.maximum(facing, 0, out=facing)
    small = np.ascontiguousarray(height[::2, ::2])
    shadow = np.zeros_like(small)
    rows, columns = small.shape
    flat = np.hypot(lx, ly)
    for reach in (3, 6, 10, 15, 22):
        dx, dy = round(float(lx / flat) * reach), round(float(ly / flat) * reach)
        y0, y1 = max(0, -dy), min(rows, rows - dy)
        x0, x1 = max(0, -dx), min(columns, columns - dx)
        ahead = small[y0 + dy : y1 + dy, x0 + dx : x1 + dx]
        over = ahead - small[y0:y1, x0:x1] - np.float32(2 * reach * lz / flat)
        target = shadow[y0:y1, x0:x1]
        np.maximum(target, np.clip(over / 6, 0, 1), out=target)
    image = Image.fromarray(shadow).resize(height.shape[::-1], Image.Resampling.BILINEAR)
    return (0.22 + 0.78 * facing) * (1 - np.float32(0.45) * np.asarray(image))


def _ground_shadow(
    shade: Field,
    canvas: _Canvas,
    sketch: Sketch,
    first: int,
    light: tuple[float, float, float],
) -> None:
    """Darken the floor beside the foot of the subject, away from the light."""
    every = np.concatenate([shape.points for shape in sketch.shapes[first:]])
    (left, _), (right, foot) = every.min(axis=0), every.max(axis=0)
    wide = (right - left) / 2
    x, rx, ry = (left + right) / 2 - light[0] * wide * 0.7, wide * 1.15, max(wide * 0.16, 3.0)
    rows, columns = shade.shape
    top = max(0, int(foot - 3 * ry))
    u = (np.arange(columns, dtype=np.float32)[None, :] - np.float32(x)) / np.float32(rx)
    v = (np.arange(top, rows, dtype=np.float32)[:, None] - np.float32(foot)) / np.float32(ry)
    pool = np.exp(-np.square(u * u) - v * v) * np.float32(0.6)
    shade[top:] *= 1 - pool * (canvas.part[top:] < first)


def _visible_lines(sketch: Sketch, part: NDArray[np.intp]) -> Lines:
    """The outlines and creases, cut where something in front hides them."""
    pieces: list[Points] = []
    facts: list[tuple[float, int, float]] = []
    for index, shape in enumerate(sketch.shapes):
        if shape.line > 0:
            pieces.append(np.concatenate([shape.points, shape.points[:1]]))
            facts.append((shape.line, index, 0.0))
    for crease in sketch.creases:
        pieces.append(crease.points)
        facts.append((crease.weight, crease.behind - 1, 1.0))
    line, points = _evenly(pieces)
    table = np.array(facts, np.float32)[line]
    rows, columns = part.shape
    x, y = np.round(points).astype(np.int32).T
    seen = (x >= 0) & (y >= 0) & (x < columns) & (y < rows)
    seen &= part[y.clip(0, rows - 1), x.clip(0, columns - 1)] <= table[:, 1]
    fresh = np.ones(len(line), bool)
    fresh[1:] = (line[1:] != line[:-1]) | (seen[1:] != seen[:-1])
    run = np.cumsum(fresh)[seen]
    _, run = np.unique(run, return_inverse=True)
    table = table[seen]
    return Lines(points[seen], run, table[:, 0], table[:, 1].astype(np.int32), table[:, 2] > 0)


def _evenly(pieces: list[Points]) -> tuple[NDArray[np.int64], Points]:
    """All lines with a point every few pixels, and for each point the number of its line."""
    every = np.concatenate(pieces)
    owner = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    gaps = np.hypot(*np.diff(every, axis=0).T)
    gaps[owner[1:] != owner[:-1]] = 2.5  # a jump to the next line; its samples are dropped
    at = np.concatenate([[0.0], np.cumsum(gaps)])
    samples = np.arange(0.0, at[-1], 2.5)
    before = np.searchsorted(at, samples, side="right") - 1
    before = np.minimum(before, len(every) - 2)
    keep = owner[before] == owner[before + 1]
    before, samples = before[keep], samples[keep]
    share = ((samples - at[before]) / np.maximum(gaps[before], 1e-9))[:, None]
    return owner[before], every[before] * (1 - share) + every[before + 1] * share
