"""Epochs on cached features: rates, order, weights and rows are what they are said to be."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")

from torch.nn.functional import cross_entropy  # noqa: E402

from tellapart.finetuning import frozen  # noqa: E402
from tellapart.finetuning.frozen import (  # noqa: E402
    FrozenOptions,
    Vectors,
    head_optimizer,
    head_step,
    train_head,
)
from tellapart.finetuning.heads import Head  # noqa: E402
from tellapart.finetuning.one_cycle import class_weights  # noqa: E402
from tellapart.finetuning.schedule import one_cycle  # noqa: E402

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
N, D, VIEWS, BATCH = 50, 8, 3, 16


def some(n=N, views=VIEWS, seed=0):
    generator = np.random.default_rng(seed)
    targets = np.arange(n) % 2
    parts = [generator.normal(size=(n, D)) + targets[:, None] for _ in range(views)]
    return Vectors.of([part.astype(np.float32) for part in parts], targets)


def new(kind="hidden", seed=0):
    return Head.new(kind, some().features.numpy(), 2, seed)


@pytest.fixture
def steps(monkeypatch):
    """What each step was done with: (rates, momenta, rows)."""
    seen = []

    def watched(head, optimizer, train, rows, options):
        groups = optimizer.param_groups
        seen.append(([g["lr"] for g in groups], [g["betas"] for g in groups], rows.tolist()))
        return head_step(head, optimizer, train, rows, options)

    monkeypatch.setattr(frozen, "head_step", watched)
    return seen


def test_rates_and_momenta_follow_one_cycle_at_every_step(steps):
    options = FrozenOptions(3, 4e-3, BATCH, div=10.0, pct_start=0.4)
    train_head(new(), some(), options)
    per_epoch = int(np.ceil(N * VIEWS / BATCH))
    cycle = one_cycle(3 * per_epoch, 4e-3, div=10.0, pct_start=0.4)
    assert [rates for rates, _, _ in steps] == [[lr, lr] for lr in cycle.lrs]
    assert [betas for _, betas, _ in steps] == [[(m, 0.99)] * 2 for m in cycle.momenta]


def test_an_epoch_sees_every_view_of_every_picture_once(steps):
    train_head(new(), some(), FrozenOptions(2, 1e-3, BATCH))
    rows = [row for _, _, rows in steps for row in rows]
    first, second = rows[: N * VIEWS], rows[N * VIEWS :]
    assert sorted(first) == sorted(second) == list(range(N * VIEWS))
    assert first != second


def test_views_keep_the_targets_of_their_pictures():
    features = np.arange(6, dtype=np.float32)[:, None]
    vectors = Vectors.of([features, features + 10], np.arange(6) % 3)
    assert torch.equal(vectors.features[:, 0] % 10 % 3, vectors.targets.float())


def test_a_lone_last_vector_joins_the_step_before(steps):
    train_head(new(), some(n=33, views=1), FrozenOptions(1, 1e-3, BATCH))
    assert [len(rows) for _, _, rows in steps] == [16, 17]
    assert [len(rows) for rows in some(n=34, views=1).plan(BATCH, 0)] == [16, 16, 2]


def test_the_seed_alone_decides():
    def answer(seed, noise):
        torch.manual_seed(noise)
        head = new(seed=0)
        train_head(head, some(), FrozenOptions(2, 1e-2, BATCH, seed=seed))
        return head.probe().logits(some().features.numpy())

    np.testing.assert_array_equal(answer(1, noise=1), answer(1, noise=2))
    assert np.abs(answer(1, noise=1) - answer(2, noise=1)).max() > 1e-3


def test_dropout_leaves_torchs_generator_as_it_was():
    before = torch.get_rng_state()
    train_head(new(), some(), FrozenOptions(1, 1e-2, BATCH))
    assert torch.equal(torch.get_rng_state(), before)


def test_another_process_ends_with_the_same_weights():
    code = "import test_frozen; print(test_frozen.end().hex())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == end().hex()


def end():
    head = new()
    train_head(head, some(), FrozenOptions(2, 1e-2, BATCH))
    return b"".join(array.tobytes() for array in head.probe().arrays.values())


def test_a_row_per_epoch_says_what_the_validation_pictures_say():
    heard, head, valid = [], new("linear"), some(n=20, views=1, seed=9)
    history = train_head(head, some(), FrozenOptions(3, 1e-2, BATCH), valid, on_epoch=heard.append)
    assert heard == history
    assert [row.epoch for row in history] == [0, 1, 2]
    last, guesses = history[-1], head.probe().logits(valid.features.numpy()).argmax(axis=1)
    with torch.inference_mode():
        assert last.valid_loss == float(cross_entropy(head(valid.features), valid.targets))
    wrong = int((guesses != valid.targets.numpy()).sum())
    assert (last.errors, last.n) == (wrong, 20)
    assert last.predicted_counts == tuple(np.bincount(guesses, minlength=2))
    assert last.true_counts == (10, 10)
    assert history[0].train_loss > last.train_loss
    assert not head.training


def test_without_validation_pictures_there_are_no_rows():
    heard = []
    assert train_head(new(), some(), FrozenOptions(1, 1e-2), on_epoch=heard.append) == []
    assert heard == []


def test_class_weights_have_mean_one_over_the_pictures():
    targets = np.array([0] * 6 + [2] * 2)
    weights = np.array(class_weights(targets, 3))
    assert weights[1] == 0
    assert weights[targets].mean() == pytest.approx(1)
    assert 6 * weights[0] == pytest.approx(2 * weights[2])


@pytest.mark.parametrize("weights", [None, (0.25, 4.0)])
def test_the_loss_of_a_step_is_weighted_by_class(weights):
    head, train, rows = new("linear"), some(), torch.arange(10)
    with torch.no_grad():
        head.layers[0].weight.normal_(generator=torch.Generator().manual_seed(0))
    losses = cross_entropy(head(train.features[rows]), train.targets[rows], reduction="none")
    each = torch.tensor(weights or (1.0, 1.0))[train.targets[rows]]
    expected = float((losses.detach() * each).sum() / each.sum())
    options = FrozenOptions(1, 1e-3, class_weights=weights)
    found = head_step(head, head_optimizer(head, options), train, rows, options)
    assert found == pytest.approx(expected, rel=1e-5)


def test_norms_and_biases_do_not_decay():
    head = new("hidden")
    optimizer = head_optimizer(head, FrozenOptions(1, 1e-3, weight_decay=0.3))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    found = {name: decay[id(parameter)] for name, parameter in head.named_parameters()}
    assert {name for name, value in found.items() if value} == {
        "layers.2.weight",
        "layers.6.weight",
    }
    assert set(found.values()) == {0.0, 0.3}
