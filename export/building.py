"""Building an ONNX graph node by node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8  # widely readable; nothing newer is needed
INPUTS = ("input_ids", "attention_mask")


class GraphBuilder:
    """A graph in the making.

    :param state: the model's parameters by name.
    """

    def __init__(self, state: dict[str, NDArray[np.float32]]) -> None:
        self.state = state
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, NDArray[Any]] = {}

    def node(self, operator: str, *inputs: str, output: str, **attributes: Any) -> str:
        """Add a node named after its output; return that name."""
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        """Add an initialiser, or find the one of that name; return the name."""
        self.tensors.setdefault(name, np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value))
        return name

    def weight(self, name: str) -> str:
        """A parameter as it is."""
        return self.constant(name, self.state[name])

    def linear(
        self,
        name: str,
        source: str,
        weight: NDArray[np.float32] | None = None,
        bias: NDArray[np.float32] | None = None,
        *,
        output: str | None = None,
    ) -> str:
        """A linear layer with torch's weight (O, I) and bias (O,); without them, the parameters of that name.

        :param output: what its nodes are called, where a layer is used more than once; `name` by itself.
        """
        matrix = self.constant(f"{name}.weight", (self.state[f"{name}.weight"] if weight is None else weight).T)
        offsets = self.constant(f"{name}.bias", self.state[f"{name}.bias"] if bias is None else bias)
        product = self.node("MatMul", source, matrix, output=f"{output or name}.product")
        return self.node("Add", product, offsets, output=f"{output or name}.out")

    def norm(self, name: str, source: str, *, output: str | None = None, epsilon: float = 1e-5) -> str:
        """A LayerNorm over the last axis; epsilon is torch's unless given."""
        weights = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        output = output or f"{name}.out"
        return self.node("LayerNormalization", source, *weights, output=output, axis=-1, epsilon=epsilon)

    def gelu(self, source: str, *, name: str = "gelu") -> str:
        """x * (1 + erf(x / sqrt 2)) / 2, in the order of nodes that onnxruntime fuses into one."""
        scaled = self.node("Div", source, self.constant("root2", np.float32(math.sqrt(2))), output=f"{name}.scaled")
        erf = self.node("Erf", scaled, output=f"{name}.erf")
        risen = self.node("Add", erf, self.constant("unit", np.float32(1)), output=f"{name}.risen")
        product = self.node("Mul", source, risen, output=f"{name}.product")
        return self.node("Mul", product, self.constant("half", np.float32(0.5)), output=f"{name}.out")

    def finish(self, name: str, *, output: str, shape: Sequence[str | int]) -> onnx.ModelProto:
        """The checked model: inputs `input_ids`, `attention_mask` (B, T) int64, one fp32 output of that shape."""
        inputs = [helper.make_tensor_value_info(i, TensorProto.INT64, ["B", "T"]) for i in INPUTS]
        result = helper.make_model(
            helper.make_graph(
                self.nodes,
                name,
                inputs,
                [helper.make_tensor_value_info(output, TensorProto.FLOAT, list(shape))],
                [numpy_helper.from_array(value, name) for name, value in self.tensors.items()],
            ),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="onoma",
        )
        onnx.checker.check_model(result)
        return result
