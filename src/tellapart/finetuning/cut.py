"""A network cut below its first learning layer, so that what is frozen need not be computed again.

The layers that run before the first one that learns are found by hooks in one pass. In a replay the
last of them answers with an activation that was kept, and those before it with NaN of the right shape:
whatever still depends on them is no number, and is seen. A cut is only made where features and
gradients of the replay are those of the whole network on real pictures, so a network whose paths cross
the cut (U-Nets, branches that meet later) has an earlier one, or none.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from tellapart.finetuning.classifier import Classifier
from tellapart.finetuning.network import FeatureNetwork

__all__ = ["Cut", "find_cut"]

MOST_ERROR = 1e-4  # of the largest feature
_MOST_GRADIENT_ERROR = (
    1e-2  # of the largest; a root's slope makes much of rounding where a map is even
)
_TRIES = 8  # how many layers the cut may move towards the stem
_LEAST_SHARE = 0.5  # of the frozen parameters, that a cut saves; with less it is not worth it


@dataclass(frozen=True)
class _Unit:
    """A frozen module that runs below the cut, and the shape of its answer for one picture."""

    module: nn.Module
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """Where a network is cut: `Cut.below` gives what to keep of pictures, the cut itself replays it.

    `shape` is that of one picture's activation at the cut. `columns` int64 (P,) are the features that
    come from stages below it, and are kept as they are.
    """

    network: FeatureNetwork
    units: Sequence[_Unit]
    side: int
    stages: frozenset[int]
    columns: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.units[-1].shape

    def below(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Activations (B, *shape) at the cut, and the features (B, P) of what lies below it.

        The whole network runs, in the mode that it is in. `pixels` is float32 (B, 3, S, S).
        """
        seen: list[Tensor] = []
        hook = self.units[-1].module.register_forward_hook(
            lambda module, arguments, answer: seen.append(answer.clone())
        )
        try:
            with torch.no_grad():
                features = self.network(pixels)
        finally:
            hook.remove()
        return seen[0], features[:, self.columns]

    @staticmethod
    def pack(activation: Tensor, columns: Tensor) -> Tensor:
        """Both as one float32 (B, 1, 1, W), which is batched and handed on like pixels."""
        packed = torch.cat([activation.flatten(1).float(), columns.float()], dim=1)
        return packed[:, None, None, :]

    def __call__(self, packed: Tensor) -> Tensor:
        """Features (B, D), like those that the network has for the pixels; only what learns runs."""
        rows = packed.flatten(1)
        kept = rows[:, rows.shape[1] - len(self.columns) :]
        activation = rows[:, : rows.shape[1] - len(self.columns)].unflatten(1, self.shape)
        if activation.ndim == 4:
            activation = activation.contiguous(memory_format=torch.channels_last)
        with self._answering(activation):
            last, maps = self.network.maps(_no_numbers((3, self.side, self.side), len(rows)))
            features = self.network.features_of(last, self._without_those_below(maps))
        return features.index_copy(1, self.columns, kept)

    def _without_those_below(self, maps: list[Tensor]) -> list[Tensor]:
        return [
            torch.zeros(*m.shape[:2], 1, 1) if place in self.stages else m
            for place, m in enumerate(maps)
        ]

    @contextmanager
    def _answering(self, activation: Tensor) -> Iterator[None]:
        """While it lasts the frozen modules compute nothing."""
        try:
            for unit in self.units[:-1]:
                unit.module.forward = partial(_answer, _no_numbers(unit.shape, len(activation)))
            self.units[-1].module.forward = partial(_answer, activation)
            yield
        finally:
            for unit in self.units:
                unit.module.__dict__.pop("forward", None)


def find_cut(classifier: Classifier, pixels: Tensor) -> Cut | str:
    """The last place where the network of `classifier` can be cut, or why there is none.

    `pixels` float32 (B, 3, S, S) are two real pictures at least, on which the cut is tried. Nothing
    of the classifier is changed.
    """
    network = classifier.network
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    units = _frozen_units(network, pixels)
    reason = "most of its frozen layers do not run before those that learn"
    for count in range(len(units), max(0, len(units) - _TRIES), -1):
        below = {p for unit in units[:count] for p in unit.module.parameters()}
        if sum(p.numel() for p in below) < _LEAST_SHARE * frozen:
            break
        try:
            cut = _cut_after(network, units[:count], pixels)
            reason = _difference(cut, classifier, pixels)
        except Exception as error:  # what a network makes of NaN and of missing maps is its own
            reason = f"a replay fails ({type(error).__name__})"
        if not reason:
            return cut
    return reason


def _frozen_units(network: FeatureNetwork, pixels: Tensor) -> list[_Unit]:
    """In order of execution, the largest modules without learning parameters that end before the
    first learning one begins. Those that answer with no map per picture are left to run."""
    units: list[_Unit] = []
    inside: list[nn.Module] = []
    learning = False

    def enter(module: nn.Module, arguments: Any) -> None:
        nonlocal learning
        if inside or learning:
            return
        if not any(p.requires_grad for p in module.parameters()):
            inside.append(module)
        elif any(p.requires_grad for p in module.parameters(recurse=False)):
            learning = True

    def leave(module: nn.Module, arguments: Any, answer: Any) -> None:
        if inside != [module]:
            return
        inside.clear()
        if isinstance(answer, Tensor) and answer.ndim > 1 and len(answer) == len(pixels):
            units.append(_Unit(module, tuple(answer.shape[1:])))

    with torch.no_grad(), _hooked(network.model, enter, leave):
        network(pixels)
    return units


@contextmanager
def _hooked(model: nn.Module, enter: Any, leave: Any) -> Iterator[None]:
    hooks = []
    try:
        for module in model.modules():
            hooks.append(module.register_forward_pre_hook(enter))
            hooks.append(module.register_forward_hook(leave))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _cut_after(network: FeatureNetwork, units: Sequence[_Unit], pixels: Tensor) -> Cut:
    """A cut after the last of `units`; the stages that are no numbers without the others are below."""
    bare = Cut(network, units, pixels.shape[-1], frozenset(), torch.zeros(0, dtype=torch.int64))
    activation, _ = bare.below(pixels)
    with torch.no_grad(), bare._answering(activation):
        _, maps = network.maps(_no_numbers(tuple(pixels.shape[1:]), len(pixels)))
    below = frozenset(place for place, m in enumerate(maps) if m.isnan().any())
    names = {f"stage{place}_{part}" for place in below for part in ("mean", "std")}
    ends = list(accumulate(length for _, length in network.layout))
    columns = [
        torch.arange(end - length, end)
        for (name, length), end in zip(network.layout, ends, strict=True)
        if name in names
    ]
    return Cut(network, units, bare.side, below, torch.cat([bare.columns, *columns]))


def _difference(cut: Cut, classifier: Classifier, pixels: Tensor) -> str:
    """How a replay differs from the whole network, or nothing. It is tried on fewer pictures and in
    another order than those that were kept, and on gradients too."""
    modes = {module: module.training for module in classifier.modules()}
    try:
        classifier.train()
        at_random = Cut.pack(*cut.below(pixels))
        classifier.eval()
        packed = Cut.pack(*cut.below(pixels))
        if not _close(at_random, packed):
            return "its frozen layers draw at random"
        order = list(range(len(pixels) - 1, 0, -1))
        whole, gradients = _answer_and_gradients(cut.network, cut.network, pixels[order])
        again, replayed = _answer_and_gradients(cut.network, cut, packed[order])
    finally:
        for module, training in modes.items():
            module.training = training
    if not _close(again, whole):
        return "a replay has other features"
    if gradients.keys() != replayed.keys():
        return "a replay misses gradients"
    scale = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        if not _close(replayed[name], gradient, _MOST_GRADIENT_ERROR * scale):
            return "a replay has other gradients"
    return ""


def _answer_and_gradients(
    network: FeatureNetwork, features_of: Any, x: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Features, and the gradients of a fixed sum of them, by the learning parameters' names."""
    named = {name: p for name, p in network.model.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        features = features_of(x)
        direction = torch.linspace(-1.0, 1.0, features.numel()).view_as(features)
        found = torch.autograd.grad(
            (features * direction).sum(), list(named.values()), allow_unused=True
        )
    gradients = {name: g for name, g in zip(named, found, strict=True) if g is not None}
    return features.detach(), gradients


def _close(found: Tensor, expected: Tensor, least: float = 0.0) -> bool:
    error = (found - expected).abs().max()
    return bool(error <= max(MOST_ERROR * float(expected.abs().max()), least))


def _answer(answer: Tensor, *arguments: Any, **named: Any) -> Tensor:
    return answer


def _no_numbers(shape: tuple[int, ...], count: int) -> Tensor:
    """NaN (count, *shape) in the memory of one number."""
    return torch.full((1,), float("nan")).expand(count, *shape)
