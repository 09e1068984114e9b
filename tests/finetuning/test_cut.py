"""Frozen layers that run once: a replay answers as the whole network does, or there is none."""

import copy

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("timm", reason="timm is not installed")

import torch
from tiny_classifiers import planted, random_classifier, random_pixels

from tellapart.finetuning.cut import Cut, find_cut

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
FAMILIES = [
    "test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_nfnet", "test_byobnet",
    "test_mambaout", "test_efficientnet_gn",
]  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_a_replay_answers_and_learns_as_the_whole_network(name):
    classifier = random_classifier(name)
    pixels = random_pixels(classifier)
    cut = find_cut(classifier, pixels)
    assert isinstance(cut, Cut), cut
    classifier.train()
    packed = Cut.pack(*cut.below(pixels))
    whole = gradients(classifier, pixels)
    classifier.replay = cut
    again = gradients(classifier, packed)
    assert whole.keys() == again.keys()
    assert all(
        torch.allclose(again[key], whole[key], rtol=1e-4, atol=1e-6 * float(whole[key].abs().max()))
        for key in whole
    )
    parameters = {p for unit in cut.units for p in unit.module.parameters()}
    frozen = [p for p in classifier.network.parameters() if not p.requires_grad]
    assert sum(p.numel() for p in parameters) > 0.9 * sum(p.numel() for p in frozen)


def gradients(classifier, x):
    """Also the logits, which are no gradient."""
    classifier.zero_grad()
    logits = classifier(x)
    logits.square().sum().backward()
    named = {name: p.grad.clone() for name, p in classifier.named_parameters() if p.requires_grad}
    return {**named, "logits": logits.detach()}


def test_nothing_of_the_network_is_changed():
    classifier = random_classifier("test_efficientnet", 2)
    pixels = random_pixels(classifier)
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    answer = classifier.eval()(pixels)
    classifier.train()
    modes = [module.training for module in classifier.modules()]
    cut = find_cut(classifier, pixels)
    cut(Cut.pack(*cut.below(pixels)))
    assert [module.training for module in classifier.modules()] == modes
    assert not any("forward" in vars(module) for module in classifier.modules())
    assert not any(module._forward_hooks for module in classifier.modules())
    assert all(torch.equal(before[name], t) for name, t in classifier.state_dict().items())
    assert torch.equal(classifier.eval()(pixels), answer)


def test_where_nothing_or_all_is_frozen_there_is_no_cut():
    for unfreeze in ("all", 4):
        classifier = random_classifier(unfreeze=unfreeze)
        found = find_cut(classifier, random_pixels(classifier))
        assert isinstance(found, str) == (unfreeze == "all"), found


def test_functional_operations_between_frozen_layers_do_no_harm():
    def change(name, model, before, maps):
        return getattr(model, name)(torch.relu(before) + 0.1)

    classifier = planted(change)
    cut = find_cut(classifier, random_pixels(classifier))
    assert isinstance(cut, Cut), cut
    assert cut.units[-1].module is classifier.network.model.layer3


def test_a_path_around_the_cut_is_seen():
    """The image itself comes in again above what is frozen, so nothing below can be left out."""

    pixels = {}

    def change(name, model, before, maps):
        if name == "conv1":
            pixels["now"] = before
        elif name == "layer4":
            before = before * (1 + pixels["now"].mean())
        return getattr(model, name)(before)

    classifier = planted(change)
    assert find_cut(classifier, random_pixels(classifier)) == "a replay has other features"


def test_a_cut_moves_to_where_the_paths_meet():
    """layer2's map goes around layer3 too, so what is kept must be that map."""

    def change(name, model, before, maps):
        return getattr(model, name)(before + maps[5].mean() if name == "layer4" else before)

    classifier = planted(change)
    cut = find_cut(classifier, random_pixels(classifier))
    assert isinstance(cut, Cut), cut
    assert cut.units[-1].module is classifier.network.model.layer2


def test_a_cut_that_saves_little_is_not_made():
    """layer1's map goes around layer2 and layer3, and those hold most of what is frozen."""

    def change(name, model, before, maps):
        return getattr(model, name)(before + maps[4].mean() if name == "layer4" else before)

    classifier = planted(change)
    assert find_cut(classifier, random_pixels(classifier)) == "a replay has other features"


def test_no_gradient_is_lost():
    """What learns outside of any module's call, as class tokens do, is above the cut or there is none."""

    def change(name, model, before, maps):
        return getattr(model, name)(before * model.token if name == "layer3" else before)

    torch.manual_seed(0)
    classifier = planted(change, token=torch.nn.Parameter(torch.ones(())))
    cut = find_cut(classifier, random_pixels(classifier))
    assert isinstance(cut, Cut), cut
    assert cut.units[-1].module is classifier.network.model.layer2
    classifier.network.model.token.requires_grad_(False)
    cut = find_cut(classifier, random_pixels(classifier))
    assert cut.units[-1].module is classifier.network.model.layer3


def test_frozen_blocks_draw_nothing_at_random():
    classifier = random_classifier("test_vit", drop_path_rate=0.5)
    pixels = random_pixels(classifier)
    cut = find_cut(classifier, pixels)
    assert isinstance(cut, Cut), cut
    drops = [m for m in classifier.train().modules() if type(m).__name__ == "DropPath"]
    assert {drop.training for drop in drops} == {False, True}
    noisy = classifier.network.model.patch_drop
    noisy.register_forward_hook(
        lambda module, x, answer: answer * torch.rand(()) if classifier.training else answer
    )
    assert find_cut(classifier, pixels) == "its frozen layers draw at random"


def test_a_copy_replays_with_weights_of_its_own():
    """Averages of the weights are copies of the classifier."""
    classifier = random_classifier()
    pixels = random_pixels(classifier)
    classifier.replay = find_cut(classifier, pixels)
    packed = Cut.pack(*classifier.replay.below(pixels))
    twin = copy.deepcopy(classifier)
    before = twin(packed)
    with torch.no_grad():
        for parameter in classifier.network.model.layer4.parameters():
            parameter.zero_()
    assert torch.equal(twin(packed), before)
    assert not torch.allclose(classifier(packed), before)
