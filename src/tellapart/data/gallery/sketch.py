"""A subject as plain geometry: shapes with a colour slot and a roundness, creases, and bumps.

A sketch holds no pixels and no style. Shapes lie in painter's order, later ones in front.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tellapart.data.gallery.curves import Points

__all__ = ["Bump", "Crease", "Shape", "Sketch", "Slot", "Stand"]

Slot = Literal[
    "sky", "far", "ground", "water", "wall", "table",
    "skin", "hair", "cloth", "cloth2", "lip", "eye", "iris",
    "leaf", "bloom", "bloom2", "fruit", "fruit2", "wood", "stone", "roof", "jar", "light", "dark",
]  # fmt: skip
Stand = Literal["cut", "floor", "afloat", "air", "fill"]


@dataclass(frozen=True)
class Shape:
    """One closed outline with what fills it.

    `relief` is how far it bulges, 1 for as round as a ball, 0 for flat. A shape that `clings` lies
    on what is behind it, as an eye lies on a face; any other stands in front. `line` is the weight
    of its outline, 0 for none. `tone` moves its lightness, within about 0.2 of 0.
    """

    points: Points
    slot: Slot
    relief: float = 1.0
    tone: float = 0.0
    line: float = 1.0
    clings: bool = False


@dataclass(frozen=True)
class Crease:
    """An open line on the shapes that were there before it: a fold, a brow, a stem."""

    points: Points
    weight: float
    behind: int


@dataclass(frozen=True)
class Bump:
    """A soft swelling (or a dent where `height` < 0) that has no outline of its own."""

    x: float
    y: float
    rx: float
    ry: float
    height: float


@dataclass
class Sketch:
    """A subject while it is put together.

    `focus` is the centre and radius of what matters most, for a halo. `stands` says whether the
    lower rim of the picture cuts the subject, or it stands on a floor, is afloat, is anywhere, or
    fills the picture from side to side. `extent` (left, top, right, bottom) is what must be seen,
    where that is less than all shapes.

    >>> sketch = Sketch("floor")
    >>> sketch.add(np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]), "leaf")
    >>> len(sketch.shapes)
    1
    """

    stands: Stand
    focus: tuple[float, float, float] = (0.0, 0.0, 1.0)
    shapes: list[Shape] = field(default_factory=list)
    creases: list[Crease] = field(default_factory=list)
    bumps: list[Bump] = field(default_factory=list)
    extent: tuple[float, float, float, float] | None = None

    def add(
        self,
        points: Points,
        slot: Slot,
        relief: float = 1.0,
        *,
        tone: float = 0.0,
        line: float = 1.0,
        clings: bool = False,
    ) -> None:
        """Lay one more shape on top."""
        self.shapes.append(Shape(points, slot, relief, tone, line, clings))

    def crease(self, points: Points, weight: float = 0.7) -> None:
        """Draw a line on the shapes so far; later shapes may cover it."""
        self.creases.append(Crease(points, weight, len(self.shapes)))

    def bump(self, x: float, y: float, rx: float, ry: float, height: float) -> None:
        """Swell or dent the surface."""
        self.bumps.append(Bump(x, y, rx, ry, height))

    def bounds(self) -> tuple[float, float, float, float]:
        """The extent, or else the smallest upright rectangle around all shapes."""
        if self.extent is not None:
            return self.extent
        every = np.concatenate([shape.points for shape in self.shapes])
        (left, top), (right, bottom) = every.min(axis=0), every.max(axis=0)
        return float(left), float(top), float(right), float(bottom)
