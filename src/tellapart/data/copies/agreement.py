"""Whether two aligned pictures are copies: how well they agree where they overlap, and in what they differ.

Where a picture is mostly white, most of it agrees with any other such: so what counts is how much of the
structure they share, not of the area alone. Thumbnails of 48 px know no text and no
small parts: two pages of a comic or two frames of a film may pass for copies.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.copies.alignment import align, sample
from tellapart.data.copies.descriptor import grey
from tellapart.data.copies.frames import inside_frames
from tellapart.data.copies.turns import turned
from tellapart.data.copies.windows import Match

__all__ = ["Agreement", "Rough", "align_roughly", "measure"]

Array = NDArray[np.float32]
Indices = NDArray[np.intp]

_TRIMMED: Final = 0.15  # share of the overlap that may differ altogether: a logo, a line of text
_EDGE: Final = 2  # px along the overlap's edges that do not count: a frame shines into them
_SAME: Final = 20.0  # levels of 255 that colours may differ by, on average, and agree


@dataclass(frozen=True)
class Agreement:
    """What P aligned pairs have in common, shares and correlations (P,) of the part where they overlap.

    `detail` is the correlation of what is finer than about 4 px of the thumbnail. `agreeing` is the
    share of the overlap whose colours are the same but for 20 levels of 255. `kept` is the share of
    the brightness's variance outside the worst 15 %: small where little but lines is to be seen.
    `affine` (P, 2, 3) maps places in [−1, 1] of the turned whole into the picture around it; `plain`
    says by how many levels the brightness varies in what lies around it (0 where nothing does).
    """

    detail: Array
    agreeing: Array
    kept: Array
    affine: Array
    plain: Array

    def at(self, rows: NDArray[np.bool_]) -> "Agreement":
        """That of some of the pairs."""
        return Agreement(*(value[rows] for value in vars(self).values()))


@dataclass(frozen=True)
class Rough:
    """Pairs aligned at half the size: affine maps (P, 2, 3), and the correlation of what overlaps, (P,)."""

    affine: Array
    correlation: Array


def align_roughly(thumbnails: NDArray[np.uint8], match: Match) -> Rough:
    """Align the pairs of a match at half the size; thumbnails are uint8 (N, S, S, 3)."""
    light = grey(thumbnails[match.around])
    template, picture = _half(grey(_turn_each(thumbnails[match.whole], match.turn))), _half(light)
    found = align(_blurred(template), _blurred(picture), _start(match.window), 3, 2.0)
    found = align(template, picture, found.affine, 2, 0.7)
    framed = inside_frames(picture)
    unmoved, inside = sample(picture, framed, picture.shape[1])
    correlation = [
        _correlation(template, values, _without_edge(inside.reshape(template.shape), 1))
        for values, inside in ((found.values, found.inside), (unmoved, inside))
    ]
    return Rough(found.affine, np.maximum(*correlation))


def measure(thumbnails: NDArray[np.uint8], match: Match, affine: Array) -> Agreement:
    """Align the pairs of a match from a rough alignment on, and compare them."""
    picture = thumbnails[match.around].astype(np.float32)
    template = _turn_each(thumbnails[match.whole], match.turn).astype(np.float32)
    light, light_template = grey(picture), grey(template)
    affine = align(light_template, light, affine, 3, 0.35).affine
    detail = _detail(light_template, light, affine)
    framed = inside_frames(light)
    unmoved = _detail(light_template, light, framed)
    better = unmoved > detail
    affine[better], detail[better] = framed[better], unmoved[better]
    seen, inside = _seen(picture, affine)
    distance = np.abs(seen - template).mean(axis=3)
    count = np.maximum(inside.sum(axis=(1, 2)), 1)
    return Agreement(
        detail,
        np.asarray((inside & (distance < _SAME)).sum(axis=(1, 2)) / count, np.float32),
        _kept(_flat(light_template), _flat(grey(seen)), _flat(inside)),
        affine,
        _variation_around(light, affine),
    )


def _seen(picture: Array, affine: Array) -> tuple[Array, NDArray[np.bool_]]:
    """What the picture (P, S, S, 3) has in the template's place, and where that counts, (P, S, S)."""
    side = picture.shape[1]
    channels = [np.ascontiguousarray(picture[..., channel]) for channel in range(3)]
    values = [sample(channel, affine, side)[0] for channel in channels]
    inside = sample(channels[0], affine, side)[1].reshape(-1, side, side)
    return np.stack(values, axis=-1).reshape(picture.shape), _without_edge(inside, _EDGE)


def _without_edge(inside: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    kept = np.zeros_like(inside)
    within = slice(width, -width)
    kept[:, within, within] = inside[:, within, within]
    return kept


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(len(values), -1)


def _turn_each(pictures: NDArray[np.uint8], turn: Indices) -> NDArray[np.uint8]:
    """Each of the pictures (P, S, S, …) laid as its own turn says."""
    laid = np.empty_like(pictures)
    for number in np.unique(turn):
        own = turn == number
        laid[own] = turned(pictures[own], int(number))
    return laid


def _start(window: Array) -> Array:
    affine = np.zeros((len(window), 2, 3), np.float32)
    for axis in (0, 1):
        affine[:, axis, axis] = window[:, 2 + axis]
        affine[:, axis, 2] = 2 * window[:, axis] + window[:, 2 + axis] - 1
    return affine


def _half(pictures: Array) -> Array:
    side = pictures.shape[1] // 2
    return np.asarray(pictures.reshape(-1, side, 2, side, 2).mean(axis=(2, 4)), np.float32)


def _detail(template: Array, picture: Array, affine: Array) -> Array:
    """Correlation of the fine structure, on the picture's own, coarser grid: it is not to be blurred."""
    linear = np.linalg.inv(affine[:, :, :2])
    back = np.concatenate([linear, -linear @ affine[:, :, 2:]], axis=2)
    laid = sample(template, back, picture.shape[1])[0].reshape(picture.shape)
    places = np.abs(back @ _places(picture.shape[1])).max(axis=1)
    return _correlation(_fine(laid), _fine(picture), places < 1 - 2 * _EDGE / picture.shape[1])


def _correlation(t: Array, v: Array, inside: NDArray[np.bool_]) -> Array:
    t, v, inside = _flat(t), _flat(v), _flat(inside)
    (t, t_spread), (v, v_spread) = _centred(t, inside), _centred(v, inside)
    count = np.maximum(inside.sum(axis=1), 1)
    covariance = (t * v * inside).sum(axis=1) / count
    return np.asarray(covariance / np.maximum(t_spread * v_spread, 1e-3)[:, 0], np.float32)


def _kept(t: Array, v: Array, inside: NDArray[np.bool_]) -> Array:
    """The smaller share of both variances that is left outside the worst part of the overlap."""
    last = np.maximum((inside.sum(axis=1) * (1 - _TRIMMED)).astype(np.intp) - 1, 0)[:, None]
    weight = inside
    for _ in range(2):
        (t_off, t_spread), (v_off, v_spread) = _centred(t, weight), _centred(v, weight)
        apart = np.abs(t_off / np.maximum(t_spread, 2) - v_off / np.maximum(v_spread, 2))
        apart = np.where(inside, apart, np.inf)
        weight = inside & (apart <= np.take_along_axis(np.sort(apart, axis=1), last, axis=1))
    shares = []
    for values in (t, v):
        squares = _centred(values, inside)[0] ** 2
        every = np.maximum((squares * inside).sum(axis=1), 1)
        shares.append((squares * weight).sum(axis=1) / every)
    return np.asarray(np.minimum(*shares), np.float32)


def _centred(values: Array, inside: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Numbers (P, M) less their mean over some of them, and the deviation of those, (P, 1)."""
    count = np.maximum(inside.sum(axis=1, keepdims=True), 1).astype(np.float32)
    off = values - (values * inside).sum(axis=1, keepdims=True) / count
    return off, np.sqrt((off * off * inside).sum(axis=1, keepdims=True) / count)


def _fine(pictures: Array) -> Array:
    return pictures - _blurred(_blurred(_blurred(pictures)))


def _blurred(pictures: Array) -> Array:
    wide = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16


def _places(side: int) -> Array:
    """The centres of side² px, in [−1, 1], with ones: (3, side²)."""
    along = ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)
    y, x = (part.reshape(-1) for part in np.meshgrid(along, along, indexing="ij"))
    return np.stack([x, y, np.ones_like(x)])


def _variation_around(light: Array, affine: Array) -> Array:
    """Deviation of the brightness in a picture outside the place of its whole, after its rows' own means."""
    side = light.shape[1]
    back = np.linalg.inv(affine[:, :, :2]) @ (_places(side)[:2] - affine[:, :, 2:])
    outside = np.abs(back).max(axis=1) > 1 + 3 / side
    values = light.reshape(len(light), -1)
    count = outside.sum(axis=1, keepdims=True)
    mean = (values * outside).sum(axis=1, keepdims=True) / np.maximum(count, 1)
    spread = (np.abs(values - mean) * outside).sum(axis=1, keepdims=True) / np.maximum(count, 1)
    return np.asarray(spread[:, 0], np.float32)
