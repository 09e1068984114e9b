"""One cycle and layer rates, against fastai's formulas written down once more."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellapart.errors import UsageError
from tellapart.finetuning.schedule import (
    FASTAI_1,
    FASTAI_2,
    Rate,
    Stage,
    fine_tune_plan,
    format_lr,
    layer_rates,
    one_cycle,
    parse_lr,
)  # fmt: skip

rates = st.floats(1e-9, 10)
positive = st.floats(1e-12, 1e6)


def cosine(start: float, end: float, position: float) -> float:
    return start + (1 + math.cos(math.pi * (1 - position))) * (end - start) / 2


def fastai_2(i: int, steps: int, s: float, start: float, middle: float, end: float) -> float:
    """`combined_cos` at the share of training that is done before step i."""
    p = i / steps
    return cosine(start, middle, p / s) if p < s else cosine(middle, end, (p - s) / (1 - s))


def fastai_1(steps: int, s: float, start: float, middle: float, end: float) -> list[float]:
    """Its two schedulers, stepped after each batch; the first batch sees the start."""
    up = int(steps * s)
    values, phases = [start], [(up, start, middle), (steps - up, middle, end)]
    for count, one, other in phases:
        values += [cosine(one, other, (n + 1) / count) for n in range(count)]
    return values[:steps]


@given(st.integers(1, 300), rates, st.floats(0.01, 0.99), st.floats(1, 100), st.floats(1, 1e6))
def test_every_step_is_fastai_2s(
    steps: int, lr: float, s: float, div: float, final_div: float
) -> None:
    cycle = one_cycle(steps, lr, div=div, final_div=final_div, pct_start=s)
    expected = [fastai_2(i, steps, s, lr / div, lr, lr / final_div) for i in range(steps)]
    assert cycle.lrs == pytest.approx(expected, rel=1e-9, abs=1e-15 * lr)
    momenta = [fastai_2(i, steps, s, 0.95, 0.85, 0.95) for i in range(steps)]
    assert cycle.momenta == pytest.approx(momenta, rel=1e-12)


@given(st.integers(4, 500), rates)
def test_every_step_is_fastai_1s(steps: int, lr: float) -> None:
    cycle = one_cycle(steps, lr, **FASTAI_1)
    expected = fastai_1(steps, 0.3, lr / 25, lr, lr / 25e4)
    assert cycle.lrs == pytest.approx(expected, rel=1e-9, abs=1e-15 * lr)
    assert cycle.momenta == pytest.approx(fastai_1(steps, 0.3, 0.95, 0.85, 0.95), rel=1e-12)


def test_the_default_is_fastai_2s() -> None:
    one, other = one_cycle(77, 3e-3), one_cycle(77, 3e-3, **FASTAI_2)
    assert np.array_equal(one.lrs, other.lrs)
    assert np.array_equal(one.momenta, other.momenta)
    assert FASTAI_1["final_div"] == 25 * 1e4


@given(st.integers(1, 200), st.lists(rates, min_size=1, max_size=6), st.floats(0, 1), st.booleans())
def test_bounds_and_phases(steps: int, highest: list[float], s: float, whole: bool) -> None:
    lr = np.array(highest)
    cycle = one_cycle(steps, lr, pct_start=s, whole_steps=whole)
    assert cycle.lrs.shape == (steps, len(lr))
    assert cycle.momenta.shape == (steps,)
    assert cycle.lrs.dtype == cycle.momenta.dtype == np.float64
    assert (cycle.lrs > 0).all()
    assert (cycle.lrs <= lr * (1 + 1e-12)).all()
    assert (cycle.momenta >= 0.85 - 1e-12).all()
    assert (cycle.momenta <= 0.95 + 1e-12).all()
    up = np.arange(steps) / steps < (int(steps * s) / steps if whole else s)
    for values, sign in ((cycle.lrs, 1), (cycle.momenta[:, None], -1)):
        assert (sign * np.diff(values[up], axis=0) >= -1e-15).all()
        assert (sign * np.diff(values[~up], axis=0) <= 1e-15).all()
    for group, rate in enumerate(lr):  # each group goes its own way by the same shape
        assert cycle.lrs[:, group] == pytest.approx(cycle.lrs[:, 0] * rate / lr[0], rel=1e-9)


@pytest.mark.parametrize(
    ("steps", "lr", "options"),
    [
        (0, 1e-3, {}), (-1, 1e-3, {}), (5, 0.0, {}), (5, -1e-3, {}), (5, math.nan, {}),
        (5, math.inf, {}), (5, 1e-3, {"pct_start": 1.1}), (5, 1e-3, {"pct_start": math.nan}),
        (5, 1e-3, {"div": 0}), (5, 1e-3, {"final_div": -1}), (5, np.ones((2, 2)), {}),
    ],
)  # fmt: skip
def test_values_out_of_range(steps: int, lr: float, options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        one_cycle(steps, lr, **options)


# Rates of layer groups.


@given(rates, rates, st.integers(2, 20))
def test_a_pair_is_geometric(first: float, last: float, groups: int) -> None:
    for lr in ((first, last), slice(first, last)):
        found = layer_rates(lr, groups)
        step = (last / first) ** (1 / (groups - 1))  # fastai's even_mults
        assert found == pytest.approx([first * step**i for i in range(groups)], rel=1e-9)
        assert found[0] == first
        assert found[-1] == last
        assert found[1:] / found[:-1] == pytest.approx(step, rel=1e-9)


@given(rates, st.integers(1, 20))
def test_a_number_and_a_slice_of_the_last(lr: float, groups: int) -> None:
    assert layer_rates(lr, groups).tolist() == [lr] * groups
    assert layer_rates(slice(lr), groups).tolist() == [lr / 10] * (groups - 1) + [lr]
    assert layer_rates((lr / 7, lr), 1).tolist() == [lr]


@pytest.mark.parametrize(
    "lr",
    [0, -1.0, math.nan, math.inf, (1e-3, 0), (1e-3, None), (None, 1e-3), (1e-5, 1e-4, 1e-3),
     slice(None), slice(1e-5, 1e-4, 1e-3), slice(1e-5, None), "1e-3", None, slice(0, 1e-3)],
)  # fmt: skip
def test_rates_that_are_none(lr: Rate) -> None:
    with pytest.raises(UsageError, match="expected"):
        layer_rates(lr, 3)


def test_no_layer_group() -> None:
    with pytest.raises(UsageError, match="0 layer groups"):
        layer_rates(1e-3, 0)


@given(positive | st.tuples(positive, positive) | positive.map(slice))
def test_text_and_back(lr: Rate) -> None:
    assert parse_lr(format_lr(lr)) == lr


@pytest.mark.parametrize(
    ("text", "lr"),
    [
        ("3e-3", 3e-3), ("1e-5..1e-4", (1e-5, 1e-4)), ("0.001..0.1", (1e-3, 0.1)),
        (" 1e-5 .. 1e-4 ", (1e-5, 1e-4)), ("..3e-3", slice(3e-3)), ("1e-4..1e-4", (1e-4, 1e-4)),
    ],
)  # fmt: skip
def test_texts(text: str, lr: Rate) -> None:
    assert parse_lr(text) == lr


@pytest.mark.parametrize(
    "text", ["", "fast", "0", "-1e-3", "nan", "inf", "1e-5..", "..", "1e-5...1e-4", "1e-5..1e-4..1e-3",
             "1e-5,1e-4", "1e-5-1e-4", "0..1e-3", "1e-3..nan"],
)  # fmt: skip
def test_other_texts(text: str) -> None:
    with pytest.raises(UsageError, match=r"like 1e-5\.\.1e-4"):
        parse_lr(text)


# The plan.


def test_the_plan_is_fastai_2s() -> None:
    head, everything = fine_tune_plan(4)
    assert head == Stage(1, frozen=True, lr=slice(2e-3), div=25, final_div=1e5, pct_start=0.99)
    assert everything == Stage(
        4, frozen=False, lr=(1e-3 / 100, 1e-3), div=5, final_div=1e5, pct_start=0.3
    )
    cycle = everything.cycle(10, 3)
    expected = [
        [fastai_2(i, 40, 0.3, lr / 5, lr, lr / 1e5) for lr in (1e-5, 1e-4, 1e-3)] for i in range(40)
    ]
    assert cycle.lrs == pytest.approx(np.array(expected), rel=1e-9)
    assert head.cycle(10, 3).lrs.max(axis=0) == pytest.approx([2e-4, 2e-4, 2e-3], rel=0.02)
    assert [stage.epochs for stage in fine_tune_plan(3, 1e-3, frozen_epochs=2)] == [2, 3]
    assert [stage.frozen for stage in fine_tune_plan(3, frozen_epochs=0)] == [False]
    for wrong in ((0, 1e-3, 1), (1, 0.0, 1), (1, 1e-3, -1)):
        with pytest.raises(UsageError, match="expected"):
            fine_tune_plan(*wrong[:2], frozen_epochs=wrong[2])
