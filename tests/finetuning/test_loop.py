"""The loop on a network of two convolutions: pieces of batches, mixing, averages, early ends, interrupts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")

import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from tellapart.data.dataset import Dataset
from tellapart.errors import DatasetError, RunError, UsageError
from tellapart.finetuning import gradients, loop
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.classifier import Classifier
from tellapart.finetuning.gradients import put_gradients, weighted_cross_entropy
from tellapart.finetuning.loop import LoopOptions, train_epochs
from tellapart.finetuning.mixing import mixed
from tellapart.finetuning.pictures import Pictures
from tellapart.finetuning.schedule import layer_rates, one_cycle
from tellapart.finetuning.set_aside import set_aside
from tellapart.model.preprocess import PreprocessSpec
from tellapart.training.probe import Probe

SIZE = 32  # px
CLASSES = 3
WIDTH = 6


class Network(nn.Module):
    """Two layer groups, with a norm whose statistics are not those of any batch."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(0.1)
        self.dropout = nn.Dropout(dropout)
        self.end = nn.Conv2d(4, WIDTH, 3)

    def forward(self, pixels):
        return self.end(self.dropout(self.norm(self.stem(pixels)).relu())).mean(dim=(2, 3))

    def parameter_groups(self):
        first = [*self.stem.named_parameters("stem"), *self.norm.named_parameters("norm")]
        return [first, list(self.end.named_parameters("end"))]


def new_classifier(kind=Classifier, dropout=0.0):
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    weights = generator.normal(0, 0.1, (WIDTH, CLASSES)).astype(np.float32)
    one = np.ones(WIDTH, np.float32)
    classifier = kind(
        Network(dropout), Probe("all", 0 * one, one, weights, np.zeros(CLASSES, np.float32))
    )
    classifier.unfreeze("all")
    return classifier


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """`pictures(count, first=0)`: that many of 40 pictures, of which each class has its own tint."""
    from PIL import Image

    root = tmp_path_factory.mktemp("tints")
    generator = np.random.default_rng(0)
    for number in range(40):
        pixels = generator.integers(0, 200, (SIZE, SIZE, 3), np.uint8)
        pixels[..., number % CLASSES] += 50
        Image.fromarray(pixels).save(root / f"{number}.png")

    def some(count, first=0):
        numbers = range(first, first + count)
        paths, targets = [f"{n}.png" for n in numbers], [n % CLASSES for n in numbers]
        return Pictures(root, paths, targets, PreprocessSpec(size=SIZE))

    return some


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """No bfloat16, which rounds sums of few pictures differently from those of many."""
    monkeypatch.setattr(gradients, "autocast", torch.enable_grad)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so little to do is done sooner by one
    yield
    torch.set_num_threads(threads)


def trained(classifier, train, valid, file, aside=None, lr=1e-2, **dials):
    options = LoopOptions(**{"epochs": 2, "batch": 8, "workers": 0, **dials})
    steps = train.steps(options.batch * options.accumulate) * options.epochs
    cycle = one_cycle(steps, layer_rates((lr / 10, lr), 3), div=5.0)
    heard = {"on_step": [], "on_epoch": [], "on_note": []}
    done = train_epochs(
        classifier, train, valid, cycle, options, Path(file), aside=aside,
        **{name: rows.append for name, rows in heard.items()},
    )  # fmt: skip
    return done, heard


def state_of(classifier):
    return {name: tensor.detach().clone() for name, tensor in classifier.state_dict().items()}


def same_bits(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def close(one, other):
    return all(
        torch.allclose(t.float(), other[name].float(), rtol=0, atol=1e-5) for name, t in one.items()
    )


WEIGHTS = (0.5, 1.0, 2.5)


def test_accumulated_batches_are_one_batch(pictures, tmp_path):
    """38 pictures: the last step has 6 of them."""
    train, valid = pictures(38), pictures(2, first=38)
    start = state_of(new_classifier())
    dials = {"class_weights": WEIGHTS, "label_smoothing": 0.1}
    whole, parts = new_classifier(), new_classifier()
    one, _ = trained(whole, train, valid, tmp_path / "a", batch=32, **dials)
    other, heard = trained(parts, train, valid, tmp_path / "b", batch=8, accumulate=4, **dials)
    assert [step.done for step in heard["on_step"]] == [1, 2, 3, 4]
    assert not close(state_of(whole), start)
    assert close(state_of(parts), state_of(whole))
    assert other.history[-1].train_loss == pytest.approx(one.history[-1].train_loss, abs=1e-5)


@pytest.mark.parametrize("soft", [False, True])
def test_the_gradient_is_that_of_the_weighted_mean(soft):
    classifier = new_classifier().eval()
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(7, 3, SIZE, SIZE, generator=generator)
    targets = torch.tensor([0, 0, 1, 2, 2, 2, 1])
    expected = cross_entropy(
        classifier(pixels), targets, weight=torch.tensor(WEIGHTS), label_smoothing=0.1
    )
    classifier.zero_grad()
    expected.backward()
    gradient = classifier.head.layers[0].weight.grad.clone()
    shares = one_hot(targets, CLASSES).float() if soft else targets
    found = put_gradients(classifier, pixels, shares, weighted_cross_entropy(WEIGHTS, 0.1), 3)
    assert found == pytest.approx(float(expected.detach()), abs=1e-6)
    assert torch.allclose(classifier.head.layers[0].weight.grad, gradient, atol=1e-6)


class Narrow(Classifier):
    """Has memory for `most` pictures that learn, and once, at the call `hiccup`, for none."""

    most, hiccup, calls = 100, 0, 0
    error: Exception = MemoryError()

    def forward(self, pixels):
        self.calls += self.training
        if self.training and (len(pixels) > self.most or self.calls == self.hiccup):
            raise self.error
        return super().forward(pixels)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't "
                     "allocate memory: you tried to allocate 822083584 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        MemoryError(),
    ],
)  # fmt: skip
def test_where_memory_runs_out_the_pieces_are_halved(pictures, tmp_path, error):
    train, valid = pictures(20), pictures(4, first=20)
    plain = new_classifier()
    trained(plain, train, valid, tmp_path / "a", class_weights=WEIGHTS)
    narrow = new_classifier(Narrow)
    narrow.most, narrow.error = 3, error
    done, heard = trained(narrow, train, valid, tmp_path / "b", class_weights=WEIGHTS)
    assert close(state_of(narrow), state_of(plain))
    assert len(heard["on_step"]) == 6
    assert done.notes == heard["on_note"]
    assert len(done.notes) == 1
    assert "8 pictures" in done.notes[0]
    assert "2 at a time" in done.notes[0]


def test_a_step_that_failed_halfway_is_done_again_from_its_start(pictures, tmp_path):
    train, valid = pictures(20), pictures(4, first=20)
    plain, narrow = new_classifier(), new_classifier(Narrow)
    trained(plain, train, valid, tmp_path / "a", accumulate=2)
    narrow.hiccup = 2  # the second piece of the first step
    done, _ = trained(narrow, train, valid, tmp_path / "b", accumulate=2)
    assert "4 at a time" in done.notes[0]
    assert close(state_of(narrow), state_of(plain))


def test_too_little_memory_for_one_picture(pictures, tmp_path):
    narrow = new_classifier(Narrow)
    narrow.most = 0
    with pytest.raises(RunError, match="--size"):
        trained(narrow, pictures(20), pictures(4, first=20), tmp_path / "a")
    narrow.error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1"):
        trained(narrow, pictures(20), pictures(4, first=20), tmp_path / "b")


def test_mixed_labels_are_those_of_the_mixed_pictures():
    """Each picture is one number throughout, so that its mean says what it is mixed of."""
    targets = torch.tensor([0, 1, 2, 0])
    pixels = torch.tensor([0.0, 1.0, 2.0, 0.0])[:, None, None, None].expand(4, 3, 8, 8)
    kinds = set()
    for seed in range(12):
        blended, shares = mixed(pixels, targets, CLASSES, mixup=1.0, cutmix=1.0, seed=seed)
        meant = shares @ torch.arange(3.0)
        assert torch.allclose(blended.mean(dim=(1, 2, 3)), meant, atol=1e-5)
        whole = set(blended.unique().tolist()) <= {0.0, 1.0, 2.0}
        kinds.add("cutmix" if whole else "mixup")
        torch.manual_seed(99)
        again = mixed(pixels, targets, CLASSES, mixup=1.0, cutmix=1.0, seed=seed)
        assert torch.equal(again[0], blended)
    assert kinds == {"cutmix", "mixup"}
    assert mixed(pixels, targets, CLASSES, mixup=0, cutmix=0, seed=0)[1] is targets


def test_mixing_changes_each_step_in_its_own_way(pictures, tmp_path, monkeypatch):
    seeds = []

    def spy(*arguments, seed, **dials):
        seeds.append(seed)
        return mixed(*arguments, seed=seed, **dials)

    monkeypatch.setattr(loop, "mixed", spy)
    train, valid = pictures(20), pictures(4, first=20)
    plain, blended = new_classifier(), new_classifier()
    trained(plain, train, valid, tmp_path / "a")
    trained(blended, train, valid, tmp_path / "b", mixup=0.4, class_weights=WEIGHTS)
    assert not close(state_of(plain), state_of(blended))
    assert len(set(seeds[6:])) == 6


def test_the_average_is_what_is_measured_and_kept(pictures, tmp_path, monkeypatch):
    train, valid = pictures(20), pictures(4, first=20)
    seen = []
    descend = loop._descend

    def spy(classifier, *arguments):
        descend(classifier, *arguments)
        seen.append(state_of(classifier))

    monkeypatch.setattr(loop, "_descend", spy)
    classifier = new_classifier()
    done, _ = trained(classifier, train, valid, tmp_path / "a", ema=0.7)
    expected = seen[0]
    for state in seen[1:]:
        expected = {name: 0.7 * t + 0.3 * state[name] for name, t in expected.items()}
    found = state_of(classifier)
    assert close(found, expected)
    assert not close(found, seen[-1])
    loss, _ = loop._answers(classifier, valid, 8, 0)
    assert done.history[-1].valid_loss == pytest.approx(loss, abs=1e-6)


def test_it_ends_early_by_pictures_set_aside_alone(pictures, tmp_path, monkeypatch):
    """The loss on them is planted: 3, 2, 4, 5, …; that of the validation pictures falls on."""
    train, valid, aside = pictures(20), pictures(4, first=20), pictures(3, first=24)
    states, planted = [], iter([3.0, 2.0, 4.0, 5.0, 1.0])
    answers = loop._answers

    def plant(classifier, asked, *arguments):
        _, guesses = answers(classifier, asked, *arguments)
        if asked is valid:
            return 1.0 / (1 + len(states)), guesses
        states.append(state_of(classifier))
        return next(planted), guesses

    monkeypatch.setattr(loop, "_answers", plant)
    classifier = new_classifier()
    done, heard = trained(
        classifier, train, valid, tmp_path / "a", aside=aside, epochs=9, patience=2
    )
    assert [row.epoch for row in heard["on_epoch"]] == [0, 1, 2, 3]
    assert same_bits(state_of(classifier), states[1])
    assert not same_bits(states[1], states[3])
    assert "after epoch 3" in done.notes[-1]
    assert "weights of epoch 1 count" in done.notes[-1]
    assert "3 training pictures" in done.notes[-1]


ALL = {
    "epochs": 4, "accumulate": 2, "batch": 4, "mixup": 0.3, "cutmix": 1.0, "ema": 0.6, "patience": 1,
    "class_weights": WEIGHTS, "lr": 0.3, "seed": 5,
}  # fmt: skip


@pytest.mark.parametrize("stop", [1, 4, 8])
def test_an_interrupt_in_a_step_leaves_the_last_whole_checkpoint(
    pictures, tmp_path, monkeypatch, stop
):
    """The interrupt comes when the optimiser has moved, but average and state have not. Memory runs out
    in the first step, and what was learned of it is in the checkpoint too."""
    train = replace(pictures(20), transforms=Transforms(p_affine=0), seed=3)
    valid, aside = pictures(4, first=20), pictures(6, first=24)
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def narrow():
        classifier = new_classifier(Narrow, dropout=0.2)
        classifier.hiccup = 1
        return classifier

    left_alone = narrow()
    whole, _ = trained(left_alone, train, valid, tmp_path / "a", aside, **ALL)
    file, at, calls = tmp_path / "b", [], []
    follow = loop.Weights.follow

    def interrupted(weights):
        calls.append(1)
        if len(calls) == stop + 1:
            at.append(file.read_bytes())
            raise KeyboardInterrupt
        follow(weights)

    monkeypatch.setattr(loop.Weights, "follow", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(narrow(), train, valid, file, aside, **ALL)
    assert at == [file.read_bytes()]
    resumed = new_classifier(dropout=0.2)
    done, _ = trained(resumed, train, valid, file, aside, **ALL)
    assert same_bits(state_of(resumed), state_of(left_alone))
    assert done.notes == whole.notes
    assert [replace(row, seconds=0) for row in done.history] == [
        replace(row, seconds=0) for row in whole.history
    ]


def test_an_interrupt_between_steps_is_saved_at_once(pictures, tmp_path):
    train, valid = pictures(20), pictures(4, first=20)
    left_alone, stopped, resumed = (new_classifier() for _ in range(3))
    trained(left_alone, train, valid, tmp_path / "a")

    def stop(step):
        if step.done == 2:
            raise KeyboardInterrupt

    options = LoopOptions(2, 8, workers=0)
    cycle = one_cycle(6, layer_rates((1e-3, 1e-2), 3), div=5.0)
    file = tmp_path / "b"
    with pytest.raises(KeyboardInterrupt):
        train_epochs(stopped, train, valid, cycle, options, file, on_step=stop)
    _, heard = trained(resumed, train, valid, file)
    assert [step.done for step in heard["on_step"]] == [3, 4, 5, 6]
    assert same_bits(state_of(resumed), state_of(left_alone))


def pile(rows):
    """Training pictures of (label, content) and one to validate by."""
    table = [(f"{i}.png", label, "train", "", content) for i, (label, content) in enumerate(rows)]
    return Dataset.from_rows("pile", [*table, ("v.png", rows[0][0], "valid", "", "v")])


def test_pictures_set_aside_are_training_pictures_of_every_class_and_no_copies():
    rows = [("a", f"a{i // 2}") for i in range(60)] + [("b", f"b{i}") for i in range(40)]
    dataset = pile([*rows, ("rare", "r0"), ("rare", "r1"), ("alone", "x"), ("alone", "x")])
    learn, aside = set_aside(dataset, seed=0)
    assert sorted([*learn, *aside]) == dataset.rows_of("train").tolist()
    assert not set(dataset.groups[learn]) & set(dataset.groups[aside])
    labels = np.asarray(dataset.labels)
    assert set(labels[learn]) == {"a", "b", "rare", "alone"}
    assert set(labels[aside]) == {"a", "b", "rare"}
    assert 8 <= len(aside) <= 13
    assert (set_aside(dataset, seed=0)[1] == aside).all()
    assert set(set_aside(dataset, seed=1)[1]) != set(aside)
    with pytest.raises(DatasetError, match="set aside"):
        set_aside(pile([("a", "a"), ("a", "a"), ("b", "b")]), seed=0)


def test_no_class_is_set_aside_whole():
    """Ten groups, each of a class's only picture and three others; one of them would be set aside."""
    rows = [(f"alone{i}", f"g{i}") for i in range(10)]
    rows += [("a", f"g{i // 3}") for i in range(30)] + [("b", "")] * 40
    table = [(f"{i}.png", label, "train", group, f"{i}") for i, (label, group) in enumerate(rows)]
    learn, aside = set_aside(dataset := Dataset.from_rows("pile", table), seed=0)
    labels = np.asarray(dataset.labels)
    assert set(labels[learn]) == set(labels)
    assert set(labels[aside]) == {"b"}


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from tellapart.finetuning.explanation import Epoch
    from tellapart.finetuning.scalars import Scalars

    killed, again = Scalars(tmp_path), Scalars(tmp_path)
    for done in (1, 2, 3):
        killed.step(loop.Step(done, 4, 1.0 / done, (0.1, 0.5)))
    killed.close()
    for done in (2, 3, 4):
        again.step(loop.Step(done, 4, 9.0, (0.1, 0.2)))
    again.epoch(Epoch(0, 0.5, 0.6, 1, 4, 1.0, 0.2))
    again.close()
    read = EventAccumulator(str(tmp_path)).Reload()

    def values(tag):
        return [(event.step, round(event.value, 5)) for event in read.Scalars(tag)]

    assert values("step/train_loss") == [(1, 1.0), (2, 9.0), (3, 9.0), (4, 9.0)]
    assert values("step/lr/1") == [(1, 0.5), (2, 0.2), (3, 0.2), (4, 0.2)]
    assert values("epoch/train_loss") == [(0, 0.5)]
    assert values("epoch/valid_loss") == [(0, 0.6)]
    assert values("epoch/error_rate") == [(0, 0.25)]


def test_without_tensorboard_it_says_how_to_install_it(tmp_path, monkeypatch):
    import sys

    from tellapart.finetuning.scalars import Scalars

    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(UsageError, match="pip install tensorboard"):
        Scalars(tmp_path)
