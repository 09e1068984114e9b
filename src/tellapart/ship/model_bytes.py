"""The bytes of an exported model, looked at before any runtime sees them: whole, unchanged, and bounded.

An ONNX file is a protocol buffer; its fields are walked here without the package onnx, which a base install
has not, and weights are skipped by their length. A digest tells a damaged or edited file. It does not tell
who made a file: whoever edits one can make another digest. So what a graph may hold is bounded too:
standard operators, no control flow, no functions, no data outside of the file, no unknown fields.

It does not know how much time or memory a graph will take: a hostile one can waste both, and run nothing.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

from tellapart.errors import ModelError

__all__ = ["MOST_BYTES", "NO_SEAL", "SEAL", "check_seal", "metadata_of", "seal"]

MOST_BYTES: Final = (1 << 31) - 1
"""Of a file: a protocol buffer has less than 2 GiB."""

SEAL: Final = "tellapart_sha256"
"""The key of the digest, in the file's metadata."""

NO_SEAL: Final = "0" * 64
"""What stands in its place while the digest is computed."""

_MOST_METADATA = 64 << 20
_CONTROL = frozenset(["If", "Loop", "Scan", "SequenceMap"])
_STANDARD = (b"", b"ai.onnx")
_IN_THE_FILE = 0
# Numbers of fields (onnx.proto3). What is not among them is refused: functions and training steps of a
# model, sparse tensors, graphs inside of attributes, and whatever nobody knows yet.
_MODEL = frozenset([1, 2, 3, 4, 5, 6, 7, 8, 14])
_GRAPH = frozenset([1, 2, 5, 10, 11, 12, 13])
_NODE = frozenset([1, 2, 3, 4, 5, 6, 7])
_ATTRIBUTE = frozenset([1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 20])
_TENSOR = frozenset([1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14])
_PAIR = frozenset([1, 2])

Value = memoryview | int


def seal(content: bytes) -> bytes:
    """The content with its digest in the place of `NO_SEAL`."""
    start, digest = _seal_place(content), _digest(content)
    return content[:start] + digest.encode() + content[start + len(digest) :]


def check_seal(content: bytes, name: str) -> None:
    """Raises ModelError for a file that tellapart has not written, or that was changed since."""
    start = _seal_place(content)
    if start < 0:
        raise ModelError(
            f"{name} is no model that tellapart has exported, or was cut. "
            "Make one: tellapart export RUN -o model.onnx"
        )
    if _digest(content).encode() != content[start : start + len(NO_SEAL)]:
        raise ModelError(
            f"{name} was changed or damaged since it was exported: its digest does not fit. "
            "Copy it again, or export again"
        )


def metadata_of(content: bytes, name: str) -> dict[str, str]:
    """The file's metadata, after a walk over all of its graph. Raises ModelError where that is no graph, or
    none of the allowed kind."""
    metadata: dict[str, str] = {}
    size = 0
    try:
        for number, value in _fields(memoryview(content), _MODEL):
            if number == 7:
                _check_graph(_part(value))
            elif number == 8:
                _check_domain(_first(_part(value), 1))
            elif number == 14:
                size += len(_part(value))
                if size > _MOST_METADATA:
                    raise ValueError("its metadata is too long")
                key, text = _first(_part(value), 1), _first(_part(value), 2)
                metadata[str(key, "utf-8")] = str(text, "utf-8")
    except (ValueError, IndexError) as error:
        raise ModelError(
            f"{name} cannot be used: {error}. Take a file that tellapart export has written"
        ) from None
    return metadata


def _seal_place(content: bytes) -> int:
    """Where the digest stands, near the end; −1 where there is none."""
    mark = SEAL.encode() + b"\x12\x40"  # a field of 64 bytes follows the key
    place = content.rfind(mark)
    return place if place < 0 else place + len(mark)


def _digest(content: bytes) -> str:
    """SHA-256 of the content with `NO_SEAL` in the place of the digest; without a copy of it."""
    start = _seal_place(content)
    rest = memoryview(content)
    digest = hashlib.sha256(rest[:start])
    digest.update(NO_SEAL.encode())
    digest.update(rest[start + len(NO_SEAL) :])
    return digest.hexdigest()


def _check_graph(graph: memoryview) -> None:
    for number, value in _fields(graph, _GRAPH):
        if number == 1:
            _check_node(_part(value))
        elif number == 5:
            _check_inside(_part(value))


def _check_node(node: memoryview) -> None:
    for number, value in _fields(node, _NODE):
        if number == 4 and (kind := str(_part(value), "utf-8")) in _CONTROL:
            raise ValueError(f"the operator {kind} is not allowed in it")
        if number == 7:
            _check_domain(_part(value))
        elif number == 5:
            for inner, part in _fields(_part(value), _ATTRIBUTE):
                if inner in (5, 10):
                    _check_inside(_part(part))


def _check_inside(tensor: memoryview) -> None:
    """The numbers of a tensor lie in the file, not beside it."""
    for number, value in _fields(tensor, _TENSOR):
        if number == 13 or (number == 14 and value != _IN_THE_FILE):
            raise ValueError("its weights lie in another file")


def _check_domain(domain: memoryview | bytes) -> None:
    if bytes(domain) not in _STANDARD:
        raise ValueError(f"it has operators of {bytes(domain[:80])!r}, not standard ones alone")


def _first(message: memoryview, wanted: int) -> memoryview | bytes:
    return next(
        (_part(value) for number, value in _fields(message, _PAIR) if number == wanted), b""
    )


def _part(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a field has the wrong type")
    return value


def _fields(message: memoryview, known: frozenset[int]) -> Iterator[tuple[int, Value]]:
    """Numbers and values of a message's fields (protobuf.dev, "Encoding"), which have to be known ones.
    Raises ValueError and IndexError."""
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if number not in known:
            raise ValueError(f"it holds what no exported model does (field {number})")
        if kind == 0:
            value, place = _varint(message, place)
            yield number, value
            continue
        length = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            length, place = _varint(message, place)
        if length is None or place + length > end:
            raise ValueError("it is cut, or no ONNX file")
        yield number, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place
        if shift > 63:
            raise ValueError("it is no ONNX file")
