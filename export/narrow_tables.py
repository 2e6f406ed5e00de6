"""Embedding tables in 4 bits: half of int8's size, where a model is mostly vocabulary.

Each 32 numbers of a row share a scale (float16) and have 16 steps, 4.5 bits a number in all. Rows are looked up as they
are stored and only then widened (onnxruntime's GatherBlockQuantized), so memory stays as small as the file. A vector of
a text is a mean over many pieces, in which the rounding of each nearly cancels out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.quantize import SCALE

OPERATOR, DOMAIN = "GatherBlockQuantized", "com.microsoft"
INT4 = "/int4"
BLOCK = 32  # numbers that share a scale
_ZERO = 8  # what stands for zero among 0..15
_SHRINKS = np.linspace(0.7, 1.0, 13, dtype=np.float32)  # of a block's greatest number: what is beyond is clipped


def int4(table: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """A table (V, E) in 4 bits: two numbers a byte (V, E/2), the even ones low, and scales (V, E/32).

    A block's scale is the one, of a few, that makes its squared error smallest.

    :raises ValueError: if E is no multiple of 32.
    """
    rows, width = table.shape
    if width % BLOCK:
        raise ValueError(f"a table in 4 bits must be a multiple of {BLOCK} wide, got {width}")
    blocks = table.reshape(rows, width // BLOCK, BLOCK)
    greatest = np.abs(blocks).max(axis=2)
    best = np.zeros(greatest.shape, dtype=np.float16)
    least = np.full(greatest.shape, np.inf, dtype=np.float32)
    for shrink in _SHRINKS:
        scale = (greatest * shrink / (_ZERO - 1)).astype(np.float16)
        error = np.square(_steps(blocks, scale) * scale[:, :, None].astype(np.float32) - blocks).sum(axis=2)
        better = error < least
        best, least = np.where(better, scale, best), np.where(better, error, least)
    values = (_steps(blocks, best) + _ZERO).astype(np.uint8).reshape(rows, width)
    packed: NDArray[np.uint8] = np.bitwise_or(values[:, 0::2], values[:, 1::2] << 4, dtype=np.uint8)
    return packed, best


def _steps(blocks: NDArray[np.float32], scale: NDArray[np.float16]) -> NDArray[np.float32]:
    wide = scale[:, :, None].astype(np.float32)
    steps: NDArray[np.float32] = np.rint(blocks / np.where(wide > 0, wide, 1)).clip(-_ZERO, _ZERO - 1)
    return steps


def with_narrow_tables(model: onnx.ModelProto, *, smallest: int = 100_000) -> tuple[onnx.ModelProto, list[str]]:
    """A graph with its embedding tables in 4 bits, and their names.

    :param model: a graph with fp32 tables among its initialisers; it is not changed.
    :param smallest: tables with fewer elements, such as positions, stay as they are.
    """
    tables = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2
        and np.prod(tensor.dims) >= smallest and tensor.dims[1] % BLOCK == 0
    }
    uses: dict[str, list[NodeProto]] = {name: [] for name in tables}
    for node in model.graph.node:
        for name in set(node.input) & uses.keys():
            uses[name].append(node)
    chosen = {name for name, nodes in uses.items() if nodes and all(_looks_up(node, name) for node in nodes)}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    if not chosen:
        return result, []
    weights: dict[str, NDArray[Any]] = {}
    for name in chosen:
        weights[name + INT4], weights[name + SCALE] = int4(tables[name])
    nodes = [new for node in result.graph.node for new in _narrow(node, chosen)]
    kept = [tensor for tensor in result.graph.initializer if tensor.name not in chosen]
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(kept)
    result.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    if all(entry.domain != DOMAIN for entry in result.opset_import):
        result.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return result, sorted(chosen)


def _looks_up(node: NodeProto, name: str) -> bool:
    axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    return node.op_type == "Gather" and node.input[0] == name and axes in ([], [0])


def _narrow(node: NodeProto, chosen: set[str]) -> list[NodeProto]:
    if node.op_type != "Gather" or node.input[0] not in chosen:
        return [NodeProto.FromString(node.SerializeToString())]
    (name, ids), out = node.input, node.output[0]
    inputs, half = [name + INT4, ids, name + SCALE], f"{out}/float16"
    options = {"bits": 4, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
    return [
        helper.make_node(OPERATOR, inputs, [half], half, domain=DOMAIN, **options),
        helper.make_node("Cast", [half], [out], f"{out}/Cast", to=TensorProto.FLOAT),
    ]
