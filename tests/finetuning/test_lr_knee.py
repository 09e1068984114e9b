"""The finder's knee: where it lies, how long its sweep is, and the head that it is made for."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("timm", reason="timm is not installed")

from torch.nn.functional import cross_entropy  # noqa: E402

from tellapart.finetuning.frozen import FrozenOptions, Vectors, train_head  # noqa: E402
from tellapart.finetuning.heads import Head  # noqa: E402
from tellapart.finetuning.lr_find import _HeadStepper  # noqa: E402
from tellapart.finetuning.lr_finder import Sweep, matched_steps, suggest, sweep  # noqa: E402
from tellapart.finetuning.schedule import one_cycle  # noqa: E402

SPAN = (1e-5, 1.0)


def pictures(n: int, seed: int = 0) -> Vectors:
    """Features of three classes that can nearly be told apart."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(3, size=n)
    features = 0.4 * rng.normal(size=(3, 60))[targets] + rng.normal(size=(n, 60))
    return Vectors.of([features.astype(np.float32)], targets)


def untrained(vectors: Vectors) -> Head:
    return Head.new("linear", vectors.features.numpy(), 3, 0)


def test_the_knee_is_where_the_fall_is_done() -> None:
    fall = np.clip(np.linspace(1.2, -0.4, 161), 0, 1)  # to step 120 of 160, and flat from there on
    losses = fall + 1e-4 * np.random.default_rng(0).normal(size=(3, 161))
    found = Sweep(np.geomspace(*SPAN, 161), losses, losses)
    answer = suggest(found, knee=True)
    assert answer.knee == pytest.approx(1e-5 * 1e5 ** (119 / 160), rel=0.05)
    assert answer.rate == answer.knee
    assert answer.pair == (answer.knee / 100, answer.knee)
    assert answer.spread == pytest.approx(1, abs=0.05)
    assert f"lr={answer.knee:.1e}" in answer.sentence()
    plain = suggest(found)
    assert plain.knee is None
    assert plain.rate == plain.valley < answer.knee / 5
    assert plain.pair == (plain.valley / 100, plain.valley)
    flat = np.ones((3, 100))
    assert suggest(Sweep(np.geomspace(*SPAN, 100), flat, flat), knee=True).rate is None


@pytest.mark.parametrize("training_steps", [10, 40, 150])
def test_a_matched_sweep_goes_as_far_as_the_training(training_steps: int) -> None:
    """The sum of the rates so far is that of one cycle with the present rate as its highest."""
    rates = np.geomspace(*SPAN, matched_steps(*SPAN, training_steps))
    cycle = one_cycle(training_steps, np.array([rates[-1]]), div=25, pct_start=0.25)
    assert rates.sum() == pytest.approx(cycle.lrs.sum(), rel=0.15)


@pytest.mark.parametrize("epochs", [2, 10])
def test_a_training_is_done_at_the_knee_and_not_at_a_tenth_of_it(epochs: int) -> None:
    train, valid = pictures(300), pictures(300)

    def final(rate: float) -> float:
        head = untrained(train)
        train_head(head, train, FrozenOptions(epochs, rate))
        return float(cross_entropy(head(valid.features), valid.targets).detach())

    options = FrozenOptions(epochs, 1e-3)
    steps = matched_steps(*SPAN, len(options.cycle(train).lrs))
    stepper = _HeadStepper(untrained(train), train, options)
    found = sweep(stepper, lr_min=SPAN[0], lr_max=SPAN[1], steps=steps, smoothing=0.6)
    knee = suggest(found, knee=True).knee
    best = min(final(rate) for rate in np.geomspace(1e-4, 1, 13))
    assert final(knee) < 0.1 * np.log(3)
    assert final(knee) - best < 0.1 * np.log(3)
    assert final(knee / 10) > 2 * final(knee)


def test_the_head_is_put_back_and_short_batches_are_left_out() -> None:
    train = pictures(64 + 5)
    head = untrained(train)
    stepper = _HeadStepper(head, train, FrozenOptions(4, 1e-3))
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    stepper.begin(0)
    assert [len(next(stepper._rows)) for _ in range(5)] == [64] * 5
    assert stepper.step(1e-2) > stepper.step(1e-2) > 0
    stepper.end()
    assert all(torch.equal(before[name], tensor) for name, tensor in head.state_dict().items())
    stepper = _HeadStepper(head, pictures(20), FrozenOptions(4, 1e-3))
    stepper.begin(0)
    assert len(next(stepper._rows)) == 20  # all that there are
    stepper.end()
