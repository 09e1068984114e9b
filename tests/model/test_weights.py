"""Reading weight files: the right numbers from good ones, an error and nothing else from bad ones."""

import hashlib
import importlib.util
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tellapart.errors import ModelError, WeightsError
from tellapart.model.embedded import BACKBONES, PACKAGES
from tellapart.model.weights import read_weights

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
Array = NDArray[Any]


def package_file(name: str) -> Path:
    package = PACKAGES[name]
    spec = importlib.util.find_spec(package.package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / package.file


# The embedded packages.


@pytest.mark.parametrize(
    ("name", "count", "channels", "stem", "bias"),
    [
        ("tf_efficientnet_lite0", 296, 320, [-1.1103361, -1.3087704, -0.01015691], 0.03205391),
        ("tf_efficientnet_lite2", 386, 352, [0.08755372, 0.02278794, 0.3954656], 0.03151395),
    ],
)
def test_the_embedded_weights(
    name: str, count: int, channels: int, stem: list[float], bias: float
) -> None:
    file = package_file(name)
    tensors = read_weights(file, sha256=BACKBONES[name].weights_sha256)
    assert len(tensors) == count
    assert list(tensors)[:2] == ["_conv_stem.weight", "_bn0.weight"]
    assert list(tensors)[-2:] == ["_fc.weight", "_fc.bias"]
    assert {name: tensors[name].shape for name in SHAPES} == SHAPES
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"float32", "int64"}
    assert all(tensor.flags.c_contiguous for tensor in tensors.values())
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    assert tensors["_conv_stem.weight"].ravel()[:3] == pytest.approx(stem, rel=1e-6)
    assert tensors["_fc.bias"][0] == pytest.approx(bias, rel=1e-6)
    assert all((t >= 0).all() for n, t in tensors.items() if n.endswith("running_var"))
    assert tensors["_conv_head.weight"].shape == (1280, channels, 1, 1)
    # Convolutions are stored permuted: in the file, an output channel's number follows another's.
    content = file.read_bytes()
    assert tensors["_conv_stem.weight"][:, 0, 0, 0].tobytes() in content
    assert tensors["_conv_stem.weight"][0, 0].tobytes() not in content
    assert tensors["_fc.weight"][:, 17].tobytes() in content


SHAPES = {
    "_conv_stem.weight": (32, 3, 3, 3),
    "_bn0.running_mean": (32,),
    "_bn0.num_batches_tracked": (),
    "_blocks.0._depthwise_conv.weight": (32, 1, 3, 3),
    "_blocks.1._expand_conv.weight": (96, 16, 1, 1),
    "_fc.weight": (1000, 1280),
    "_fc.bias": (1000,),
}


def test_a_changed_or_cut_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    content = bytearray(package_file("tf_efficientnet_lite0").read_bytes())
    sha256 = BACKBONES["tf_efficientnet_lite0"].weights_sha256
    file = tmp_path / "weights.pth"
    content[len(content) // 2] ^= 1
    for wrong in (bytes(content), bytes(content[:-1]), b""):
        file.write_bytes(wrong)
        with pytest.raises(
            WeightsError, match=r"weights\.pth: the file was changed or cut"
        ) as caught:
            read_weights(file, sha256=sha256)
        assert sha256[:12] in str(caught.value)
        assert hashlib.sha256(wrong).hexdigest()[:12] in str(caught.value)
        assert "install its package again" in str(caught.value)
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert len(read_weights(file, sha256=sha256)) == 296


# Files made by hand, in torch's format from before version 1.6.


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def numbers(values: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def tensor(
    key: str, numel: int, shape: Iterable[int], stride: Iterable[int], *, offset: int = 0,
    kind: str = "FloatStorage",
) -> bytes:  # fmt: skip
    """The instructions that describe one tensor over the storage `key` of `numel` numbers."""
    storage = (
        b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu")
        + number(numel) + b"NtQ"
    )  # fmt: skip
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(shape)
        + numbers(stride) + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def legacy(
    tensors: dict[str, bytes],
    storages: dict[str, Array],
    *,
    magic: bool = True,
    little: bool = True,
) -> bytes:
    head = pickle.dumps(MAGIC, 2) + pickle.dumps(PROTOCOL, 2) if magic else b""
    machine = {"protocol_version": PROTOCOL, "little_endian": little, "type_sizes": {"int": 4}}
    state = b"}(" + b"".join(text(name) + body for name, body in tensors.items()) + b"u"
    return (
        head
        + pickle.dumps(machine, 2)
        + program(state)
        + pickle.dumps(list(storages), 2)
        + b"".join(struct.pack("<q", len(s)) + s.tobytes() for s in storages.values())
    )


VALUES = np.arange(24, dtype=np.float32) / 7


def small() -> bytes:
    return legacy(
        {
            "plain": tensor("0", 24, (2, 3, 4), (12, 4, 1)),
            "permuted": tensor("0", 24, (4, 3, 2), (1, 4, 12)),
            "part": tensor("0", 24, (2, 2), (4, 1), offset=5),
            "scalar": tensor("1", 1, (), (), kind="LongStorage"),
            "none": tensor("1", 1, (0, 3), (3, 1), kind="LongStorage"),
        },
        {"0": VALUES, "1": np.array([42], np.int64)},
    )


def read(folder: Path, content: bytes) -> dict[str, Array]:
    (folder / "small.pth").write_bytes(content)
    return read_weights(folder / "small.pth")


def refused(folder: Path, content: bytes) -> str:
    with pytest.raises(WeightsError) as caught:
        read(folder, content)
    assert "small.pth" in str(caught.value)
    return str(caught.value)


def test_shapes_strides_and_offsets(tmp_path: Path) -> None:
    found = read(tmp_path, small())
    assert list(found) == ["plain", "permuted", "part", "scalar", "none"]
    plain = VALUES.reshape(2, 3, 4)
    assert np.array_equal(found["plain"], plain)
    assert np.array_equal(found["permuted"], plain.transpose(2, 1, 0))
    assert found["permuted"].flags.c_contiguous
    assert np.array_equal(found["part"], VALUES[[[5, 6], [9, 10]]])
    assert (found["scalar"].shape, found["scalar"].dtype, found["scalar"][()]) == ((), np.int64, 42)
    assert found["none"].shape == (0, 3)


def test_what_is_no_tensor_is_passed_over(tmp_path: Path) -> None:
    content = legacy(
        {"version": number(3), "a": tensor("0", 2, (2,), (1,))}, {"0": np.float32([1, 2])}
    )
    assert list(read(tmp_path, content)) == ["a"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_a_file_written_by_torch(tmp_path: Path) -> None:
    import torch

    file = tmp_path / "torch.pth"
    torch.save({"a": torch.arange(6.0).view(2, 3).t()}, file, _use_new_zipfile_serialization=False)
    assert read_weights(file)["a"].tolist() == [[0, 3], [1, 4], [2, 5]]


# Hostile files. Nothing in them may run.


def marks_of(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != "small.pth"]


@pytest.mark.parametrize("place", ["first", "after the magic", "in the state"])
@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n(X%sX-tR",
        b"cposix\nsystem\n(X%sX-tR",
        b"cbuiltins\nexec\n(X%sX-tR",
        b"(X%sX-ios\nsystem\n",  # INST
        b"(cos\nsystem\nX%sX-o",  # OBJ
        b"\x8c\x02os\x8c\x06system\x93(X%sX-tR",  # STACK_GLOBAL
        b"ctorch._utils\n_rebuild_tensor_v2\n(cos\nsystem\ntR",
        b"cnumpy\nload\n(X%sX-tR",
        b"cos\nsystem\nX%sX-\x81",  # NEWOBJ
        b"\x82\x01",  # EXT1: a name from copyreg's registry
    ],
)
def test_a_file_that_would_run_something_is_refused(
    tmp_path: Path, call: bytes, place: str
) -> None:
    command = f"touch {tmp_path / 'ran'}"
    body = call.replace(b"X%sX-", text(command))
    if place == "first":
        content = program(body)
    elif place == "after the magic":
        content = pickle.dumps(MAGIC, 2) + pickle.dumps(PROTOCOL, 2) + program(body)
    else:
        content = legacy({"a": body}, {})
    assert "which no weights need" in refused(tmp_path, content)
    assert marks_of(tmp_path) == []


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_whatever_pickle_writes_runs_nothing(tmp_path: Path, protocol: int) -> None:
    for head in (b"", pickle.dumps(MAGIC, 2) + pickle.dumps(PROTOCOL, 2)):
        refused(tmp_path, head + pickle.dumps(_Touch(tmp_path / "ran"), protocol))
    assert marks_of(tmp_path) == []
    pickle.loads(pickle.dumps(_Touch(tmp_path / "ran"), protocol))
    assert marks_of(tmp_path) == ["ran"]  # the file was dangerous indeed


def test_names_that_are_known_cannot_be_called_otherwise(tmp_path: Path) -> None:
    refused(tmp_path, legacy({"a": b"ctorch\nFloatStorage\n)R"}, {}))
    refused(tmp_path, legacy({"a": b"ctorch._utils\n_rebuild_tensor_v2\n)R"}, {}))
    refused(tmp_path, legacy({"a": number(1) + b")R"}, {}))


def test_a_file_of_a_big_endian_machine_is_refused(tmp_path: Path) -> None:
    content = legacy({"a": tensor("0", 1, (1,), (1,))}, {"0": np.float32([1])}, little=False)
    assert "big-endian" in refused(tmp_path, content)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    assert "convert it to safetensors" in refused(tmp_path, pickle.dumps(7, 2) + pickle.dumps(8, 2))
    refused(tmp_path, b"PK\x03\x04" + b"\0" * 100)  # torch's newer format
    refused(tmp_path, b"")
    refused(tmp_path, b"\x89PNG\r\n\x1a\n")
    refused(tmp_path, legacy({}, {}, magic=False))
    head = pickle.dumps(MAGIC, 2) + pickle.dumps(PROTOCOL, 2)
    machine = pickle.dumps({"little_endian": True}, 2)
    assert "no dictionary" in refused(tmp_path, head + machine + program(number(5)))
    assert "big-endian" in refused(tmp_path, head + program(number(5)) + machine)


@pytest.mark.parametrize(
    "body",
    [
        tensor("0", 4, (5,), (1,)),
        tensor("0", 4, (2, 2), (3, 1)),
        tensor("0", 4, (2,), (1,), offset=3),
        tensor("0", 4, (2,), (1,), offset=-1),
        tensor("0", 4, (2,), (-1,), offset=3),
        tensor("0", 4, (-2,), (1,)),
        tensor("0", 4, (2, 2), (1,)),
        tensor("0", 4, (2,), (2**31 - 1,)),
        tensor("0", 4, (2**31 - 1,), (0,)),  # 8 GiB from one number
        tensor("0", 4, (2**31 - 1,) * 4, (0,) * 4),
        tensor("0", 3, (2,), (1,)),
        tensor("0", -4, (2,), (1,)),
        tensor("0", 2**31 - 1, (2,), (1,)),
        tensor("other", 4, (2,), (1,)),
        tensor("0", 4, (2,), (1,), kind="DoubleStorage"),
    ],
)
@pytest.mark.timeout(20)
def test_tensors_that_do_not_fit_their_storage(tmp_path: Path, body: bytes) -> None:
    storage = np.arange(4, dtype=np.float32)
    assert read(tmp_path, legacy({"a": tensor("0", 4, (4,), (1,))}, {"0": storage}))["a"][3] == 3
    refused(tmp_path, legacy({"a": body}, {"0": storage}))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("use", ["key", "storage", "shape"])
def test_a_small_file_that_means_a_huge_value(tmp_path: Path, use: str) -> None:
    """Sixty tuples, each of them twice the one before: written out or hashed they would never end."""
    laughs = text("ha") + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    bodies = {
        "key": b"}" + laughs + number(1) + b"s",
        "storage": b"(" + laughs + number(0) * 5 + b"tQ",
        "shape": b"ctorch._utils\n_rebuild_tensor_v2\n(" + b"(" + text("storage")
        + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(1) + b"NtQ" + number(0)
        + laughs + numbers([1]) + b"tR",
    }  # fmt: skip
    refused(tmp_path, legacy({"a": bodies[use]}, {"0": np.float32([1])}))


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    content = small()
    for end in [*range(0, len(content), 11), *range(len(content) - 30, len(content))]:
        refused(tmp_path, content[:end])


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "lost.pth", tmp_path):
        with pytest.raises(WeightsError, match="cannot be read") as caught:
            read_weights(path)
        assert str(path) in str(caught.value)
    assert issubclass(WeightsError, ModelError)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.pth").open("wb") as file:
        file.truncate((4 << 30) + 1)  # sparse
    with pytest.raises(WeightsError, match="at most"):
        read_weights(tmp_path / "huge.pth")


@settings(max_examples=150)
@given(
    flips=st.lists(st.tuples(st.integers(0, len(small()) - 1), st.integers(0, 255)), max_size=4),
    cut=st.none() | st.integers(0, len(small())),
    more=st.binary(max_size=8),
)
def test_a_changed_file_gives_tensors_or_a_weights_error(
    tmp_path_factory: pytest.TempPathFactory,
    flips: list[tuple[int, int]],
    cut: int | None,
    more: bytes,
) -> None:
    content = bytearray(small())
    for place, value in flips:
        content[place] = value
    gives_tensors_or_a_weights_error(tmp_path_factory, bytes(content[:cut]) + more)


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from(
            [
                bytes([code])
                for code in b"(.0)}]tsuaeRQNb\x85\x86\x87\x88\x89"
            ]
            + [number(0), number(3), text("a"), b"q\0", b"h\0", b"ccollections\nOrderedDict\n",
               b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n",
               tensor("0", 4, (2,), (1,))]
        ),
        max_size=25,
    ).map(b"".join)
)  # fmt: skip
def test_any_program_gives_tensors_or_a_weights_error(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    gives_tensors_or_a_weights_error(
        tmp_path_factory, legacy({"a": body}, {"0": np.arange(4, dtype=np.float32)})
    )


def gives_tensors_or_a_weights_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    try:
        tensors = read(tmp_path_factory.getbasetemp(), content)
    except WeightsError as error:
        assert "small.pth" in str(error)  # noqa: PT017
        return
    assert all(isinstance(tensor, np.ndarray) for tensor in tensors.values())
    assert sum(tensor.nbytes for tensor in tensors.values()) < 1 << 20


# safetensors.


def test_safetensors_round_trip(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    generator = np.random.default_rng(0)
    tensors: dict[str, Array] = {
        "a.weight": generator.normal(size=(3, 4)).astype(np.float32),
        "b": np.arange(5, dtype=np.int64),
        "scalar": np.array(1.5, np.float32),
    }
    file = tmp_path / "weights.safetensors"
    save_file(tensors, file)
    found = read_weights(file, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    assert set(found) == set(tensors)
    for name, expected in tensors.items():
        assert found[name].dtype == expected.dtype
        assert np.array_equal(found[name], expected)
        assert found[name].shape == expected.shape


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 7, b"\xff" * 64, b"\x08" + b"\0" * 7 + b"not json"]
)
def test_damaged_safetensors(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.safetensors: damaged"):
        read_weights(file)


def test_reading_loads_no_torch() -> None:
    code = "import sys, tellapart.model.weights, tellapart.model.backbones; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
