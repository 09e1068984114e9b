"""The learning-rate finder: a sweep of rising rates, repeated, and what its curve suggests.

Each restart trains one minibatch per rate from the same weights, the rates rising exponentially
(Smith 2017, arXiv:1506.01186; with fastai's smoothing, stop and suggestions). The suggestions are taken
from the median of the restarts, since a single curve's valley moves with the minibatches. Where the
curve says nothing, the finder says so and suggests nothing.

It knows training only by its loss: a rate that is good for a hundred steps may be too high for
thousands, unless the sweep is as dense as `matched_steps` has it; then the `knee` is the default, fastai's
valley otherwise. NumPy alone; drawing is in `lr_finder_plot`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from tellapart.errors import UsageError

__all__ = ["METHODS", "Stepper", "Suggestions", "Sweep", "matched_steps", "suggest", "sweep"]

Curve = NDArray[np.float64]

_FEWEST = 20  # steps; with fewer, what is left after cutting both ends is no curve
_FLAT = 0.01  # of the loss at the start
_FALLEN = 0.99  # of the whole fall, at the knee; what is left is flat, as _FLAT has it
_BEYOND_NOISE = 5.0  # standard errors, since the lowest of about ten windows is looked for


class Stepper(Protocol):
    """What `sweep` drives. After every `begin` that returned, `end` is called, whatever happens."""

    def begin(self, restart: int) -> None:
        """Keep the weights and the optimiser's state, without changing them; choose the minibatches
        by `restart`, 0 … restarts − 1."""

    def step(self, lr: float) -> float:
        """Train the next minibatch at `lr`, and give its loss before the step."""

    def end(self) -> None:
        """Put back exactly the weights and state that `begin` found."""


@dataclass(frozen=True)
class Sweep:
    """`rates` (steps,), rising in equal ratios; `losses` and `smoothed`, float64 (restarts, steps).

    NaN stands where a restart had stopped or its loss was not finite.
    """

    rates: Curve
    losses: Curve
    smoothed: Curve

    @property
    def restarts(self) -> int:
        return len(self.losses)

    @property
    def median(self) -> Curve:
        """Of the smoothed losses (steps,). A restart that stopped counts as infinitely high: leaving
        it out would let the curve fall where it rises."""
        return _median(self.smoothed)

    @property
    def band(self) -> tuple[Curve, Curve]:
        """The lowest and highest smoothed loss of the restarts that run, (steps,) each."""
        running = ~np.isnan(self.smoothed)
        low = np.where(running, self.smoothed, np.inf).min(axis=0)
        high = np.where(running, self.smoothed, -np.inf).max(axis=0)
        nobody = ~running.any(axis=0)
        return np.where(nobody, np.nan, low), np.where(nobody, np.nan, high)


def sweep(
    stepper: Stepper,
    *,
    lr_min: float = 1e-7,
    lr_max: float = 10.0,
    steps: int = 100,
    restarts: int = 3,
    smoothing: float = 0.98,
    blow_up: float = 4.0,
) -> Sweep:
    """Train `steps` ≥ 20 minibatches at rates from `lr_min` to `lr_max`, `restarts` times.

    The losses are smoothed exponentially with the factor `smoothing` in [0, 1), corrected for their
    start. A restart stops at a loss that is not finite, or whose smoothed value is above `blow_up`
    times the lowest and above `blow_up` times the range of the losses at the first tenth of the rates,
    where they differ by their minibatches alone: near 0, one hard picture makes many times the lowest.
    Raises UsageError for values out of range, and whatever `stepper` raises.

    >>> class Bowl:
    ...     def begin(self, restart): self.x = 1.0
    ...     def step(self, lr):
    ...         loss = self.x**2
    ...         self.x -= lr * 2 * self.x
    ...         return loss
    ...     def end(self): pass
    >>> found = sweep(Bowl(), lr_min=1e-4, lr_max=10, smoothing=0.5)
    >>> found.rates.shape, found.losses.shape
    ((100,), (3, 100))
    """
    _check(lr_min, lr_max, steps, restarts, smoothing, blow_up)
    rates = np.geomspace(lr_min, lr_max, steps)
    losses = np.full((restarts, steps), np.nan)
    smoothed = losses.copy()
    for restart in range(restarts):
        stepper.begin(restart)
        try:
            _run(stepper.step, rates, losses[restart], smoothed[restart], smoothing, blow_up)
        finally:
            stepper.end()
    return Sweep(rates, losses, smoothed)


def _check(
    lr_min: float, lr_max: float, steps: int, restarts: int, smoothing: float, blow_up: float
) -> None:
    if not 0 < lr_min < lr_max < math.inf:
        raise UsageError(f"rates from {lr_min} to {lr_max}: expected 0 < lowest < highest")
    if steps < _FEWEST or restarts < 1:
        raise UsageError(f"{steps} steps, {restarts} restarts: expected at least {_FEWEST} and 1")
    if not (0 <= smoothing < 1 and blow_up > 1):
        raise UsageError(
            f"smoothing {smoothing}, blow-up {blow_up}: expected smoothing in [0, 1) and a factor above 1"
        )


def _run(
    step: Callable[[float], float],
    rates: Curve,
    losses: Curve,
    smoothed: Curve,
    smoothing: float,
    blow_up: float,
) -> None:
    """One restart, written into `losses` and `smoothed` (steps,)."""
    average, lowest, settling = 0.0, math.inf, max(len(rates) // 10, 1)
    for i, rate in enumerate(rates):
        loss = float(step(float(rate)))
        if not math.isfinite(loss):
            return
        average = smoothing * average + (1 - smoothing) * loss
        losses[i], smoothed[i] = loss, average / (1 - smoothing ** (i + 1))
        lowest = min(lowest, smoothed[i])
        apart = float(np.ptp(losses[: min(i + 1, settling)]))
        if smoothed[i] > blow_up * max(lowest, apart) > 0:
            return


def matched_steps(lr_min: float, lr_max: float, training_steps: int) -> int:
    """How many steps a sweep takes that at each rate has gone as far as a whole training at that rate.

    One cycle of n steps has a mean rate of half its highest, so its rates add up to n/2 times that.
    Those of a sweep with m steps for each factor e add up to m times the rate it has come to. So m
    is n/2: then the sweep's curve is near the loss that one cycle ends with at each rate.

    >>> matched_steps(1e-5, 1.0, 16)
    93
    """
    return max(_FEWEST, 1 + round(training_steps / 2 * math.log(lr_max / lr_min)))


def _median(curves: Curve) -> Curve:
    """(steps,) of (restarts, steps), with NaN, which stands at the end of a row, as infinity."""
    middle = np.median(np.where(np.isnan(curves), np.inf, curves), axis=0)
    return np.where(np.isfinite(middle), middle, np.nan)


@dataclass(frozen=True)
class Suggestions:
    """Rates by four methods, or None and a `refusal` that says why.

    `valley`, the default, lies in the middle of the longest fall; `steep` where the loss falls
    fastest per ratio of rates; `slide` below the last steep part before the end; `minimum` is a
    tenth of the rate with the lowest loss. `knee`, where it was asked for, is the lowest rate at which
    99 % of the fall is done, and the default then. `spread` ≥ 1 is the factor between the restarts'
    own defaults, None with one.
    """

    valley: float | None
    steep: float | None
    slide: float | None
    minimum: float | None
    spread: float | None
    restarts: int
    refusal: str | None = None
    knee: float | None = None

    @property
    def rate(self) -> float | None:
        """The default, to be used as `lr=`: the knee where there is one, else the valley."""
        return self.valley if self.knee is None else self.knee

    @property
    def pair(self) -> tuple[float, float] | None:
        """(rate / 100, rate): rates from the first layer group to the last, usable as `lr=`."""
        return None if self.rate is None else (self.rate / 100, self.rate)

    def sentence(self) -> str:
        """What the sweep says and the next step, in plain words."""
        rate = self.rate
        if rate is None:
            return self.refusal or ""
        sure = (
            "one restart, so how sure this is is not known"
            if self.spread is None
            else f"{self.restarts} restarts lie within a factor of {self.spread:.1f}"
        )
        if self.knee is not None:
            return (
                f"A training of this length brings the loss down with rates from {rate:.1e} on ({sure}). "
                f"Train with lr={rate:.1e}."
            )
        return (
            f"The loss falls best around a rate of {rate:.1e} ({sure}). Train with "
            f"lr={rate:.1e}, or unfrozen with lr={rate / 100:.1e}..{rate:.1e}."
        )


def suggest(found: Sweep, *, knee: bool = False) -> Suggestions:
    """Rates by each of `METHODS` from the median curve, or the reason why there is none.

    As in fastai, the first tenth of the curve, where smoothing has not settled, and the last five
    values, where the loss blows up, are left out. All shift with the axis: multiplying the rates by a
    factor multiplies the suggestions by it. With `knee` that is suggested as well, and is the default:
    for sweeps of `matched_steps`. It is taken from the mean of the losses before smoothing, which lags.

    >>> rates, start = np.geomspace(1e-7, 10, 100), np.ones((3, 100))
    >>> print(suggest(Sweep(rates, start, start)).refusal)
    The loss stays at 1.000 at all 100 rates from 1e-07 to 1e+01, in 3 restarts: the curve is flat. \
Check that the layers to be trained are not frozen, or sweep to a higher rate.
    """
    if refusal := _refusal(found):
        return Suggestions(None, None, None, None, None, found.restarts, refusal)
    rates, curve = _usable(found.rates, found.median)
    own = [
        _knee(found.rates, raw[None]) if knee else _valley(*usable)
        for raw, row in zip(found.losses, found.smoothed, strict=True)
        if len((usable := _usable(found.rates, row))[0]) > 1
    ]
    spread = max(own) / min(own) if len(own) > 1 else None
    return Suggestions(
        _valley(rates, curve), _steep(rates, curve), _slide(rates, curve), _minimum(rates, curve),
        spread, found.restarts, knee=_knee(found.rates, found.losses) if knee else None,
    )  # fmt: skip


def _usable(rates: Curve, curve: Curve) -> tuple[Curve, Curve]:
    """The part that suggestions are taken from: up to where it stopped, without both ends."""
    gone = np.flatnonzero(np.isnan(curve))
    length = int(gone[0]) if len(gone) else len(curve)
    kept = slice(len(curve) // 10, max(length - 5, 0))
    return rates[kept], curve[kept]


def _valley(rates: Curve, curve: Curve) -> float:
    """Half the length of the longest falling subsequence, back from its end: fastai's place for it."""
    lengths = np.ones(len(curve), np.intp)
    for i in range(1, len(curve)):
        higher = lengths[:i][curve[:i] > curve[i]]
        lengths[i] = 1 + higher.max(initial=0)
    end = int(lengths.argmax())
    length = int(lengths[end])
    return float(rates[max(end - length + length // 3 + length // 6, 0)])


def _steep(rates: Curve, curve: Curve) -> float:
    return float(rates[(np.diff(curve) / np.diff(np.log(rates))).argmin()])


def _slide(rates: Curve, curve: Curve) -> float:
    """An interval of 15 steps slides down from the end as long as the slopes at its ends differ; its
    last left end. The slope is in units of loss per step, alike is within 0.005, as in fastai;
    both were set for sweeps of about 100 steps."""
    if len(curve) < 3:
        return float(rates[0])
    slope = np.gradient(curve)
    right = len(curve) - 1
    left = chosen = max(right - 15, 0)
    while left >= 0 and abs(slope[right] - slope[left]) > 0.005:
        chosen = left
        left, right = left - 1, right - 1
    return float(rates[chosen])


def _minimum(rates: Curve, curve: Curve) -> float:
    return float(rates[curve.argmin()]) / 10


def _knee(rates: Curve, losses: Curve) -> float:
    """The lowest rate at which _FALLEN of the fall is done, between rates by interpolation; of the
    mean of `losses` (restarts, steps) as far as all run, averaged over five neighbours. The lowest
    rate where nothing falls. Where the loss nearly stays at its lowest, the place of the lowest
    is chance; where it comes near that is not.

    >>> falling = np.maximum(1 - np.arange(41) / 20, 0)  # to step 20 of 40
    >>> print(f"{_knee(np.geomspace(1e-4, 1, 41), falling[None]):.1e}")
    1.3e-02
    """
    gone = np.flatnonzero(np.isnan(losses).any(axis=0))
    length = int(gone[0]) if len(gone) else len(rates)
    if length < 5:
        return float(rates[0])
    curve = np.convolve(losses[:, :length].mean(axis=0), np.full(5, 0.2), "valid")
    lowest = int(curve.argmin())
    level = curve[0] - _FALLEN * (curve[0] - curve[lowest])
    after = int((curve[: lowest + 1] <= level).argmax())
    if after == 0:
        return float(rates[0])
    share = (curve[after - 1] - level) / (curve[after - 1] - curve[after])
    place = np.interp(after - 1 + share + 2, np.arange(len(rates)), np.log(rates))
    return float(np.exp(place))


METHODS: Final[dict[str, Callable[[Curve, Curve], float]]] = {
    "valley": _valley,
    "steep": _steep,
    "slide": _slide,
    "minimum": _minimum,
}


def _refusal(found: Sweep) -> str | None:
    """Why the curve suggests nothing, or None. Judged by the losses before smoothing, whose noise
    can be measured: averages of neighbours against each other, over the restarts' median."""
    curve = _median(found.losses)
    curve = curve[: int(np.isnan(curve).argmax())] if np.isnan(curve).any() else curve
    width = max(5, len(found.rates) // 10)
    if len(curve) < 2 * width + 5 or len(_usable(found.rates, found.median)[0]) < 5:
        return (
            f"The loss blows up or is not finite after {len(curve)} of {len(found.rates)} rates, at "
            f"{found.rates[max(len(curve) - 1, 0)]:.0e}: too few to see a fall. Sweep from a lower rate."
        )
    levels = np.convolve(curve, np.full(width, 1 / width), "valid")
    lowest = width + int(levels[width:].argmin())  # an index into levels; none overlaps the start
    fall = float(levels[0] - levels[lowest])
    # Neighbours differ by noise alone, as long as the curve changes slowly (von Neumann 1941).
    steps = np.diff(curve[: lowest + width])
    noise = _BEYOND_NOISE * float(np.sqrt(np.square(steps).mean() / width))
    return _reason(found, levels, fall, noise)


def _reason(found: Sweep, levels: Curve, fall: float, noise: float) -> str | None:
    """The sentence for a curve of `levels` that falls by `fall`, where less than `noise` is chance."""
    n, low, high = len(found.rates), found.rates[0], found.rates[-1]
    where = f"at all {n} rates from {low:.0e} to {high:.0e}, in {found.restarts} restarts"
    start, range_ = float(levels[0]), float(np.ptp(levels))
    if fall > noise and fall > _FLAT * abs(start):
        return None
    if range_ <= _FLAT * abs(start):
        return (
            f"The loss stays at {start:.3f} {where}: the curve is flat. Check that the layers to be "
            "trained are not frozen, or sweep to a higher rate."
        )
    if float(levels[-1]) - start > max(noise, 0.1 * abs(start)) or np.isnan(found.losses).any():
        return (
            f"The loss never falls clearly below its start of {start:.3f}, it only rises, up to "
            f"{float(levels.max()):.3f} ({found.restarts} restarts): no rate helps in {n} steps. Stop "
            "here if the error rate is good enough, or train a stage at a tenth of the last rate."
        )
    return (
        f"The loss falls by {max(fall, 0):.3f} from {start:.3f}, less than the {noise:.3f} that chance "
        f"between minibatches can make, {where}: the curve is noise. Use more restarts, larger "
        "batches or a higher last rate."
    )
