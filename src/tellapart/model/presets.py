"""Presets: one dial over the backbone, the size of its pictures and the views of each.

How they were chosen, and what they cost, is in docs/backbones.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tellapart.errors import UsageError

__all__ = ["PRESETS", "Preset", "find_preset"]


@dataclass(frozen=True)
class Preset:
    """What one word of `--preset` stands for.

    `size` is in px, None for the backbone's own; `views` counts the augmented views of each training
    picture that the head learns from beside the plain one; `why` says in a few words what the preset is for.
    """

    backbone: str
    size: int | None
    views: int
    why: str


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "fast": Preset("tf_efficientnet_lite0", None, 0, "the default; nothing is downloaded"),
        "balanced": Preset(
            "tf_efficientnet_lite2", None, 0, "a larger network and larger pictures, no download"
        ),
        "best": Preset(
            "convnext_base.clip_laion2b_augreg_ft_in12k", None, 1,
            "the strongest for its cost by published results; downloads 0.4 GB once",
        ),
    }
)  # fmt: skip


def find_preset(name: str) -> Preset:
    """The preset of that name; raises UsageError where there is none.

    >>> find_preset("balanced").backbone
    'tf_efficientnet_lite2'
    """
    if name not in PRESETS:
        raise UsageError(f"preset {name!r} is unknown; choose from {', '.join(PRESETS)}")
    return PRESETS[name]
