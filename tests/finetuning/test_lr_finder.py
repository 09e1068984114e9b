"""The learning-rate finder: the sweep, what it suggests, what it refuses, and its picture."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tellapart.errors import UsageError
from tellapart.finetuning.lr_finder import METHODS, Suggestions, Sweep, suggest, sweep
from tellapart.finetuning.lr_finder_plot import draw, plot


class Told:
    """Losses that `tell(restart)` yields; counts what is called."""

    def __init__(self, tell: Callable[[int], Iterator[float]]) -> None:
        self.tell, self.calls, self.seen = tell, [], []

    def begin(self, restart: int) -> None:
        self.calls.append(f"begin {restart}")
        self.losses = self.tell(restart)

    def step(self, lr: float) -> float:
        self.seen.append(lr)
        return next(self.losses)

    def end(self) -> None:
        self.calls.append("end")


class Softmax:
    """A linear classifier of Gaussian features, trained by Adam."""

    def __init__(self, seed: int, separation: float = 0.1) -> None:
        rng = np.random.default_rng(seed)
        self.seed, self.y = seed, rng.integers(4, size=300)
        centres = separation * rng.normal(size=(4, 200))
        self.x = centres[self.y] + rng.normal(size=(300, 200))
        self.w = 0.02 * rng.normal(size=(200, 4))

    def begin(self, restart: int) -> None:
        self.rng, self.kept = np.random.default_rng((self.seed, restart)), self.w.copy()
        self.m, self.v, self.t = np.zeros_like(self.w), np.zeros_like(self.w), 0

    def step(self, lr: float) -> float:
        rows = self.rng.choice(len(self.y), 64, replace=False)
        logits = self.x[rows] @ self.w
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        own = (np.arange(64), self.y[rows])
        loss = float(-np.log(np.maximum(p[own], 1e-30)).mean())
        p[own] -= 1
        gradient, self.t = self.x[rows].T @ p / 64, self.t + 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.99 * self.v + 0.01 * gradient**2
        step = self.m / (1 - 0.9**self.t) / (np.sqrt(self.v / (1 - 0.99**self.t)) + 1e-5)
        self.w = self.w - lr * step
        return loss

    def end(self) -> None:
        self.w = self.kept


def told(curve: NDArray[np.float64], restarts: int = 3, **options: float) -> Sweep:
    return sweep(Told(lambda restart: iter(curve)), steps=len(curve), restarts=restarts, **options)  # type: ignore[arg-type]


def bowl(n: int = 100, noise: float = 0.0, seed: int = 0) -> NDArray[np.float64]:
    """Flat, then falling, then rising steeply, as loss curves do."""
    x = np.linspace(0, 1, n)
    curve = 2 - 1.2 / (1 + np.exp(-(x - 0.6) * 20)) + np.exp((x - 0.9) * 30)
    return curve + noise * np.random.default_rng(seed).normal(size=n)


# The sweep.


def test_rates_are_exponential() -> None:
    stepper = Told(lambda restart: iter([1.0] * 100))
    found = sweep(stepper)
    assert found.rates[[0, -1]] == pytest.approx([1e-7, 10])
    assert found.rates[1:] / found.rates[:-1] == pytest.approx(1e8 ** (1 / 99))
    assert stepper.seen == found.rates.tolist() * 3
    assert stepper.calls == ["begin 0", "end", "begin 1", "end", "begin 2", "end"]
    assert found.losses.shape == found.smoothed.shape == (3, 100)
    assert found.restarts == 3


@given(st.lists(st.floats(0.5, 1.5), min_size=20, max_size=60), st.floats(0, 0.99))
def test_smoothing_is_exponential_and_corrected(losses: list[float], beta: float) -> None:
    found = sweep(Told(lambda restart: iter(losses)), steps=len(losses), restarts=1, smoothing=beta)
    for i in range(len(losses)):
        weights = [beta ** (i - j) for j in range(i + 1)]
        expected = np.average(losses[: i + 1], weights=weights)
        assert found.smoothed[0, i] == pytest.approx(expected, rel=1e-9)
    assert np.array_equal(found.losses[0], losses)


def test_a_restart_stops_where_it_blows_up() -> None:
    def tell(restart: int) -> Iterator[float]:
        yield from [1.0] * 30 + [4.01 if restart else math.nan] * 70

    found = sweep(Told(tell), smoothing=0, restarts=2)
    assert np.isfinite(found.losses).sum(axis=1).tolist() == [30, 31]
    assert np.isnan(found.smoothed[0, 30:]).all()
    assert np.isnan(found.median[30:]).all()  # of one that stopped and one that runs
    assert found.band[1][30] == 4.01
    assert np.isnan(found.band[0][31:]).all()


def test_a_hard_minibatch_near_zero_is_no_blow_up() -> None:
    """A head that fits its pictures: most minibatches lose 0.002, one picture in ten of them 0.1."""
    rng = np.random.default_rng(0)
    losses = np.where(rng.random((3, 100)) < 0.1, 0.1, 0.002)
    losses[:, :2] = 0.002, 0.1  # what stopped a sweep after two rates
    found = sweep(Told(lambda restart: iter(losses[restart])), smoothing=0.5)
    assert np.isfinite(found.losses).all()
    assert "blows up" not in suggest(found).refusal
    losses[:, 70:] = 2.0  # more than chance between minibatches makes
    stopped = sweep(Told(lambda restart: iter(losses[restart])), smoothing=0.5)
    assert np.isfinite(stopped.losses).sum(axis=1).tolist() == [71] * 3


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops(loss: float) -> None:
    found = told(np.array([1.0] * 40 + [loss] + [1.0] * 59))
    assert np.isfinite(found.losses).sum(axis=1).tolist() == [40] * 3


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_the_end_is_told_whatever_happens(error: type[BaseException]) -> None:
    def tell(restart: int) -> Iterator[float]:
        yield 1.0
        raise error

    stepper = Told(tell)
    with pytest.raises(error):
        sweep(stepper)
    assert stepper.calls == ["begin 0", "end"]


def test_the_weights_are_as_before() -> None:
    model = Softmax(0)
    before = model.w.copy()
    one, other = sweep(model), sweep(model)
    assert np.array_equal(model.w, before)
    assert np.array_equal(one.losses, other.losses)
    assert not np.array_equal(one.losses[0], one.losses[1])


@pytest.mark.parametrize(
    "options",
    [{"lr_min": 0}, {"lr_min": 1, "lr_max": 1}, {"lr_max": math.inf}, {"steps": 19}, {"restarts": 0},
     {"smoothing": 1}, {"smoothing": -0.1}, {"blow_up": 1}, {"lr_min": math.nan}],
)  # fmt: skip
def test_values_out_of_range(options: dict[str, float]) -> None:
    stepper = Told(lambda restart: iter([1.0] * 100))
    with pytest.raises(UsageError, match="expected"):
        sweep(stepper, **options)  # type: ignore[arg-type]
    assert stepper.calls == []


# Suggestions.


def fastai_valley(rates: list[float], losses: list[float]) -> float:
    n, start, end, longest = len(losses), 0, 0, [1] * len(losses)
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j] and longest[i] < longest[j] + 1:
                longest[i] = longest[j] + 1
            if longest[end] < longest[i]:
                end, start = i, i - longest[i]
    third = (end - start) / 3
    return rates[max(start + int(third) + int(third / 2), 0)]  # fastai wraps round below 0


def fastai_slide(rates: list[float], losses: list[float]) -> float:
    slope, right, left = np.gradient(losses), -1, -16
    found = rates[left]
    while left >= -len(losses) and abs(slope[right] - slope[left]) > 0.005:
        found, right, left = rates[left], right - 1, left - 1
    return found


@given(st.lists(st.floats(0, 5, width=16), min_size=16, max_size=85))
def test_methods_are_fastais(losses: list[float]) -> None:
    rates, curve = np.geomspace(1e-6, 1, len(losses)), np.array(losses)
    assert METHODS["valley"](rates, curve) == fastai_valley(rates.tolist(), losses)
    assert METHODS["slide"](rates, curve) == fastai_slide(rates.tolist(), losses)
    assert METHODS["minimum"](rates, curve) == rates[losses.index(min(losses))] / 10
    slopes = [
        (losses[i + 1] - losses[i]) / math.log(rates[i + 1] / rates[i])
        for i in range(len(losses) - 1)
    ]
    steepest = METHODS["steep"](rates, curve)
    assert slopes[rates.tolist().index(steepest)] == pytest.approx(min(slopes))


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_suggestions_shift_with_the_axis(seed: int, factor: float) -> None:
    curve = bowl(noise=0.02, seed=seed)
    one = suggest(told(curve, smoothing=0.9))
    other = suggest(told(curve, smoothing=0.9, lr_min=1e-7 * factor, lr_max=10 * factor))
    for name in METHODS:
        assert getattr(other, name) == pytest.approx(factor * getattr(one, name), rel=1e-6)
    assert other.spread == pytest.approx(one.spread)


@pytest.mark.parametrize("steps", [40, 100, 300])
@pytest.mark.parametrize("restarts", [1, 2, 3])
def test_a_bowl(steps: int, restarts: int) -> None:
    found = told(bowl(steps, noise=0.01), restarts, smoothing=0.5)
    answer = suggest(found)
    assert answer.refusal is None
    bottom = 1e-7 * 1e8**0.8  # where the curve turns
    for name in METHODS.keys() - ({"slide"} if steps < 100 else set()):
        assert 1e-5 < getattr(answer, name) <= bottom
    assert answer.pair == (answer.valley / 100, answer.valley)
    assert answer.spread == (None if restarts == 1 else 1)
    assert f"lr={answer.valley:.1e}" in answer.sentence()
    assert answer.sentence().endswith(".")


def test_a_classifier_gets_alike_suggestions_from_any_seed() -> None:
    medians, singles = [], []
    for seed in range(8):
        found = sweep(Softmax(seed))
        medians.append(suggest(found).valley)
        first = Sweep(found.rates, found.losses[:1], found.smoothed[:1])
        singles.append(suggest(first).valley)
    assert max(medians) / min(medians) < 5
    assert np.log(medians).std() < np.log(singles).std()


# Refusals.


@given(st.floats(0, 100), st.integers(20, 150), st.integers(1, 4))
def test_a_constant_curve_is_refused(level: float, steps: int, restarts: int) -> None:
    answer = suggest(told(np.full(steps, level), restarts))
    assert answer.valley is answer.steep is answer.slide is answer.minimum is answer.pair is None
    assert answer.refusal == answer.sentence()
    assert steps < 25 or "flat" in answer.refusal


@pytest.mark.parametrize(
    "draw_loss",
    [
        lambda rng: 2.3 + 0.1 * rng.normal(), lambda rng: 2.3 + 0.5 * rng.normal(),
        lambda rng: rng.exponential(), lambda rng: math.exp(0.7 * rng.normal()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("restarts", [1, 3])
def test_noise_is_refused(draw_loss: Callable[[np.random.Generator], float], restarts: int) -> None:
    """In at least 99 % of sweeps."""
    suggested = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)

        def tell(restart: int, rng: np.random.Generator = rng) -> Iterator[float]:
            while True:
                yield draw_loss(rng)

        suggested += suggest(sweep(Told(tell), restarts=restarts)).refusal is None
    assert suggested <= 2


def test_a_curve_that_only_rises_is_refused() -> None:
    rising = 0.15 + np.exp(np.linspace(-12, 0.5, 100))
    answer = suggest(told(rising, smoothing=0.5))
    assert "only rises" in answer.refusal
    assert "0.150" in answer.refusal


def test_a_curve_that_is_too_short_is_refused() -> None:
    answer = suggest(told(np.array([1.0] * 8 + [math.nan] * 92)))
    assert "after 8 of 100 rates" in answer.refusal
    assert "lower rate" in answer.refusal
    nothing = suggest(told(np.full(100, math.nan)))
    assert "after 0 of 100 rates" in nothing.refusal


# The picture.


def labels_overlap(found: Sweep, answer: Suggestions) -> bool:
    figure = draw(found, answer)
    figure.canvas.draw()
    boxes = [
        text.get_window_extent()
        for text in [*figure.axes[0].texts, *figure.texts]
        if text.get_text()
    ]
    inside = all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)
    apart = not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    return not (inside and apart)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".PNG"])
def test_the_picture(suffix: str, tmp_path: Path) -> None:
    found = sweep(Softmax(0))
    answer, path = suggest(found), tmp_path / f"lr{suffix}"
    plot(found, answer, path)
    raw = path.read_bytes()
    if suffix == ".svg":
        assert raw.startswith(b"<?xml")
    else:
        with Image.open(path) as picture:
            assert min(picture.size) >= 500
    plot(found, answer, path)
    assert path.read_bytes() == raw
    axes = draw(found, answer).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "learning rate"
    assert axes.get_ylabel() == "training loss, smoothed"
    shown = [text.get_text().split(":")[0] for text in axes.texts]
    assert sorted(shown) == ["minimum / 10", "slide", "steep", "valley"]


@pytest.mark.parametrize(
    "four",
    [(1e-3, 1e-3, 1e-3, 1e-3), (1e-7, 1.1e-7, 9, 10), (1e-4, 1e-3, 3e-3, 1e-2), (10, 9, 8, 7),
     (1e-8, 1e-9, 1e-9, 20)],
)  # fmt: skip
def test_no_labels_overlap(four: tuple[float, float, float, float]) -> None:
    found = told(bowl())
    assert not labels_overlap(found, Suggestions(*four, spread=1.2, restarts=3))


def test_the_knee_is_marked_as_the_default() -> None:
    found = told(bowl())
    answer = Suggestions(1e-4, 1e-4, 1e-3, 1e-3, spread=1.2, restarts=3, knee=1.1e-3)
    assert not labels_overlap(found, answer)
    bold = [
        text.get_text() for text in draw(found, answer).axes[0].texts if text.get_weight() == "bold"
    ]
    assert bold == ["knee: 1.1e-03"]


def test_a_refusal_is_drawn_too(tmp_path: Path) -> None:
    for curve in (np.ones(100), np.zeros(100), np.full(100, math.nan)):
        found = told(curve)
        answer = suggest(found)
        assert answer.refusal is not None
        plot(found, answer, tmp_path / "refused.png")
        assert not labels_overlap(found, answer)


def test_another_suffix(tmp_path: Path) -> None:
    found = told(bowl())
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        plot(found, suggest(found), tmp_path / "lr.pdf")


def test_nothing_draws_before_it_is_asked_to() -> None:
    code = "import sys, tellapart.finetuning.lr_finder_plot; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_matplotlib_the_extra_is_named() -> None:
    code = """
import sys; sys.modules["matplotlib"] = None
import numpy as np
from tellapart.finetuning.lr_finder import Sweep, suggest
from tellapart.finetuning.lr_finder_plot import draw
found = Sweep(np.geomspace(1e-7, 1, 100), np.ones((1, 100)), np.ones((1, 100)))
try: draw(found, suggest(found))
except Exception as error: print(type(error).__name__, error)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingExtra")
    assert 'pip install "tellapart[train]"' in done.stdout
