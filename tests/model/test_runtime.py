"""Sessions: the same bits from any number of threads, and plain words where a runtime cannot run."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tellapart.data.cpus import cpu_count
from tellapart.errors import ModelError, RuntimeUnavailable, UsageError
from tellapart.model.backbones import open_backbone
from tellapart.model.runtime import open_session


def tiny_graph() -> bytes:
    """Two outputs: `features` (B, 3), the mean of each channel, and `double`, twice the pixels."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["means"]),
        helper.make_node("Flatten", ["means"], ["features"]),
        helper.make_node("Add", ["pixels", "pixels"], ["double"]),
    ]
    shape = ["B", 3, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", 3]),
            helper.make_tensor_value_info("double", TensorProto.FLOAT, shape),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def pictures(count: int, size: int = 224) -> list[NDArray[np.float32]]:
    """Smooth random pictures as a network sees them, (1, 3, size, size)."""
    generator = np.random.default_rng(5)
    coarse = generator.normal(0, 0.6, (count, 1, 3, size // 16 + 1, size // 16 + 1))
    return [np.kron(x, np.ones((16, 16)))[..., :size, :size].astype(np.float32) for x in coarse]


def has_openvino() -> bool:
    try:
        import openvino  # noqa: F401
    except ImportError:
        return False
    return True


RUNTIMES = [
    "onnxruntime",
    pytest.param(
        "openvino", marks=pytest.mark.skipif(not has_openvino(), reason="openvino is not installed")
    ),
]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_outputs_have_the_names_of_the_graph(runtime: str) -> None:
    session = open_session(tiny_graph(), runtime, workers=1)
    for shape in [(1, 3, 4, 5), (2, 3, 7, 1)]:
        pixels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 64
        found = session.run(pixels)
        assert set(found) == {"features", "double"}
        assert all(values.dtype == np.float32 for values in found.values())
        assert found["features"] == pytest.approx(pixels.mean(axis=(2, 3)), rel=1e-2)
        assert found["double"] == pytest.approx(2 * pixels, rel=1e-2)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_answer_is_not_changed_by_the_next_question(runtime: str) -> None:
    session = open_session(tiny_graph(), runtime, workers=1)
    first = session.run(np.ones((1, 3, 2, 2), np.float32))["features"]
    session.run(np.zeros((1, 3, 2, 2), np.float32))
    assert first.tolist() == [[1, 1, 1]]


def test_the_same_bits_from_one_thread_and_from_four() -> None:
    graph = open_backbone("tf_efficientnet_lite0").graph
    some = pictures(8)
    alone = open_session(graph, workers=1)
    expected = [alone.run(pixels)["features"].tobytes() for pixels in some]
    assert len(set(expected)) == len(some)
    shared = open_session(graph, workers=4)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            answers = pool.map(lambda pixels: shared.run(pixels)["features"].tobytes(), some)
            assert list(answers) == expected


def test_a_call_computes_in_its_own_thread() -> None:
    session = open_session(open_backbone("tf_efficientnet_lite0").graph, workers=4)
    (pixels,) = pictures(1)
    everywhere, here = time.process_time(), time.thread_time()
    for _ in range(20):
        session.run(pixels)
    everywhere, here = time.process_time() - everywhere, time.thread_time() - here
    assert everywhere < 1.3 * here


@pytest.mark.skipif(not has_openvino(), reason="openvino is not installed")
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_lite2"])
def test_openvino_agrees_with_onnxruntime(name: str) -> None:
    backbone = open_backbone(name)
    one, other = (open_session(backbone.graph, r, workers=2) for r in ("onnxruntime", "openvino"))
    assert one.precision == "onnxruntime-float32"
    assert other.precision in ("openvino-float32", "openvino-bfloat16")
    for pixels in pictures(3, backbone.info.preprocess.size):
        a, b = (session.run(pixels)["features"][0].astype(float) for session in (one, other))
        assert a @ b / np.sqrt((a @ a) * (b @ b)) >= 0.999


@pytest.mark.skipif(not has_openvino(), reason="openvino is not installed")
def test_openvino_answers_many_threads_at_once() -> None:
    session = open_session(tiny_graph(), "openvino", workers=2)
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(
            lambda i: session.run(np.full((1, 3, 4, 4), i, np.float32))["features"], range(64)
        )
        assert [answer[0, 0] for answer in answers] == list(range(64))


def test_an_unknown_runtime() -> None:
    with pytest.raises(
        UsageError, match="'tensorrt' is unknown; choose from onnxruntime, openvino"
    ):
        open_session(tiny_graph(), "tensorrt")


def test_a_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeUnavailable, match=r'pip install "tellapart\[openvino\]"'):
        open_session(tiny_graph(), "openvino")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("graph", [b"", b"no graph", tiny_graph()[:60]])
def test_what_is_no_graph(runtime: str, graph: bytes) -> None:
    with pytest.raises(ModelError, match=f"{runtime} does not accept the graph") as caught:
        open_session(graph, runtime)
    assert not isinstance(caught.value, RuntimeUnavailable)


# How many CPUs there are.


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system knows no affinity")
@pytest.mark.parametrize("count", [1, 2])
def test_cpus_are_those_that_the_process_may_use(count: int) -> None:
    allowed = sorted(os.sched_getaffinity(0))[:count]
    if len(allowed) < count:
        pytest.skip("there are fewer CPUs")
    code = (
        f"import os; os.sched_setaffinity(0, {allowed}); "
        "from tellapart.data.cpus import cpu_count; print(cpu_count())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert 1 <= int(output.stdout) <= count


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("max 100000\n", 16), ("400000 100000\n", 4), ("150000 100000\n", 2), ("10000 100000\n", 1),
        ("9900000 100000\n", 16), ("", 16), (None, 16), ("rubbish", 16),
    ],
)  # fmt: skip
def test_a_containers_quota_counts(
    monkeypatch: pytest.MonkeyPatch, quota: str | None, cpus: int
) -> None:
    def read_text(path: Path, *_: Any, **__: Any) -> str:
        assert str(path) == "/sys/fs/cgroup/cpu.max"
        if quota is None:
            raise FileNotFoundError(path)
        return quota

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert cpu_count() == cpus


def test_a_system_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for count in (1, None):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert cpu_count() == 1
