"""Explanations: constructed stages get the right one, healthy ones none."""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellapart.evaluation.metrics import wilson_interval
from tellapart.finetuning.explanation import Epoch, Explanation, StageOutcome, explain

Losses = Sequence[tuple[float, float]]


def history(
    losses: Losses, errors: Sequence[int], n: int = 105, lr: float = 3e-3, **last: tuple[int, ...]
) -> list[Epoch]:
    """`last` holds the class counts, given to each epoch."""
    return [
        Epoch(i, train, valid, wrong, n, 3.0, lr, **last)
        for i, ((train, valid), wrong) in enumerate(zip(losses, errors, strict=True))
    ]


def kinds(found: Sequence[Explanation]) -> list[str]:
    return [finding.kind for finding in found]


def outcome(name: str, n: int, wrong: Sequence[int], loss: float = 0.1) -> StageOutcome:
    correct = np.ones(n, bool)
    correct[list(wrong)] = False
    return StageOutcome(name, correct, loss)


SEED = history(
    [(0.735565, 0.621040), (0.421396, 0.046641), (0.296799, 0.016185), (0.222645, 0.011620)],
    [40, 1, 1, 1],
)
HEALTHY = history([(1.4, 0.9), (0.8, 0.5), (0.5, 0.42), (0.4, 0.40)], [60, 38, 31, 30], n=400)


# Constructed stages.


def test_the_seeds_own_table() -> None:
    (found,) = explain(SEED)
    assert found.kind == "granularity"
    for words in ("1 of 105", "0.95 %", "0.2–5.2 %", "last 3 epochs", "0.047 to 0.012"):
        assert words in found.sentence


def test_the_other_seeds_tables() -> None:
    """Constant too, but with 51 and 45 errors of 856: chance, not granularity."""
    assert explain(history([(0.186892, 0.163934), (0.139290, 0.150968)], [51, 51], 856)) == []
    assert explain(history([(0.114904, 0.150118), (0.110616, 0.144483)], [45, 45], 856)) == []
    (found,) = explain(history([(0.040849, 0.050569), (0.036746, 0.045013)], [2, 2]))
    assert found.kind == "granularity"


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_a_rate_a_thousand_times_too_low(classes: int) -> None:
    start = math.log(classes) * 1.05
    losses = [(start * (1 - 1e-3 * i), start * (0.98 - 8e-4 * i)) for i in range(4)]
    counts = tuple([105 // classes] * classes)
    (found,) = explain(history(losses, [52, 52, 51, 52], lr=3e-6, true_counts=counts))
    assert found.kind == "rate_too_low"
    assert "3.0e-06" in found.sentence
    assert "lr_find" in found.next_step
    assert kinds(explain(history(losses, [52, 52, 51, 52], lr=3e-6))) == ["rate_too_low"]


@given(st.floats(1e-9, 2e-3), st.floats(1e-8, 1e-2))
def test_the_factor_grows_as_the_losses_stand_still(fall: float, lr: float) -> None:
    losses = [(0.7 * (1 - fall * i), 0.7 * (1 - fall * i)) for i in range(4)]
    (found,) = explain(history(losses, [50] * 4, lr=lr))
    factor = int(found.next_step.split("about ")[1].split(" times")[0].replace(",", ""))
    assert factor in (10, 100, 1000)
    assert found.next_step.count(f"{factor * lr:.0e}") == 1
    if fall < 5e-5:
        assert factor == 1000


def test_all_predicted_as_one_class() -> None:
    losses = [(0.9, 0.75), (0.8, 0.70), (0.72, 0.69)]
    stage = history(losses, [50, 50, 50], predicted_counts=(105, 0), true_counts=(55, 50))
    (found,) = explain(stage, classes=["anime", "cartoon"])
    assert found.kind == "collapsed"
    assert 'predicted as "anime"' in found.sentence
    assert "50 of 105" in found.sentence
    assert "class 0" in explain(stage)[0].sentence


def test_all_labels_of_one_class() -> None:
    stage = history(
        [(0.3, 0.1), (0.1, 0.01), (0.01, 0.001)], [9, 0, 0], predicted_counts=(0, 105),
        true_counts=(0, 105),
    )  # fmt: skip
    (found,) = explain(stage, classes=["anime", "cartoon"])
    assert found.kind == "collapsed"
    assert 'labelled "cartoon"' in found.sentence


def test_no_errors_and_the_loss_still_falls() -> None:
    losses = [(0.5, 0.2), (0.2, 0.02), (0.1, 0.008)]
    (found,) = explain(history(losses, [9, 0, 0]))
    assert found.kind == "saturated"
    assert "0 of 105" in found.sentence
    assert "3.5 %" in found.sentence
    assert kinds(explain(history(losses, [90, 2, 1], n=5000))) == ["saturated"]
    assert explain(history(losses, [9, 2, 1])) == []  # 2 of 105 is not nearly none
    assert explain(history([(0.5, 0.2), (0.2, 0.02), (0.1, 0.0199)], [9, 0, 0])) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_a_loss_that_is_not_finite(bad: float, which: int) -> None:
    losses = [(0.7, 0.7), (0.6, 0.6)]
    losses[1] = (bad, 0.6) if which == 0 else (0.6, bad)
    (found,) = explain(history(losses, [50, 50]))
    assert found.kind == "diverged"
    assert "epoch 1" in found.sentence


def test_a_loss_that_rises_beyond_its_start() -> None:
    (found,) = explain(history([(0.7, 0.7), (1.4, 3.0), (2.9, 8.0)], [50, 53, 52]))
    assert found.kind == "diverged"
    assert "0.700 to 2.900" in found.sentence
    bump = history([(0.7, 0.7), (1.4, 1.2), (0.5, 0.4)], [50, 53, 20])
    assert explain(bump) == []  # it came down again


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ([90, 40, 40, 39], "too sure"),
        ([90, 40, 42, 44], "chance"),
        ([90, 40, 50, 60], "it matters"),
    ],
)
def test_overfitting_and_whether_it_matters(errors: list[int], words: str) -> None:
    stage = history([(1.0, 0.8), (0.5, 0.40), (0.3, 0.46), (0.1, 0.55)], errors, n=500)
    (found,) = explain(stage)
    assert found.kind == "overfitting"
    assert words in found.sentence
    assert "For 2 epochs" in found.sentence
    assert "with 2 epochs" in found.next_step
    shorter = history([(1.0, 0.8), (0.5, 0.40), (0.3, 0.46)], [90, 40, 41], n=500)
    assert explain(shorter) == []  # one epoch may be chance
    down_again = history(
        [(1.0, 0.8), (0.5, 0.40), (0.3, 0.46), (0.2, 0.41)], [90, 40, 41, 42], n=500
    )
    assert explain(down_again) == []


# A stage against the one before.


def test_better_and_worse() -> None:
    some, all_ = outcome("stage-1", 200, range(30), 0.4), outcome("stage-2", 200, range(9), 0.2)
    (found,) = explain(HEALTHY, some, all_)
    assert found.kind == "better"
    assert "21 became right and 0 wrong" in found.sentence
    assert "9 of 200 validation images are wrong, after 30" in found.sentence
    (found,) = explain(HEALTHY, all_, some)
    assert found.kind == "worse"
    assert "back to stage-2" in found.next_step


def test_no_better_and_where_to_stop() -> None:
    """The first seed: 1 of 105, then 2 of 105, and nothing to be seen by either."""
    one, two = outcome("stage-1", 105, [3], 0.0443), outcome("stage-2", 105, [3, 60], 0.0450)
    found = explain(HEALTHY, one, two)
    assert kinds(found) == ["no_better", "stop_here"]
    assert "2 of 105 validation images are wrong, after 1 in stage-1" in found[0].sentence
    assert "cannot show an improvement" in found[0].sentence
    assert "0.2–5.2 %" in found[1].sentence
    assert "with stage-1" in found[1].next_step
    lower = outcome("stage-2", 105, [3, 60], 0.02)
    assert kinds(explain(HEALTHY, one, lower)) == ["no_better"]


def test_equal_stages_do_not_differ() -> None:
    one = outcome("a", 50, [1, 2])
    assert "p = 1" in explain(HEALTHY, one, one)[0].sentence


# What is refused, and what is common to all.


def test_what_does_not_fit_together() -> None:
    one, longer = outcome("a", 50, []), outcome("b", 51, [])
    with pytest.raises(ValueError, match="0 epochs"):
        explain([])
    with pytest.raises(ValueError, match="1 image"):
        explain(history([(0.5, 0.5)], [0], n=0))
    with pytest.raises(ValueError, match="both stages"):
        explain(HEALTHY, one)
    with pytest.raises(ValueError, match="bool arrays"):
        explain(HEALTHY, one, longer)


loss = st.floats(0, 20) | st.sampled_from([math.nan, math.inf, 0.0])


@given(st.data())
def test_any_stage_gets_sentences_with_counts_and_a_next_step(data: st.DataObject) -> None:
    length, n = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5000))
    counts = data.draw(st.none() | st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple))
    losses = data.draw(st.lists(st.tuples(loss, loss), min_size=length, max_size=length))
    errors = data.draw(st.lists(st.integers(0, n), min_size=length, max_size=length))
    stage = history(losses, errors, n, predicted_counts=counts, true_counts=counts)
    found = explain(stage)
    assert len({finding.kind for finding in found}) == len(found)
    for finding in found:
        assert finding.sentence.endswith(".")
        assert finding.next_step.endswith(".")
        assert str(finding) == f"{finding.sentence} {finding.next_step}"
        low, high = wilson_interval(errors[-1], n)
        if "interval" in finding.sentence:
            assert f"{100 * low:.1f}–{100 * high:.1f} %" in finding.sentence


# Healthy stages.


def simulated(
    rng: np.random.Generator,
    n: int,
    fewest_errors: float,
    noisiest: float = 0.05,
    flicker: float = 0.15,
) -> list[Epoch]:
    """2 to 10 epochs whose losses fall exponentially towards their end, with noise from 1 % to
    `noisiest`. Each image has its own difficulty, so that errors persist from epoch to epoch as they
    do in truth, but for a `flicker`."""
    k, length = int(rng.integers(2, 11)), int(rng.integers(2, 11))
    lowest = max(0.01, fewest_errors / n)
    end = float(rng.uniform(lowest, min(max(0.3, 1.5 * lowest), 0.4)))
    start = max(1 - 1 / k, end) * rng.uniform(0.6, 1)
    speed, noise = rng.uniform(0.5, 1.5), rng.uniform(0.01, noisiest)
    ability, rows = rng.normal(size=n), []
    valid_end, train_end = end * rng.uniform(2, 3.5), end * rng.uniform(1.5, 4)
    for i in range(length):
        left = math.exp(-speed * i) * rng.uniform(0.9, 1)
        share = end + (max(start, end) - end) * left
        hard = NormalDist().inv_cdf(min(share, 0.99)) * math.hypot(1, flicker)
        errors = int((ability + flicker * rng.normal(size=n) < hard).sum())
        valid, train = (
            (final + max(math.log(k) - final, 0.1) * left) * math.exp(noise * rng.normal())
            for final in (valid_end, train_end)
        )
        counts = tuple(np.bincount(rng.integers(k, size=n), minlength=k).tolist())
        rows.append(Epoch(i, train, valid, errors, n, 3.0, 3e-3, counts, counts))
    return rows


def alarms(
    fewest_errors: float, seed: int, each: int, noisiest: float = 0.05, flicker: float = 0.15
) -> tuple[Counter[str], int]:
    rng, found, total = np.random.default_rng(seed), Counter[str](), 0
    for n in (50, 105, 200, 500, 1000, 2000, 5000):
        for _ in range(each):
            found.update(
                kinds(explain(simulated(rng, n, fewest_errors, noisiest, flicker))) or ["none"]
            )
            total += 1
    return found, total


def test_a_healthy_stage_needs_no_explanation() -> None:
    assert explain(HEALTHY) == []
    found, total = alarms(10, seed=0, each=200)
    assert total - found["none"] <= 0.02 * total, found
    found, total = alarms(10, seed=2, each=100, noisiest=0.1, flicker=0.03)
    assert total - found["none"] <= 0.02 * total, found


def test_with_few_errors_only_what_is_true_is_found() -> None:
    """With 0 to 5 errors the count can stay as it is in healthy stages too; that is said, and true."""
    found, total = alarms(0, seed=1, each=100)
    false = total - found["none"] - found["granularity"] - found["saturated"]
    assert false <= 0.02 * total, found
