"""Classifiers on tiny random networks, for tests of cuts."""

import numpy as np
import timm
import torch

from tellapart.finetuning.classifier import Classifier
from tellapart.finetuning.network import FeatureNetwork, load_network
from tellapart.training.probe import Probe

__all__ = ["classifier_of", "planted", "random_classifier", "random_pixels"]


def classifier_of(network, unfreeze="last"):
    width = sum(length for _, length in network.layout)
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(width, 2)).astype(np.float32) / width
    zeros, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
    classifier = Classifier(network, Probe("all", zeros, ones, weights, np.zeros(2, np.float32)))
    classifier.unfreeze(unfreeze)
    return classifier


def random_classifier(name="test_resnet", unfreeze="last", **arguments):
    torch.manual_seed(0)
    network = load_network(name, pretrained=False)
    if arguments:
        model = timm.create_model(name, num_classes=0, **arguments)
        network = FeatureNetwork(model, network.info)
    return classifier_of(network, unfreeze)


def random_pixels(classifier, count=3):
    side = classifier.network.info.preprocess.size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def planted(change, token=None):
    """A ResNet with something functional where `layer4` begins; it stays a timm network otherwise."""
    classifier = random_classifier()
    model = classifier.network.model
    model.token = token

    def forward_intermediates(x, **arguments):
        maps = []
        for name in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            before = maps[-1] if maps else x
            maps.append(change(name, model, before, maps))
        return maps[-1], maps[4:]

    model.forward_intermediates = forward_intermediates
    classifier.network._stages = {}
    classifier.network.layout = classifier.network._measured_layout()
    return classifier
