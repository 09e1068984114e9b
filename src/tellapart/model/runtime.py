"""Sessions: what runs an ONNX graph. ONNX Runtime by default, OpenVINO where asked for.

Every session may be called from several threads at once, and computes with one thread per call unless a
caller asks one thing at a time: pictures are the unit of parallel work, so an answer depends neither on
the number of workers nor on which pictures happened to be computed together.

ONNX Runtime is told to send nothing to its makers, unless the environment says otherwise.
"""

import os
import threading
from collections.abc import Sequence
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from tellapart.data.cpus import cpu_count
from tellapart.errors import ModelError, RuntimeUnavailable, UsageError

__all__ = ["Runtime", "Session", "load_onnxruntime", "open_session"]

Runtime = Literal["onnxruntime", "openvino"]
Arrays = dict[str, NDArray[np.float32]]

_LARGE = 16 << 20  # bytes of a picture, from which on memory is given back after it


class Session(Protocol):
    """A graph that is ready to run."""

    precision: str
    """What the numbers are computed in, such as `onnxruntime-float32`; part of the cache's key."""
    input: str
    outputs: list[str]

    def run(self, taken: NDArray[Any], names: Sequence[str] | None = None) -> Arrays:
        """The graph's outputs by name, or those of `names`, for its one input: a backbone's is `pixels`,
        float32 (B, 3, H, W)."""
        ...


def open_session(
    graph: bytes, runtime: str = "onnxruntime", workers: int | None = None, *, threads: int = 1
) -> Session:
    """A session over the graph, for as many calls at once as `workers` says (default: all CPUs). Each call
    computes with `threads` threads; the bits of an answer do not depend on that. OpenVINO has its own way.

    Raises UsageError for an unknown runtime, RuntimeUnavailable for one that is not installed, and
    ModelError for a graph that it does not accept.
    """
    if runtime not in get_args(Runtime):
        raise UsageError(
            f"runtime {runtime!r} is unknown; choose from {', '.join(get_args(Runtime))}"
        )
    try:
        if runtime == "onnxruntime":
            return _OnnxRuntime(graph, threads)
        return _OpenVino(graph, workers or cpu_count())
    except RuntimeUnavailable:
        raise
    except Exception as error:
        raise ModelError(f"{runtime} does not accept the graph: {error}") from None


def load_onnxruntime() -> Any:
    """The module. It is asked to send nothing to its makers, which it reads when it is imported."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


class _OnnxRuntime:
    def __init__(self, graph: bytes, threads: int) -> None:
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.enable_mem_pattern = False  # one would be kept for every size of picture
        options.log_severity_level = 4  # what it refuses comes back as an error
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.input = self._session.get_inputs()[0].name
        self._shrinking = onnxruntime.RunOptions()
        self._shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self.precision = "onnxruntime-float32"

    def run(self, taken: NDArray[Any], names: Sequence[str] | None = None) -> Arrays:
        wanted = list(names or self.outputs)
        large = self._shrinking if taken.nbytes > _LARGE else None
        values = self._session.run(wanted, {self.input: taken}, large)
        return dict(zip(wanted, values, strict=True))


class _OpenVino:
    """bfloat16 where the CPU computes in it, float32 elsewhere; one request per calling thread."""

    def __init__(self, graph: bytes, workers: int) -> None:
        try:
            import openvino
        except ImportError:
            raise RuntimeUnavailable(
                "the runtime openvino is not installed. "
                'Install it with: pip install "tellapart[openvino]"'
            ) from None
        core = openvino.Core()
        fast = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = f"openvino-{'bfloat16' if fast else 'float32'}"
        self._model = core.compile_model(
            core.read_model(graph),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": workers,
                "NUM_STREAMS": workers,
                "INFERENCE_PRECISION_HINT": "bf16" if fast else "f32",
            },
        )
        self.outputs = [next(iter(output.names)) for output in self._model.outputs]
        self.input = next(iter(self._model.inputs[0].names))
        self._local = threading.local()

    def run(self, taken: NDArray[Any], names: Sequence[str] | None = None) -> Arrays:
        if not hasattr(self._local, "request"):
            self._local.request = self._model.create_infer_request()
        request: Any = self._local.request
        request.infer({self.input: taken}, share_inputs=True)
        return {
            name: np.array(request.get_output_tensor(i).data, np.float32)
            for i, name in enumerate(self.outputs)
            if names is None or name in names
        }
