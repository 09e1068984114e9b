"""What timm knows of its pretrained models without any of their weights. No network is asked."""

import timm

from tellapart.model.catalogue import BackboneEntry

__all__ = ["pretrained_entries"]


def pretrained_entries() -> list[BackboneEntry]:
    """Every model that timm has weights for; it does not count their parameters."""
    entries = []
    for name in timm.list_models(pretrained=True):
        facts = timm.get_pretrained_cfg(name)
        _, height, width = facts.input_size
        entries.append(
            BackboneEntry(
                name,
                parameters=None,
                size=height if height == width else None,
                dimensions=None,
                licence=facts.license or "unknown",
                source=facts.hf_hub_id or facts.url or "unknown",
            )
        )
    return entries
