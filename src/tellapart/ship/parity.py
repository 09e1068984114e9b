"""Two ways to the same answer, held against each other: where do they part, and by how much?

Both are taken apart into the same steps. When the answers part, the first step whose values differ by more
than its allowance is named; decoders and resizing may differ by fractions of a grey level. What is compared
are samples of a step, so that the values of one side can be kept in a file.

It does not know which of the two is right.
"""

import base64
import html
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from tellapart.errors import ParityError
from tellapart.model.preprocess import PreprocessSpec
from tellapart.ship.exported import Steps

__all__ = [
    "MOST_APART",
    "MOST_APART_INT8",
    "STEPS",
    "Compared",
    "Parity",
    "Samples",
    "compare_steps",
    "judge",
]

MOST_APART: Final = 0.01
"""Between two probabilities of the same class, so that classes within twice that may change places."""

MOST_APART_INT8: Final = 0.05
"""The same of a network in 8 bits on another machine, whose decoder may differ by a grey level."""

STEPS: Final = ("decode", "resize", "network", "calibration")

_MOST_NOVELTY = (0.1, 0.02)  # in about standard deviations of known pictures, and a share of it
_ALLOWED = (0.5, 0.25, 0.01)  # grey levels, grey levels, share of the vector's length
_ALLOWED_HERE = (0.05, 0.03, 0.002)  # the same where both sides have the same libraries
_COUNT = 512  # sampled places of a picture
_PLACES = np.random.default_rng(0).random((_COUNT, 2))


@dataclass(frozen=True)
class Samples:
    """What is compared of `Steps`: `size` (height, width) of the decoded picture, its values at some
    places, uint8 (P, 3), what the network sees there, in grey levels, float32 (P, 3), and the rest whole."""

    size: tuple[int, int]
    decoded: NDArray[np.uint8]
    pixels: NDArray[np.float32]
    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    novelty: float | None

    @classmethod
    def of(cls, steps: Steps, spec: PreprocessSpec) -> Self:
        height, width = steps.decoded.shape[:2]
        y, x = (_PLACES * (height, width)).astype(int).T
        v, u = (_PLACES * spec.size).astype(int).T
        mean, std = (255 * np.asarray(part, np.float32) for part in (spec.mean, spec.std))
        seen = steps.pixels[0][:, v, u].T * std + mean
        return cls(
            (height, width), steps.decoded[y, x], seen, steps.features, steps.probabilities,
            steps.novelty,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Rounded where that is far below what is allowed."""
        return {
            "size": list(self.size),
            "decoded": _packed(self.decoded),
            "pixels": _packed(self.pixels.astype("<f2")),
            "features": _packed(self.features.astype("<f4")),
            "probabilities": self.probabilities.tolist(),
            "novelty": self.novelty,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError where that is not what `to_json` gave."""
        height, width = map(int, values["size"])
        decoded = _unpacked(values["decoded"], np.uint8)
        pixels = _unpacked(values["pixels"], "<f2").astype(np.float32)
        novelty = values["novelty"]
        return cls(
            (height, width), decoded.reshape(_COUNT, 3), pixels.reshape(_COUNT, 3),
            _unpacked(values["features"], "<f4"), np.asarray(values["probabilities"], np.float32),
            None if novelty is None else float(novelty),
        )  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """One picture: the largest difference of a probability and that of the novelty, whether the answers
    part, and at which step."""

    picture: str
    difference: float
    novelty: float
    classes: tuple[int, int]
    parted: bool
    step: str | None


@dataclass(frozen=True)
class Parity:
    """`n` files of `kinds` kinds agree: their probabilities differ by `largest` at most, for `picture`, and
    `swapped` of them, near ties, have another first class. `where` says which files they are, and
    `left_out` how many more could not be used."""

    n: int
    kinds: int
    largest: float
    picture: str
    swapped: int
    where: str
    left_out: int = 0

    def sentence(self) -> str:
        """In one line.

        >>> Parity(300, 12, 0.0009, "a.jpg", 0, "made of held-out pictures").sentence()
        '300 files of 12 kinds, made of held-out pictures, get the same answer: probabilities differ by \
0.0009 at most'
        """
        files = (
            "1 file gets"
            if self.n == 1
            else f"{self.n} files of {self.kinds} kinds, {self.where}, get"
        )
        ties = f"; {self.swapped} near ties are swapped" if self.swapped else ""
        lost = f"; {self.left_out} more could not be used" if self.left_out else ""
        return f"{files} the same answer: probabilities differ by {self.largest:.1g} at most{ties}{lost}"

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence())}</p>"


def compare_steps(
    picture: str,
    expected: Samples,
    found: Samples,
    *,
    strict: bool = False,
    here: bool = False,
    most: float = MOST_APART,
) -> Compared:
    """Whether `found` answers as `expected` does, and where not, at which step the two part.

    They part where a probability differs by more than `most`, or novelty by more than a tenth of its usual
    spread and 2 % of itself; so another class can only be first in a near tie. With `strict` they part
    also where pictures are decoded or resized otherwise, whatever comes of it. `here` says that both
    sides have the same libraries, so that less may differ at each step.
    """
    p, q = expected.probabilities, found.probabilities
    if p.shape != q.shape:
        return Compared(picture, 1.0, 0.0, (-1, -1), True, "calibration")
    classes = int(p.argmax()), int(q.argmax())
    difference = float(np.abs(p - q).max())
    novelty, strange = _novelty_apart(expected.novelty, found.novelty)
    shares = _apart(expected, found, _ALLOWED_HERE if here else _ALLOWED)
    parted = not difference <= most or strange or (strict and not max(shares[:2]) <= 1)
    step = _step(shares) if parted else None
    return Compared(picture, difference, novelty, classes, parted, step)


def judge(
    compared: Iterable[Compared],
    *,
    kinds: int,
    where: str,
    next_step: str,
    most: float = MOST_APART,
    left_out: int = 0,
) -> Parity:
    """All pictures together. Raises ParityError where the answers part, naming the worst picture."""
    every = list(compared)
    parted = [one for one in every if one.parted]
    if parted:
        worst = max(parted, key=lambda one: (one.difference, one.novelty, one.picture))
        what = f"a probability that differs by {worst.difference:.3f}; at most {most} is allowed"
        if worst.difference <= most:
            what = f"a novelty that differs by {worst.novelty:.3g}"
        raise ParityError(
            f"{len(parted)} of {len(every)} files get another answer. They part at the step "
            f"{worst.step}: the worst is {worst.picture}, with {what}. {next_step}",
            worst.picture,
            str(worst.step),
        )
    worst = max(every, key=lambda one: one.difference)
    swapped = sum(one.classes[0] != one.classes[1] for one in every)
    return Parity(len(every), kinds, worst.difference, worst.picture, swapped, where, left_out)


def _novelty_apart(expected: float | None, found: float | None) -> tuple[float, bool]:
    """By how much it differs, and whether that is too much."""
    if expected is None or found is None:
        return 0.0, expected is not found
    apart = abs(expected - found)
    least, share = _MOST_NOVELTY
    return apart, not apart <= least + share * abs(expected)


def _step(shares: Sequence[float]) -> str:
    """The first step beyond its allowance; where none is, the one that comes nearest to it, if that is
    much, since small differences can add up."""
    for step, share in zip(STEPS, shares, strict=False):
        if not share <= 1:
            return step
    nearest = int(np.argmax(shares))
    return STEPS[nearest] if shares[nearest] > 0.5 else "calibration"


def _apart(
    expected: Samples, found: Samples, allowed: Sequence[float]
) -> tuple[float, float, float]:
    """By how much decoded picture, pixels and features differ, as shares of what is allowed."""
    a, b = expected.features, found.features
    if expected.size != found.size:
        return np.inf, np.inf, np.inf
    values = (
        float(np.abs(expected.decoded.astype(np.float32) - found.decoded).mean()),
        float(np.abs(expected.pixels - found.pixels).mean()),
        np.inf if a.shape != b.shape else float(np.linalg.norm(a - b) / (np.linalg.norm(a) or 1)),
    )
    decode, resize, network = (value / most for value, most in zip(values, allowed, strict=True))
    return decode, resize, network


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode("ascii")


def _unpacked(text: str, kind: Any) -> NDArray[Any]:
    """At most 16 MiB."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(base64.b64decode(text, validate=True), 16 << 20)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if stream.unconsumed_tail:
        raise ValueError("a reference is too long")
    return np.frombuffer(raw, kind).copy()
