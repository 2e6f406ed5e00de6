"""int8 weights inside an fp32 graph: a pass over any ONNX model, for student and teacher alike.

Stored as int8, computed as fp32. A weight matrix becomes `Cast(int8) * scale`, which onnxruntime folds back into one
fp32 constant when it loads the model: the file is four times smaller, speed is fp32's, and an answer depends on nothing
but the text. (`DequantizeLinear` would not fold: onnxruntime 1.31 turns it into MatMulNBits.) An embedding table stays
int8 in memory too: its rows are gathered first, then scaled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.errors import ExportError

METHODS = ("int8-weights", "int8-static", "int8-dynamic", "fp32")
OPERATORS = ("MatMul", "Gemm", "LSTM", "Gather")
LOGITS = "logits"
INT8, SCALE = "/int8", "/scale"  # behind the name of a weight: its stored values, and what they are multiplied by

_Use = tuple[str, int, int]  # operator, position of the weight among its inputs, axis that shares one scale


def int8(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 values and scales of a weight; `values * scale` is within half a scale of the weight.

    :param axis: the axis over which one scale is shared; the scale keeps it with size 1.
    """
    scale = np.abs(weight).max(axis=axis, keepdims=True) / np.float32(127)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return np.rint(weight / scale).clip(-127, 127).astype(np.int8), scale


def quantize_weights(
    model: onnx.ModelProto,
    *,
    operators: Collection[str] = OPERATORS,
    smallest: int = 1024,
    kept: Collection[str] | None = None,
) -> tuple[onnx.ModelProto, list[str]]:
    """Store the float weights of a model as int8, one scale per output channel or embedding row.

    The head (the last MatMul or Gemm before `logits`) stays fp32: it is small and decides.

    :param model: a model with fp32 weights among its initialisers; it is not changed.
    :param operators: whose weights to store; of MatMul, Gemm, LSTM, Gather.
    :param smallest: weights with fewer elements stay fp32.
    :param kept: names of nodes whose weights stay fp32; None for the head.
    :return: the new model and the names of the weights that became int8.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    uses = _uses(graph, operators, kept=head_nodes(graph) if kept is None else kept)
    weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT and np.prod(t.dims) >= smallest}
    chosen = {name: uses[name] for name in weights if uses.get(name) is not None}
    before: list[NodeProto] = []
    tables: dict[str, tuple[str, str]] = {}
    for name, use in chosen.items():
        if use is None:
            continue
        values, scale = int8(numpy_helper.to_array(weights[name]), use[2])
        stored, scales = name + INT8, name + SCALE
        graph.initializer.remove(weights[name])
        graph.initializer.extend([numpy_helper.from_array(values, stored), numpy_helper.from_array(scale, scales)])
        if use[0] == "Gather":
            tables[name] = (stored, scales)
        else:
            before.append(helper.make_node("Cast", [stored], [f"{name}/cast"], f"{name}/Cast", to=TensorProto.FLOAT))
            before.append(helper.make_node("Mul", [f"{name}/cast", scales], [name], f"{name}/Mul"))
    after = [new for node in graph.node for new in _gather(node, tables)]
    del graph.node[:]
    graph.node.extend([*before, *after])
    return result, sorted(chosen)


def _gather(node: NodeProto, tables: dict[str, tuple[str, str]]) -> Iterator[NodeProto]:
    """The node itself, or for a lookup in an int8 table: look up values and scales, and multiply."""
    if node.op_type != "Gather" or node.input[0] not in tables:
        yield node
        return
    (stored, scales), ids, out = tables[node.input[0]], node.input[1], node.output[0]
    yield helper.make_node("Gather", [stored, ids], [out + INT8], node.name + INT8, axis=0)
    yield helper.make_node("Gather", [scales, ids], [out + SCALE], node.name + SCALE, axis=0)
    yield helper.make_node("Cast", [out + INT8], [f"{out}/cast"], f"{node.name}/Cast", to=TensorProto.FLOAT)
    yield helper.make_node("Mul", [f"{out}/cast", out + SCALE], [out], f"{node.name}/Mul")


def _uses(graph: onnx.GraphProto, operators: Collection[str], kept: Collection[str]) -> dict[str, _Use | None]:
    """How each tensor is used as a weight; None if it may not be stored as int8 or its uses disagree."""
    found: dict[str, set[_Use | None]] = defaultdict(set)
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        free = node.op_type in operators and node.name not in kept
        for position, name in enumerate(node.input):
            found[name].add(_use(node, position, ranks.get(name, 0)) if free else None)
        for attribute in node.attribute:  # weights that the body of an If or a Loop reaches out for
            for body in (attribute.g, *attribute.graphs):
                for name in _names_inside(body):
                    found[name].add(None)
    for output in graph.output:
        found[output.name].add(None)
    return {name: next(iter(uses)) if len(uses) == 1 else None for name, uses in found.items()}


def _names_inside(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _names_inside(body)


def _use(node: NodeProto, position: int, rank: int) -> _Use | None:
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    match node.op_type, position, rank:
        case "MatMul", 1, 2:
            return "MatMul", 1, 0
        case "Gemm", 1, 2:
            return "Gemm", 1, 1 if attributes.get("transB", 0) else 0
        case "LSTM", (1 | 2), 3:
            return "LSTM", position, 2
        case "Gather", 0, 2 if attributes.get("axis", 0) == 0:
            return "Gather", 0, 1
    return None


def head_nodes(graph: onnx.GraphProto) -> list[str]:
    """Name of the MatMul or Gemm that makes the logits, as a list.

    :raises ExportError: if the graph has no output `logits` made by one, or the node has no name.
    """
    makers = {output: node for node in graph.node for output in node.output}
    name = LOGITS
    while (node := makers.get(name)) is not None and node.op_type not in ("MatMul", "Gemm"):
        # Of Add(bias, x), follow the input that is computed.
        name = next((entry for entry in node.input if entry in makers), "")
    if node is None or not node.name:
        raise ExportError(
            f"the graph has no linear layer that makes {LOGITS!r}; outputs: {[o.name for o in graph.output]}"
        )
    return [node.name]
