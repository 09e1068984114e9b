"""A user's file of weights into a timm network, running nothing that stands in the file.

Read are safetensors and torch's files of tensors alone (`weights_only=True`), of timm, torchvision
or a training that wrapped them. It does not read whole pickled models, nor TorchScript.
"""

import hashlib
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from tellapart.errors import WeightsError

__all__ = ["load_file"]

State = dict[str, Tensor]

_TORCH_FILES = (".pth", ".pt", ".bin", ".tar", ".ckpt")
_NESTS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.")
_OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)")
_SHOWN = 3
_MOST_BYTES = 4 << 30


def load_file(model: Any, path: Path, name: str) -> tuple[str, str]:
    """Put the tensors of the file into `model`, timm's network `name` without a classifier.

    Gives a sentence on where they come from, and the SHA-256 of the file (64 hexadecimal digits).

    Raises WeightsError where the file cannot be read, holds more than tensors, or does not fit.
    """
    content = _content(path)
    state = _fitting(model, _tensors(path, content), f"{path} as weights of {name}")
    classifier = _classifier_names(model)
    body = {key: tensor for key, tensor in state.items() if not key.startswith(classifier)}
    model.load_state_dict(body, strict=False)
    source = f"the file {path.name}"
    if len(body) == len(state):
        source += ", in which only the classifier is missing, and none is needed"
    return source, hashlib.sha256(content).hexdigest()


def _content(path: Path) -> bytes:
    if path.suffix not in (".safetensors", *_TORCH_FILES):
        raise WeightsError(
            f"{path}: {path.suffix or 'no suffix'} is not read; give a file of weights that ends in "
            f".safetensors, .pth or .pt"
        )
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise WeightsError(f"{path}: {size:,} bytes; at most {_MOST_BYTES:,} are read")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read ({error.strerror}); is the path right?"
        ) from None


def _tensors(path: Path, content: bytes) -> State:
    """Tensors by name, out of whatever a training put around them."""
    try:
        if path.suffix == ".safetensors":
            state: Any = load_safetensors(content)
        else:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file provokes in a decoder
        raise WeightsError(_refusal(path, error)) from None
    while nest := next((key for key in _NESTS if _is_nested(state, key)), None):
        state = state[nest]
    named = state.items() if isinstance(state, Mapping) else ()
    tensors = {str(key): value for key, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: holds no dictionary of tensors; {_ADVICE}")
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


_ADVICE = (
    "save the weights alone where the model can be opened: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)


def _is_nested(state: Any, key: str) -> bool:
    return isinstance(state, Mapping) and isinstance(state.get(key), Mapping)


def _refusal(path: Path, error: Exception) -> str:
    if path.suffix == ".safetensors":
        return f"{path}: no safetensors file, or damaged ({error})"
    text = str(error)
    if "TorchScript" in text:
        return f"{path}: a TorchScript program, which is not run; {_ADVICE}"
    if "GLOBAL" in text:  # the instruction that names what is to be called
        return f"{path}: holds more than tensors, and code in a file is not run; {_ADVICE}"
    return f"{path}: damaged, or no file of torch's ({type(error).__name__}); {_ADVICE}"


def _classifier_names(model: Any) -> tuple[str, ...]:
    """Beginnings of the names of the classifier's tensors."""
    names = model.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


@dataclass(frozen=True)
class _Misfit:
    """Why tensors do not fit a network: names, each with a detail where there is one."""

    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def sentence(self) -> str:
        """How many of each kind, and the first few names."""
        parts = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.misshapen),
        )
        return "; ".join(f"{len(n)} {what} ({_listed(n)})" for what, n in parts if n)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _fitting(model: nn.Module, state: State, what: str) -> State:
    """The tensors under the network's own names; raises WeightsError where they do not fit."""
    first: _Misfit | None = None
    for candidate in _translations(model, state):
        misfit = _misfit(model, candidate)
        if not misfit:
            return candidate
        first = first or misfit
    total = len(model.state_dict())
    assert first is not None
    raise WeightsError(
        f"{what}: of the network's {total} tensors and the file's {len(state)} do not fit: "
        f"{first.sentence()}. Is it the right --backbone?"
    )


def _translations(model: nn.Module, state: State) -> Iterator[State]:
    """As it is; with DenseNets' names of before torchvision 0.3; and as timm reads its families'
    original releases."""
    yield state
    yield {_OLD_DENSENET.sub(r"\1\2", key): tensor for key, tensor in state.items()}
    read: Callable[..., Any] | None = getattr(
        sys.modules[type(model).__module__], "checkpoint_filter_fn", None
    )
    if read is not None:
        try:
            found = read(dict(state), model)
        except Exception:  # made for one family's files; another's may lack what it looks for
            return
        if isinstance(found, Mapping):
            yield {key: value for key, value in found.items() if isinstance(value, Tensor)}


def _misfit(model: Any, state: State) -> _Misfit:
    own, classifier = model.state_dict(), _classifier_names(model)
    return _Misfit(
        missing=[key for key in own if key not in state and not _counts_batches(key)],
        unexpected=[k for k in state if k not in own and not k.startswith(classifier)],
        misshapen=list(_misshapen(own, state, own.keys() & state.keys())),
    )


def _misshapen(own: State, state: State, names: Iterable[str]) -> Iterator[str]:
    for key in sorted(names):
        if own[key].shape != state[key].shape:
            yield f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"


def _counts_batches(key: str) -> bool:
    """A counter that old files do not have, and that an evaluation does not use."""
    return key.endswith(".num_batches_tracked")
