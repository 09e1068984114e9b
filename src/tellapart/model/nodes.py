"""Nodes and constants of an ONNX graph, as they are added one after the other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper
from onnx.helper import make_node

__all__ = ["Nodes"]


class Nodes:
    """Every method returns the name of what it added; names begin with `prefix`, so that they collide
    with no others.

    >>> nodes = Nodes("half/")
    >>> nodes.add("Div", "x", nodes.constant(np.float32(2)))
    'half/Div_1'
    """

    def __init__(self, prefix: str) -> None:
        self._prefix, self._count = prefix, 0
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """A node of one output; `output` names it where the name matters."""
        name = self._name(op)
        self.nodes.append(make_node(op, list(inputs), [output or name], name=name, **attributes))
        return output or name

    def outputs(self, op: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """A node of several outputs."""
        names = [self._name(op) for _ in range(count)]
        self.nodes.append(make_node(op, list(inputs), names, name=names[0], **attributes))
        return names

    def constant(self, value: NDArray[Any] | np.generic | list[int]) -> str:
        """A constant; a list becomes int64."""
        name = self._name("constant")
        array = np.asarray(value, np.int64 if isinstance(value, list) else None)
        self.constants.append(
            numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        )
        return name

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{self._prefix}{kind}_{self._count - 1}"
