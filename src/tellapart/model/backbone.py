"""The values that stand for a backbone: what is known of it, and its graph."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from tellapart.model.preprocess import PreprocessSpec

__all__ = ["Backbone", "BackboneInfo", "Layout", "Origin", "dimensions_of"]

Layout = tuple[tuple[str, int], ...]
Origin = Literal["package", "hub", "file", "training", "random"]


@dataclass(frozen=True)
class BackboneInfo:
    """What is known of a backbone, whichever way its graph was made.

    `origin` says where the weights come from: a pip package, the Hugging Face hub, a file of the
    user's, our own training, or nowhere. `weights_sha256` is the hash of the file that they were read
    from (64 hexadecimal digits), or of the tensors where there was no file. `parameters` counts the
    trainable numbers without the classifier. Where `any_size` is false, the network sees squares of
    `preprocess.size` alone.
    """

    name: str
    licence: str
    source: str
    origin: Origin
    weights_sha256: str
    parameters: int
    preprocess: PreprocessSpec
    any_size: bool = True

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "preprocess": self.preprocess.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        return cls(**{**values, "preprocess": PreprocessSpec.from_json(values["preprocess"])})


@dataclass(frozen=True)
class Backbone:
    """A network that turns pixels into features.

    `graph` is a serialised ONNX model: `pixels` float32 (B, 3, H, W) → `features` float32 (B, D).
    `layout` names the parts of a feature vector with their lengths, in order; the final pooled vector
    comes first. `graph_hash` is the SHA-256 of the graph, 64 hexadecimal digits.
    """

    info: BackboneInfo
    graph: bytes
    graph_hash: str
    layout: Layout

    @property
    def dimensions(self) -> dict[str, int]:
        """Length of a feature vector: the final stage's alone, and all stages'."""
        return dimensions_of(self.layout)


def dimensions_of(layout: Layout) -> dict[str, int]:
    """Length of a feature vector of that layout: the final stage's alone, and all stages'.

    >>> dimensions_of((("final", 8), ("stage0_mean", 4), ("stage0_std", 4)))
    {'final': 8, 'all': 16}
    """
    return {"final": layout[0][1], "all": sum(length for _, length in layout)}
