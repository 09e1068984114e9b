"""A head in torch says what it says as a probe, which NumPy computes."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")

from torch import nn  # noqa: E402

from tellapart.errors import UsageError  # noqa: E402
from tellapart.finetuning.frozen import FrozenOptions, Vectors, train_head  # noqa: E402
from tellapart.finetuning.heads import Head  # noqa: E402

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
CONSTANT = 3
KINDS = ("linear", "hidden")


def vectors(n=60, d=12, seed=0):
    """Features of uneven scale, of which one is constant, and targets of three classes."""
    generator = np.random.default_rng(seed)
    targets = np.arange(n) % 3
    features = generator.normal(size=(n, d)) + 2 * np.eye(3)[targets].repeat(d // 3, axis=1)
    features = features * np.geomspace(0.01, 10, d) + 5
    features[:, CONSTANT] = 7.5
    return features.astype(np.float32), targets


def trained(kind):
    features, targets = vectors()
    head = Head.new(kind, features, 3, seed=0)
    train_head(head, Vectors.of([features], targets), FrozenOptions(4, 1e-2, batch=16))
    return head.eval()


def logits(head, features):
    with torch.inference_mode():
        return head(torch.from_numpy(features)).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_head_and_its_probe_say_the_same(kind):
    head, (features, _) = trained(kind), vectors(seed=1)
    expected = logits(head, features)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(head.probe().logits(features), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_that_was_constant_says_nothing_of_new_pictures(kind):
    head, (features, _) = trained(kind), vectors(seed=1)
    changed = features.copy()
    changed[:, CONSTANT] = -100
    np.testing.assert_array_equal(logits(head, changed), logits(head, features))
    np.testing.assert_array_equal(head.probe().logits(changed), head.probe().logits(features))


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_becomes_a_head_and_the_same_probe_again(kind):
    probe, (features, _) = trained(kind).probe(), vectors(seed=1)
    head = Head.of(probe).eval()
    np.testing.assert_allclose(logits(head, features), probe.logits(features), atol=1e-5)
    again = head.probe()
    assert again.features == probe.features
    assert again.arrays.keys() == probe.arrays.keys()
    for name, array in probe.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


def test_a_head_of_a_hidden_probe_learns_in_both_layers():
    head = Head.of(trained("hidden").probe())
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    features, targets = vectors(seed=1)
    train_head(head, Vectors.of([features], targets), FrozenOptions(1, 1e-2, batch=16))
    after = head.state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved == {"layers.1.weight", "layers.1.bias", "layers.4.weight", "layers.4.bias"}


def test_the_hidden_head_has_the_layers_of_fastai():
    layers = Head.new("hidden", vectors()[0], 3, seed=0).layers
    assert [type(layer) for layer in layers] == [
        nn.BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear,
    ]  # fmt: skip
    assert (layers[1].p, layers[5].p) == (0.25, 0.5)
    assert [layers[i].num_features for i in (0, 4)] == [12, 512]
    assert [(layers[i].in_features, layers[i].out_features) for i in (2, 6)] == [
        (12, 512),
        (512, 3),
    ]


def test_a_linear_head_begins_with_equal_probabilities():
    features, _ = vectors()
    head = Head.new("linear", features, 3, seed=0)
    np.testing.assert_array_equal(head.probe().probabilities(features), np.float32(1 / 3))


def test_a_new_head_depends_on_its_seed_alone():
    features, _ = vectors()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = Head.new("hidden", features, 3, seed=1).state_dict()
    for kind in KINDS:
        Head.of(Head.new(kind, features, 3, seed=1).probe())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    same = Head.new("hidden", features, 3, seed=1).state_dict()
    other = Head.new("hidden", features, 3, seed=2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["layers.2.weight"], other["layers.2.weight"])


def test_only_the_first_features_count():
    head, (features, _) = trained("linear"), vectors()
    wider = np.concatenate([features, np.full((60, 4), np.nan, np.float32)], axis=1)
    np.testing.assert_array_equal(logits(head, wider), logits(head, features))
    np.testing.assert_array_equal(head.probe().logits(wider), head.probe().logits(features))


def test_an_unknown_head_names_those_that_there_are():
    with pytest.raises(UsageError, match="linear, hidden"):
        Head.new("deep", vectors()[0], 3, seed=0)
