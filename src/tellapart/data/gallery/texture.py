"""Grain, clouds, streaks and cracks: the surfaces that the five styles are made of.

Noise comes from a few periodic tiles of 512 x 512 that are computed once in a process from a fixed
seed; a picture takes a window of them at a random place, which costs microseconds where fresh noise
costs milliseconds. A field is a float32 array (H, W), a picture is three of them, (3, H, W): planes
rather than pixels, because a field then combines with a picture at full speed.
"""

from functools import cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "Field",
    "Planes",
    "blend",
    "colour",
    "crop",
    "from_middle",
    "pixels",
    "slopes",
    "smear",
    "soften",
    "step",
    "streaks",
    "weave",
]

Field = NDArray[np.float32]
Planes = NDArray[np.float32]
Kind = Literal["grain", "tooth", "mottle", "cloud", "streak", "crackle"]

_SIZE = 512  # of a tile, a power of two; no picture is larger


def _filtered(seed: int, response: NDArray[np.float64]) -> Field:
    """White noise under a frequency response, then spread evenly over [0, 1]."""
    white = np.random.default_rng([20, seed]).standard_normal((_SIZE, _SIZE))
    field = np.fft.irfft2(np.fft.rfft2(white) * response, s=(_SIZE, _SIZE))
    field = (field - field.mean()) / field.std()
    even: Field = (0.5 + 0.5 * np.tanh(0.8 * field)).astype(np.float32)
    return even


def _crackle() -> Field:
    """Distance to the nearest crack of a network of cells: 0 on a crack, 1 in the middle."""
    cells, size = 20, _SIZE
    rng = np.random.default_rng([20, 9])
    seeds = rng.random((cells, cells, 2)).astype(np.float32)
    at = np.arange(size, dtype=np.float32) * np.float32(cells / size)
    bend = (_tile("mottle") - 0.5) * 0.4
    y, x = at[:, None] + bend, at[None, :] + np.roll(bend, 300, axis=1)
    row, column = np.floor(y).astype(np.int32), np.floor(x).astype(np.int32)
    below, beyond = y - np.floor(y), x - np.floor(x)
    first = np.full((size, size), 9.0, np.float32)
    second = first.copy()
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            seed = seeds[(row + i) % cells, (column + j) % cells]
            gap = np.hypot(i + seed[..., 0] - below, j + seed[..., 1] - beyond)
            second = np.minimum(second, np.maximum(first, gap))
            first = np.minimum(first, gap)
    cells_apart: Field = np.clip((second - first) * 2, 0, 1)
    return cells_apart


@cache
def _tile(kind: Kind) -> Field:
    if kind == "crackle":
        return _crackle()
    v = np.fft.fftfreq(_SIZE)[:, None]
    u = np.fft.rfftfreq(_SIZE)[None, :]
    r2 = u**2 + v**2
    if kind == "grain":
        response = np.exp(-r2 * 6)
    elif kind == "tooth":
        response = np.exp(-r2 * 22) * (1 - np.exp(-r2 * 900))
    elif kind == "mottle":
        response = np.exp(-r2 * 900)
    elif kind == "cloud":
        response = np.where(r2 > 0, (r2 + 1e-5) ** -0.95, 0)
    else:
        response = np.exp(-(u**2) * 3000 - v**2 * 9) * (1 - np.exp(-(v**2) * 400))
    return _filtered(get_args(Kind).index(kind), response)


@cache
def _wrapped(kind: Kind) -> Field:
    """The tile beside and above itself, so that a window may start anywhere."""
    return np.tile(_tile(kind), (2, 2))


def crop(rng: np.random.Generator, kind: Kind, shape: tuple[int, int]) -> Field:
    """A random window of a noise tile: float32 (H, W), values in [0, 1], about evenly spread.

    >>> crop(np.random.default_rng(0), "grain", (20, 30)).shape
    (20, 30)
    """
    height, width = shape
    y, x = rng.integers(0, _SIZE, 2)
    window = _wrapped(kind)[y : y + height, x : x + width]
    if kind != "streak" and rng.random() < 0.5:
        window = window[::-1]
    return window[:, ::-1] if rng.random() < 0.5 else window


def streaks(
    rng: np.random.Generator, shape: tuple[int, int], angle: float | Field, scale: float = 1.0
) -> Field:
    """Long thin streaks that run at `angle` radians: float32 (H, W) in [0, 1].

    `scale` > 1 makes them broader and longer. `angle` may be one number or a field of them.

    >>> streaks(np.random.default_rng(0), (20, 30), 0.5).shape
    (20, 30)
    """
    x, y = (at / np.float32(scale) for at in pixels(shape))
    cos, sin = np.cos(angle, dtype=np.float32), np.sin(angle, dtype=np.float32)
    du, dv = rng.integers(0, _SIZE, 2).tolist()
    column = (x * cos + y * sin).astype(np.int32) + du
    row = (y * cos - x * sin).astype(np.int32) + dv
    flat: NDArray[np.int32] = ((row & (_SIZE - 1)) * _SIZE) | (column & (_SIZE - 1))
    return _tile("streak").take(flat.astype(np.intp), mode="clip")


def pixels(shape: tuple[int, ...]) -> tuple[Field, Field]:
    """The x of every column, (1, W), and the y of every row, (H, 1), in pixels."""
    height, width = shape
    return np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]


def from_middle(shape: tuple[int, ...]) -> tuple[Field, Field]:
    """The same from -1 at the left and top rim to 1 at the right and bottom one."""
    height, width = shape
    x, y = pixels(shape)
    return x * np.float32(2 / (width - 1)) - 1, y * np.float32(2 / (height - 1)) - 1


def weave(rng: np.random.Generator, shape: tuple[int, int], pitch: float) -> Field:
    """Canvas: threads over and under each other, about `pitch` pixels apart, in [-1, 1]."""
    wave = np.float32(2 * np.pi / pitch)
    drift = (crop(rng, "cloud", shape) - 0.5) * 3
    x, y = pixels(shape)
    threads: Field = np.sin(x * wave + drift) * np.sin(y * wave - drift)
    return threads


def soften(field: Field, radius: float) -> Field:
    """The field blurred over about `radius` pixels, by way of a smaller copy.

    >>> float(soften(np.ones((40, 30), np.float32), 6).mean().round(3))
    1.0
    """
    factor = max(1, int(radius))
    if factor == 1:
        return field
    height, width = field.shape
    image = Image.fromarray(np.ascontiguousarray(field)).reduce(factor)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def slopes(field: Field) -> tuple[Field, Field]:
    """How the field rises to the right and downwards, per pixel; the rim repeats its neighbour."""
    gx, gy = np.empty_like(field), np.empty_like(field)
    gx[:, 1:-1] = (field[:, 2:] - field[:, :-2]) * 0.5
    gx[:, 0], gx[:, -1] = gx[:, 1], gx[:, -2]
    gy[1:-1] = (field[2:] - field[:-2]) * 0.5
    gy[0], gy[-1] = gy[1], gy[-2]
    return gx, gy


def smear(field: Field, dx: Field, dy: Field, reach: int) -> Field:
    """The field averaged along a direction (dx, dy of length 1) over `reach` pixels either way."""
    height, width = field.shape
    x, y = (at + np.float32(0.5) for at in pixels(field.shape))
    flat = field.ravel()
    total = np.zeros_like(field)
    taps = np.linspace(-reach, reach, 7)
    for tap in taps:
        column = np.clip((x + dx * np.float32(tap)).astype(np.intp), 0, width - 1)
        row = np.clip((y + dy * np.float32(tap)).astype(np.intp), 0, height - 1)
        total += flat.take(row * width + column, mode="clip")
    return total / np.float32(len(taps))


def step(field: Field, low: float, high: float) -> Field:
    """A soft threshold: 0 below `low`, 1 above `high`, smooth between.

    >>> step(np.float32([0, 1, 2]), 0, 2).tolist()
    [0.0, 0.5, 1.0]
    """
    t: Field = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blend(base: Planes, over: Planes, amount: Field) -> Planes:
    """`over` laid on `base` as far as `amount`, (H, W) in [0, 1], says.

    `base` and `over` are (3, H, W); either may be one colour, (3, 1, 1).

    >>> base, over = np.zeros((3, 1, 1), np.float32), np.ones((3, 1, 1), np.float32)
    >>> blend(base, over, np.full((2, 2), 0.5, np.float32)).mean().item()
    0.5
    """
    mixed = over - base
    mixed = mixed * amount
    mixed += base
    return mixed


def colour(red: float, green: float, blue: float) -> Planes:
    """One colour as planes, (3, 1, 1), its parts in [0, 1]."""
    return np.array([red, green, blue], np.float32)[:, None, None]
