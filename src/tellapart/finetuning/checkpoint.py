"""Where a training is, in one file that is there whole or not at all: tensors, and JSON beside them.

safetensors holds the model's and the optimiser's tensors exactly, bit for bit; nothing is pickled.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tellapart.data.atomic_file import write_atomically
from tellapart.errors import RunError
from tellapart.finetuning.group import ALONE, Group

__all__ = ["read_checkpoint", "write_checkpoint"]

_FACTS = "facts"


def write_checkpoint(
    file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any]
) -> None:
    """Put the state of both, and `facts` (what JSON can hold), into `file`.

    Raises RunError where it cannot be written; what was there stays then.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    plain = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    try:
        write_atomically(file, save(plain, {_FACTS: json.dumps(facts)}))
    except OSError as error:
        raise RunError(f"{file} cannot be written: {error.strerror or error}") from None


def read_checkpoint(
    file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, group: Group = ALONE
) -> dict[str, Any]:
    """Put both back where they were, and give the facts. The first of the group reads it for all.

    Raises RunError where the file is damaged or of another model.
    """
    try:
        tensors, facts = _content(file) if group.first else ({}, {})
        facts, tensors = group.told(facts), group.tensors(tensors)
        model.load_state_dict(_below(tensors, "model."))
        whole = optimizer.state_dict()
        whole["state"] = {}
        for name, tensor in _below(tensors, "optimizer.").items():
            number, _, what = name.partition(".")
            whole["state"].setdefault(int(number), {})[what] = tensor
        optimizer.load_state_dict(whole)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise RunError(f"{file} cannot be used: {error}. Delete it to begin anew.") from None
    return dict(facts)


def _content(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(file, "pt") as opened:
        facts = json.loads((opened.metadata() or {})[_FACTS])
        names = opened.keys()
        return {name: opened.get_tensor(name) for name in names}, facts


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
