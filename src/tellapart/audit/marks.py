"""Marks: the same small thing in the same place of most pictures of one class, and of no other.

Logos, watermarks, date stamps, frames. Thumbnails are freed of all that is smooth, and cut into 25
windows, each a square of a quarter of the picture's shorter side: along the edges, as marks are placed,
and inside. In each window every picture is compared with the mean of the class's pictures in the
other folds (a matched filter; Turin 1960, "An introduction to matched filters"). A mark is where far
more pictures of the class match than of the others, and where this is odd: what a class shows matches
inside the picture too.

Often missed are marks below a tenth of the shorter side (a thumbnail has 48 px) and faint ones; not
found are marks that move about, marks in the middle, and those that several classes share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.picture_facts import SIDE
from tellapart.evaluation.metrics import wilson_interval

__all__ = ["Mark", "find_marks"]

Values = NDArray[np.float32]
Indices = NDArray[np.intp]

ANCHORS: Final = tuple((y / 4, x / 4) for y in range(5) for x in range(5))
"""Of the windows, (down, right): 0 at the top or left edge, 1 at the bottom or right one."""

_WINDOW = 0.25  # of the shorter side
_CELLS = 12  # of a window, along each side
_BLUR = 1  # px of the thumbnail: what is smoother than this is taken away
_FAINT = 0.15  # contrast (norm of a window) below which a window counts as less than whole
_OTHERS = 0.05  # share of the others' pictures that may match
_LEAST_SHARE = 0.5  # of the class's pictures that must match
_LEAST_ODDNESS = 0.2  # by which that share must be above the one inside the picture
_LEVEL = 0.01  # of error, over all classes and places
_FAR = 0.5  # between anchors of windows that do not overlap
_WORDS = {0.0: ("top", "left"), 1.0: ("bottom", "right")}


@dataclass(frozen=True, eq=False)
class Mark:
    """Something in the same place of most pictures of one class.

    `place` says where in words: "bottom right", "left edge" or "border". `share` of the class's `n`
    pictures match, with its 95 % `interval`, and `others` of the rest; `inside` is the greatest share
    that matches anywhere inside. `p` bounds the chance of such a share if the class were like the others,
    times the number of places and classes looked at. `box` is (left, top, right, bottom) as fractions
    of the picture. `map` float32 (48, 48) is 0 or more: the difference of the class's mean detail from
    the others', in standard errors.
    """

    label: str
    place: str
    n: int
    share: float
    interval: tuple[float, float]
    others: float
    inside: float
    p: float
    box: tuple[float, float, float, float]
    map: Values


def find_marks(
    thumbnails: NDArray[np.uint8],
    sizes: NDArray[np.integer[Any]],
    targets: Indices,
    folds: Indices,
    classes: Sequence[str],
) -> tuple[Mark, ...]:
    """At most one mark for each class, the most frequent first.

    `thumbnails` is uint8 (N, 48, 48, 3), `sizes` (N, 2) the widths and heights in px of the whole
    pictures, `targets` (N,) in 0 … K − 1, every class with 10 pictures or more. Copies are to be left
    out before: they match each other.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> pictures = rng.integers(0, 100, (80, 48, 48, 3), dtype=np.uint8)
    >>> pictures[:30, 40:44, 39:45] = 255  # the first class has 40
    >>> sizes, targets = np.full((80, 2), 300), np.arange(80) // 40
    >>> [(mark.label, mark.place) for mark in
    ...  find_marks(pictures, sizes, targets, np.arange(80) % 5, ["cat", "dog"])]
    [('cat', 'bottom right')]
    """
    detail = _detail(thumbnails)
    cells = _cells(sizes)
    k = len(classes)
    shares = np.zeros((len(ANCHORS), k))
    coherent = np.zeros((len(ANCHORS), k), np.bool_)
    for place in range(len(ANCHORS)):
        windows = _unit(_window(detail, cells, place))
        scores = _match(windows, targets, folds, k)
        shares[place] = [_matching(scores[:, own], targets == own) for own in range(k)]
        coherent[place] = _coherence(windows, targets, k)
    marks = [
        mark
        for own, label in enumerate(classes)
        if (mark := _mark(own, label, shares[:, own], coherent[:, own], detail, sizes, targets, k))
    ]
    return tuple(sorted(marks, key=lambda mark: -mark.share))


def _detail(thumbnails: NDArray[np.uint8]) -> Values:
    """Brightness in [0, 1] less its mean over the surroundings, float32 (N, 48, 48)."""
    grey = thumbnails @ np.asarray([0.299, 0.587, 0.114], np.float32) / np.float32(255)
    width = 2 * _BLUR + 1
    padded = np.pad(grey, ((0, 0), (_BLUR, _BLUR), (_BLUR, _BLUR)), mode="edge")
    rows = np.add.reduce([padded[:, i : i + SIDE] for i in range(width)])
    smooth = np.add.reduce([rows[:, :, i : i + SIDE] for i in range(width)])
    return np.asarray(grey - smooth / np.float32(width**2), np.float32)


def _cells(sizes: NDArray[np.integer[Any]]) -> Values:
    """Where the cells of a window lie, as fractions of the picture from the window's edge: float32
    (2, N, cells), across and down. A window is square in the picture, not in its thumbnail."""
    short = np.maximum(sizes.min(axis=1), 1)
    steps = (np.arange(_CELLS, dtype=np.float32) + np.float32(0.5)) / _CELLS
    share = _WINDOW * short / np.maximum(sizes.T, 1)
    return (share[..., None] * steps).astype(np.float32)


def _window(detail: Values, cells: Values, place: int) -> Values:
    """One window of all pictures, float32 (N, cells, cells), interpolated linearly."""
    down, right = ANCHORS[place]
    width = cells[..., -1:] + cells[..., :1]  # the whole window, as a fraction
    x, y = (cells[i] + anchor * (1 - width[i]) for i, anchor in enumerate((right, down)))
    x, y = (np.clip(v * SIDE - np.float32(0.5), 0, np.float32(SIDE - 1.001)) for v in (x, y))
    left, top = x.astype(np.intp), y.astype(np.intp)
    ax, ay = (x % 1)[:, None, :], (y % 1)[:, :, None]
    rows = np.arange(len(detail))[:, None, None]
    left, top = left[:, None, :], top[:, :, None]
    above = detail[rows, top, left] * (1 - ax) + detail[rows, top, left + 1] * ax
    below = detail[rows, top + 1, left] * (1 - ax) + detail[rows, top + 1, left + 1] * ax
    return above * (1 - ay) + below * ay


def _unit(windows: Values) -> Values:
    """Of mean 0 and, unless faint, of norm 1, so that no single picture says more than another."""
    flat = windows.reshape(len(windows), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.maximum(norm, np.float32(_FAINT))


def _match(windows: Values, targets: Indices, folds: Indices, k: int) -> Values:
    """How well each picture matches each class as the other folds show it, float32 (N, K)."""
    scores = np.empty((len(windows), k), np.float32)
    parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    own = [_sums(windows[part], targets[part], k) for part in parts]
    sums, counts = (np.add.reduce([each[i] for each in own]) for i in (0, 1))
    for part, (sum_inside, count_inside) in zip(parts, own, strict=True):
        filters = _difference(sums - sum_inside, counts - count_inside)
        filters /= np.maximum(np.linalg.norm(filters, axis=1, keepdims=True), np.float32(1e-9))
        scores[part] = windows[part] @ filters.T
    return scores


def _sums(windows: Values, targets: Indices, k: int) -> tuple[Values, Values]:
    """The sum of each class's windows (K, cells²), and their number (K, 1)."""
    member = (np.arange(k)[:, None] == targets).astype(np.float32)
    return member @ windows, member.sum(axis=1, keepdims=True)


def _difference(sums: Values, counts: Values) -> Values:
    """The mean of each class less that of the others, (K, cells²)."""
    rest, others = sums.sum(axis=0) - sums, counts.sum() - counts
    return np.asarray(sums / np.maximum(counts, 1) - rest / np.maximum(others, 1), np.float32)


def _matching(scores: Values, own: NDArray[np.bool_]) -> float:
    """The share of a class's pictures that match better than nearly all of the others' do."""
    return float((scores[own] > np.quantile(scores[~own], 1 - _OTHERS)).mean())


def _coherence(windows: Values, targets: Indices, k: int) -> NDArray[np.bool_]:
    """Whether it is the class that has something there, (K,), rather than the others."""
    sums, counts = _sums(windows, targets, k)
    rest = (sums.sum(axis=0) - sums) / np.maximum(len(windows) - counts, 1)
    means = sums / np.maximum(counts, 1)
    return np.asarray(np.linalg.norm(means, axis=1) > np.linalg.norm(rest, axis=1))


def _mark(
    own: int,
    label: str,
    shares: NDArray[np.float64],
    coherent: NDArray[np.bool_],
    detail: Values,
    sizes: NDArray[np.integer[Any]],
    targets: Indices,
    k: int,
) -> Mark | None:
    anchors = np.asarray(ANCHORS)
    inner: NDArray[np.bool_] = np.all((anchors > 0) & (anchors < 1), axis=1)
    far = np.abs(anchors[:, None] - anchors[None]).max(axis=2) >= _FAR
    inside = np.where(far & inner[None], shares[None], 0.0).max(axis=1)
    n = int((targets == own).sum())
    matched = np.rint(shares * n)
    p = np.minimum(1.0, k * int((~inner).sum()) * _tail(shares, n))
    many = (shares >= _LEAST_SHARE) & (shares >= inside + _LEAST_ODDNESS)
    odd = ~inner & coherent & (p <= _LEVEL) & many
    if not odd.any():
        return None
    best = int(np.argmax(np.where(odd, shares, 0)))
    place, box = _place(best, odd), _box(best, odd, detail, sizes, targets == own)
    return Mark(
        label, place, n, float(shares[best]), wilson_interval(int(matched[best]), n), _OTHERS,
        float(inside[best]), float(p[best]), box, _map(detail, targets == own),
    )  # fmt: skip


def _tail(shares: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """At most the chance of such a share among `n` of which each matches as the others do
    (Chernoff 1952)."""
    s = np.clip(shares, 1e-9, 1 - 1e-9)
    divergence = s * np.log(s / _OTHERS) + (1 - s) * np.log((1 - s) / (1 - _OTHERS))
    return np.where(shares > _OTHERS, np.exp(-n * divergence), 1.0)


def _is_border(odd: NDArray[np.bool_]) -> bool:
    """Whether at least three of the four corners have something."""
    corners = [odd[i] for i, (down, right) in enumerate(ANCHORS) if {down, right} <= {0.0, 1.0}]
    return sum(map(bool, corners)) >= 3


def _place(best: int, odd: NDArray[np.bool_]) -> str:
    """In words."""
    if _is_border(odd):
        return "border"
    down, right = ANCHORS[best]
    # A window a quarter along the edge still has the corner's mark in part.
    words = [_WORDS[round(v)][i] for i, v in enumerate((down, right)) if v in _WORDS or v != 0.5]
    return " ".join(words) if len(words) == 2 else f"{words[0]} edge"


def _box(
    best: int,
    odd: NDArray[np.bool_],
    detail: Values,
    sizes: NDArray[np.integer[Any]],
    own: NDArray[np.bool_],
) -> tuple[float, float, float, float]:
    """Around the cells in which the class's mean stands out most, in a picture of usual shape."""
    if _is_border(odd):
        return 0.0, 0.0, 1.0, 1.0
    windows = _unit(_window(detail, _cells(sizes), best))
    strength = np.abs(_difference(*_sums(windows, (~own).astype(np.intp), 2))[0])
    strong = (strength >= 0.35 * strength.max()).reshape(_CELLS, _CELLS)
    down, right = ANCHORS[best]
    share = np.median(_WINDOW * sizes[own].min(axis=1)[:, None] / sizes[own], axis=0)
    x, y = (np.flatnonzero(strong.any(axis=axis)) for axis in (0, 1))
    left, top = right * (1 - share[0]), down * (1 - share[1])
    return (
        float(left + share[0] * x[0] / _CELLS), float(top + share[1] * y[0] / _CELLS),
        float(left + share[0] * (x[-1] + 1) / _CELLS), float(top + share[1] * (y[-1] + 1) / _CELLS),
    )  # fmt: skip


def _map(detail: Values, own: NDArray[np.bool_]) -> Values:
    """|difference of the means| over its standard error, float32 (48, 48)."""
    a, b = detail[own], detail[~own]
    error = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
    return np.asarray(np.abs(a.mean(axis=0) - b.mean(axis=0)) / np.maximum(error, 1e-4), np.float32)
