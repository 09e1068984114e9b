"""The one-cycle policy, as both generations of fastai compute it, and learning rates per layer group.

One cycle (Smith & Topin 2018, arXiv:1708.07120; with cosines as in fastai): the rate rises from lr / div
to lr and falls to lr / final_div, while the momentum falls and rises. With the position p = i / steps
of step i = 0 … steps − 1 and the share of rising steps s = pct_start,

    rising   (p < s)   start  + (1 + cos(π (1 − p / s))) / 2 · (middle − start)
    falling  (p ≥ s)   middle + (1 + cos(π (1 − (p − s) / (1 − s)))) / 2 · (end − middle)

fastai 2 calls this `combined_cos(s, start, middle, end)`. fastai 1 rises over int(steps · s) whole
steps, so that s is int(steps · s) / steps there. NumPy alone: what drives an optimiser is elsewhere.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from tellapart.errors import UsageError

__all__ = [
    "FASTAI_1",
    "FASTAI_2",
    "Cycle",
    "CycleOptions",
    "Rate",
    "Stage",
    "check_dials",
    "fine_tune_plan",
    "format_lr",
    "layer_rates",
    "one_cycle",
    "parse_lr",
]  # fmt: skip

Rate = float | tuple[float, float] | slice
"""A learning rate: one for all layer groups, a pair (first group's, last group's), or a slice."""


class CycleOptions(TypedDict):
    """The dials of `one_cycle`: `one_cycle(steps, lr, **FASTAI_1)`."""

    div: float
    final_div: float
    pct_start: float
    momenta: tuple[float, float, float]
    whole_steps: bool


FASTAI_1: Final = CycleOptions(
    div=25.0, final_div=25e4, pct_start=0.3, momenta=(0.95, 0.85, 0.95), whole_steps=True
)
FASTAI_2: Final = CycleOptions(
    div=25.0, final_div=1e5, pct_start=0.25, momenta=(0.95, 0.85, 0.95), whole_steps=False
)


@dataclass(frozen=True)
class Cycle:
    """What to set before each step: `lrs`, float64 (steps,) or (steps, G), and `momenta` (steps,).

    The momentum of Adam is its first beta.
    """

    lrs: NDArray[np.float64]
    momenta: NDArray[np.float64]


def one_cycle(
    steps: int,
    lr: float | NDArray[np.floating[Any]],
    *,
    div: float = 25.0,
    final_div: float = 1e5,
    pct_start: float = 0.25,
    momenta: tuple[float, float, float] = (0.95, 0.85, 0.95),
    whole_steps: bool = False,
) -> Cycle:
    """The rates and momenta of `steps` ≥ 1 steps; `lr` > 0, or (G,) of them for G layer groups.

    `pct_start` in [0, 1] is the share of rising steps, a whole number of them with `whole_steps`.
    The module says the formula. Raises UsageError for values out of range.

    >>> cycle = one_cycle(8, 1e-3)
    >>> [f"{rate:.1e}" for rate in cycle.lrs]
    ['4.0e-05', '5.2e-04', '1.0e-03', '9.3e-04', '7.5e-04', '5.0e-04', '2.5e-04', '6.7e-05']
    >>> one_cycle(8, layer_rates((1e-5, 1e-3), 3), **FASTAI_1).lrs.shape
    (8, 3)
    """
    highest = np.asarray(lr, np.float64)
    if steps < 1 or not 0 <= pct_start <= 1 or not (div > 0 and final_div > 0):
        raise UsageError(
            f"one cycle of {steps} steps, pct_start {pct_start}, div {div}, final_div {final_div}: "
            "expected at least one step, pct_start in [0, 1] and divisors above 0"
        )
    if highest.ndim > 1 or not (np.isfinite(highest).all() and (highest > 0).all()):
        raise UsageError(f"learning rate {lr}: expected a number above 0, or one per layer group")
    rising = int(steps * pct_start) / steps if whole_steps else pct_start
    position = np.arange(steps) / steps
    lrs = _combined_cosine(position, rising, highest / div, highest, highest / final_div)
    low, middle, end = (np.asarray(momentum, np.float64) for momentum in momenta)
    return Cycle(lrs, _combined_cosine(position, rising, low, middle, end))


def check_dials(div: float, pct_start: float, weight_decay: float) -> None:
    """Raises UsageError unless div is above 0, pct_start in [0, 1] and weight_decay 0 or more."""
    if not (0 < div < math.inf and 0 <= pct_start <= 1 and 0 <= weight_decay < math.inf):
        raise UsageError(
            f"div {div}, pct_start {pct_start}, weight_decay {weight_decay}: expected a divisor above 0, "
            "a share from 0 to 1, and 0 or more"
        )


def _combined_cosine(
    position: NDArray[np.float64],
    rising: float,
    start: NDArray[np.float64],
    middle: NDArray[np.float64],
    end: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The module's formula at `position` (steps,); the other values are scalars or (G,)."""
    first = position < rising
    inside = np.empty_like(position)
    inside[first] = position[first] / rising if rising else 0
    inside[~first] = (position[~first] - rising) / (1 - rising) if rising < 1 else 0
    weight = (1 + np.cos(np.pi * (1 - inside))) / 2
    shape = (len(position), *[1] * start.ndim)
    weight, first = weight.reshape(shape), first.reshape(shape)
    return np.where(first, start + weight * (middle - start), middle + weight * (end - middle))


def layer_rates(lr: Rate, groups: int) -> NDArray[np.float64]:
    """Rates, float64 (groups,), from the first layer group, next to the pixels, to the last, the head.

    A number is the same for all. A pair (a, b), or slice(a, b), goes from a to b in equal ratios; of
    a single group the rate is b. slice(b) is b / 10 for all but the last group, and b for the last.
    Raises UsageError for rates that are no finite numbers above 0, or for no group.

    >>> [f"{rate:.0e}" for rate in layer_rates((1e-6, 1e-4), 3)]
    ['1e-06', '1e-05', '1e-04']
    >>> layer_rates(slice(2e-3), 3).tolist()
    [0.0002, 0.0002, 0.002]
    """
    if groups < 1:
        raise UsageError(f"{groups} layer groups: expected at least 1")
    first, last = _ends(lr)
    if first is None:
        return np.array([last / 10] * (groups - 1) + [last])
    if groups == 1:
        return np.array([last])
    rates = first * (last / first) ** (np.arange(groups) / (groups - 1))
    rates[-1] = last  # without the rounding of the power
    return rates


def _ends(lr: Rate) -> tuple[float | None, float]:
    """The first and the last group's rate; None where all but the last have a tenth of the last's."""
    if isinstance(lr, slice):
        if lr.step is not None:
            raise UsageError(f"learning rate {lr}: expected slice(last) or slice(first, last)")
        ends = (lr.start, lr.stop)
    elif isinstance(lr, tuple):
        if len(lr) != 2:
            raise UsageError(f"learning rate {lr}: expected a pair (first group's, last group's)")
        ends = lr
    else:
        ends = (lr, lr)
    alone = isinstance(lr, slice) and lr.start is None
    for rate in ends[1:] if alone else ends:
        if not isinstance(rate, int | float) or not (math.isfinite(rate) and rate > 0):
            raise UsageError(f"learning rate {rate}: expected a finite number above 0, like 1e-3")
    return ends


def parse_lr(text: str) -> Rate:
    """The learning rate that a command line says: "3e-3", "1e-5..1e-4" or "..3e-3", as slice(3e-3).

    Raises UsageError for any other text.

    >>> parse_lr("3e-3"), parse_lr("1e-5..1e-4"), parse_lr("..3e-3")
    (0.003, (1e-05, 0.0001), slice(None, 0.003, None))
    """
    first, dots, last = text.partition("..")
    try:
        if last.startswith("."):  # "1e-5...1e-4" would be read as 1e-5 to 0.1e-4
            raise ValueError(text)
        if not dots:
            lr: Rate = float(first)
        elif first.strip():
            lr = (float(first), float(last))
        else:
            lr = slice(float(last))
        _ends(lr)
    except (ValueError, UsageError):
        raise UsageError(
            f"learning rate {text!r}: expected a number above 0, like 3e-3, or two, from the first "
            "layer group to the last, like 1e-5..1e-4"
        ) from None
    return lr


def format_lr(lr: Rate) -> str:
    """The text that `parse_lr` reads back, to the last bit.

    >>> format_lr((1e-5, 1e-4)), format_lr(slice(3e-3))
    ('1e-05..0.0001', '..0.003')
    """
    first, last = _ends(lr)
    if first is None:
        return f"..{float(last)!r}"
    pair = isinstance(lr, tuple | slice)
    return f"{float(first)!r}..{float(last)!r}" if pair else repr(float(last))


@dataclass(frozen=True)
class Stage:
    """`epochs` of one cycle, with all but the head frozen or not, at `lr` with these dials."""

    epochs: int
    frozen: bool
    lr: Rate
    div: float = FASTAI_2["div"]
    final_div: float = FASTAI_2["final_div"]
    pct_start: float = FASTAI_2["pct_start"]

    def cycle(self, steps_per_epoch: int, groups: int) -> Cycle:
        """Rates (epochs · steps_per_epoch, groups) and momenta.

        >>> Stage(2, frozen=False, lr=(1e-5, 1e-4)).cycle(7, 3).lrs.shape
        (14, 3)
        """
        return one_cycle(
            self.epochs * steps_per_epoch, layer_rates(self.lr, groups),
            div=self.div, final_div=self.final_div, pct_start=self.pct_start,
        )  # fmt: skip


def fine_tune_plan(epochs: int, lr: float = 2e-3, *, frozen_epochs: int = 1) -> tuple[Stage, ...]:
    """What fastai 2's `fine_tune(epochs, lr)` does: the head first, then everything at half the rate.

    The frozen stage rises over 99 % of its steps; the second goes from a hundredth of the rate in
    the first layer group to all of it in the last. Without frozen epochs it is one stage. Raises
    UsageError for values out of range.

    >>> [stage.lr for stage in fine_tune_plan(3, 2e-3)]
    [slice(None, 0.002, None), (1e-05, 0.001)]
    """
    if epochs < 1 or frozen_epochs < 0:
        raise UsageError(
            f"{frozen_epochs} frozen epochs and {epochs} epochs: expected 0 and 1, or more"
        )
    _ends(lr)
    half = lr / 2
    head = Stage(frozen_epochs, frozen=True, lr=slice(lr), pct_start=0.99)
    everything = Stage(epochs, frozen=False, lr=(half / 100, half), pct_start=0.3, div=5.0)
    return (head, everything) if frozen_epochs else (everything,)
