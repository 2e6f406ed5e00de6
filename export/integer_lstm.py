"""int8 arithmetic for a BiLSTM whose answers depend on nothing but the text.

onnxruntime's DynamicQuantizeLSTM multiplies in 8 bits, with one scale for all inputs of a run and one for all states of
a time step: whoever runs beside a text moves its answer. Here both scales are constants. Two more inputs are always the
least and the greatest value, and two more units always the least and the greatest state: with every gate open, a cell
gains 1 a step, so that its state after t steps is tanh(t) or -tanh(t), beyond which no LSTM comes. Rows of zeros take
the two units out of what reads the states.

The embedding table has one scale, found by least squared error, in the very steps of the LSTM's inputs: rounding occurs
once, here. Weights have 7 bits, as without VNNI the sums of products of unsigned and signed 8-bit numbers saturate on
x86; so every machine computes the same integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.quantize import INT8, SCALE

OPERATOR, DOMAIN = "DynamicQuantizeLSTM", "com.microsoft"
MORE = 2
"""Inputs and units that keep the ranges constant."""
_OPEN = 20.0  # the sigmoid of this is 1 in fp32
_LEAST, _MOST = -128, 127
_SEVEN_BITS = 63

Floats = NDArray[np.float32]


def with_fixed_ranges(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A BiLSTM student's graph with int8 arithmetic in the LSTM, and how it computes.

    :param model: what `student_graph` gives; it is not changed.
    :raises ExportError: if it has no LSTM that reads an embedding table.
    """
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    lstm = next((node for node in model.graph.node if node.op_type == "LSTM"), None)
    lookup = next((node for node in model.graph.node if lstm is not None and node.output[0] == lstm.input[0]), None)
    if lstm is None or lookup is None or lookup.op_type != "Gather":
        raise ExportError("int8-static needs an LSTM that reads an embedding table, and the graph has none")
    table, (w, r, biases), lengths = lookup.input[0], lstm.input[1:4], lstm.input[4]
    hidden = tensors[r].shape[2]
    values, scale = table_in_steps(tensors[table])
    ends = np.broadcast_to(np.array([_LEAST, _MOST], dtype=np.int8), (len(values), MORE))
    new: dict[str, NDArray[Any]] = {
        table + INT8: np.concatenate([values, ends], axis=1),
        table + SCALE: scale,
        biases: _wider_biases(tensors[biases], hidden),
    }
    gone = {table, w, r}
    for name, inputs in ((w, tensors[w].shape[2]), (r, hidden)):
        wide = np.pad(_by_gate(tensors[name]), ((0, 0), (0, 0), (0, MORE), (0, MORE)))
        integers, scales = _in_seven_bits(wide.reshape(len(wide), -1, inputs + MORE))
        new |= {name + INT8: integers, name + SCALE: scales, f"{name}/zero": np.zeros(scales.shape, dtype=np.int8)}
    raw, vectors = f"{lookup.output[0]}{INT8}", lookup.output[0]
    weights = [vectors, w + INT8, r + INT8, biases, lengths, "", "", ""]
    weights += [name + end for name in (w, r) for end in (SCALE, "/zero")]
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.name == lookup.name:
            nodes.append(helper.make_node("Gather", [table + INT8, node.input[1]], [raw], raw, axis=0))
            nodes.append(helper.make_node("Cast", [raw], [f"{raw}/cast"], f"{raw}/Cast", to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"{raw}/cast", table + SCALE], [vectors], f"{raw}/Mul"))
        elif node.name == lstm.name:
            facts = {"direction": "bidirectional", "hidden_size": hidden + MORE}
            nodes.append(helper.make_node(OPERATOR, weights, node.output, node.name, domain=DOMAIN, **facts))
        else:
            nodes.append(node)
    shape, reader, matrix = _after(model.graph, lstm)
    new[shape] = np.where(tensors[shape] > 0, tensors[shape] + 2 * MORE, tensors[shape])
    directions = tensors[matrix].reshape(2, hidden, -1)
    new[matrix] = np.pad(directions, ((0, 0), (0, MORE), (0, 0))).reshape(2 * (hidden + MORE), -1)
    result = _rebuilt(model, nodes, tensors, new, gone)
    result.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return result, {
        "arithmetic": f"{OPERATOR}: 7-bit weights with a scale per gate and unit, 8-bit inputs and states",
        "ranges": f"fixed by {MORE} inputs and {MORE} units that are constant",
        "embeddings": f"int8 with one scale, {float(scale):.4g}",
    }


def with_floats(model: onnx.ModelProto) -> onnx.ModelProto:
    """The way back: the graph that `student_graph` would give for the weights that are stored; others come back as is.

    :param model: any graph; it is not changed.
    """
    lstm = next((node for node in model.graph.node if node.op_type == OPERATOR), None)
    if lstm is None or not any(name.endswith(INT8) for name in lstm.input):
        return model
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    vectors = lstm.input[0]
    w, r = (name.removesuffix(INT8) for name in lstm.input[1:3])
    biases, lengths = lstm.input[3:5]
    makers = {output: node for node in model.graph.node for output in node.output}
    lookup = makers[f"{vectors}{INT8}"]
    table = lookup.input[0].removesuffix(INT8)
    hidden = tensors[r + INT8].shape[1] - MORE
    new: dict[str, NDArray[Any]] = {
        table: tensors[table + INT8][:, :-MORE].astype(np.float32) * tensors[table + SCALE],
        biases: np.ascontiguousarray(tensors[biases].reshape(2, 8, -1)[:, :, :hidden]).reshape(2, -1),
    }
    for name in (w, r):
        whole = tensors[name + INT8].transpose(0, 2, 1).astype(np.float32) * tensors[name + SCALE][:, :, None]
        new[name] = np.ascontiguousarray(_by_gate(whole)[:, :, :hidden, :-MORE]).reshape(2, 4 * hidden, -1)
    gone = {name + end for name in (w, r) for end in (INT8, SCALE, "/zero")} | {table + INT8, table + SCALE}
    shape, _, matrix = _after(model.graph, lstm)
    new[shape] = np.where(tensors[shape] > 0, tensors[shape] - 2 * MORE, tensors[shape])
    directions = tensors[matrix].reshape(2, hidden + MORE, -1)
    new[matrix] = np.ascontiguousarray(directions[:, :hidden]).reshape(2 * hidden, -1)
    nodes = []
    for node in model.graph.node:
        if node.output[0] == vectors:
            nodes.append(helper.make_node("Gather", [table, lookup.input[1]], [vectors], vectors, axis=0))
        elif node.name == lstm.name:
            facts = {"direction": "bidirectional", "hidden_size": hidden}
            weights = [vectors, w, r, biases, lengths]
            nodes.append(helper.make_node("LSTM", weights, node.output, node.name, **facts))
        elif not node.name.startswith(f"{vectors}{INT8}"):
            nodes.append(node)
    result = _rebuilt(model, nodes, tensors, new, gone)
    kept = [entry for entry in result.opset_import if entry.domain != DOMAIN]
    del result.opset_import[:]
    result.opset_import.extend(kept)
    return result


def table_in_steps(table: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Embeddings (V, E) in whole steps of one scale (), which leaves the least squared error of rounding and clipping.

    A few numbers far out would make the steps of all others coarse.
    """
    greatest = float(np.abs(table).max()) or 1.0
    flat = np.abs(table.reshape(-1))
    if len(flat) > 1 << 20:
        flat = flat[:: len(flat) >> 20]

    def error(scale: float) -> float:
        return float(np.square(np.minimum(np.rint(flat / scale), _MOST) * scale - flat).sum())

    scale = np.float32(min((greatest / _MOST * share for share in np.linspace(1, 0.2, 81)), key=error))
    return np.rint(table / scale).clip(_LEAST, _MOST).astype(np.int8), np.asarray(scale)


def _in_seven_bits(weights: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Weights (2, 4H, I) as integers (2, I, 4H) and scales (2, 4H)."""
    scales = np.abs(weights).max(axis=2) / np.float32(_SEVEN_BITS)
    scales = np.where(scales > 0, scales, np.float32(1)).astype(np.float32)
    integers = np.rint(weights / scales[:, :, None]).astype(np.int8)
    return np.ascontiguousarray(integers.transpose(0, 2, 1)), scales


def _by_gate(weights: Floats) -> Floats:
    """(2, 4H, I) as (2, 4, H, I)."""
    return weights.reshape(2, 4, -1, weights.shape[2])


def _wider_biases(biases: Floats, hidden: int) -> Floats:
    """(2, 8H) as (2, 8(H+2)): of the new units, gates i, o and f are open; the cell input is 1 or -1."""
    wide = np.pad(biases.reshape(2, 8, hidden), ((0, 0), (0, 0), (0, MORE)))
    wide[:, :3, hidden:] = _OPEN
    wide[:, 3, hidden:] = [_OPEN, -_OPEN]
    return wide.reshape(2, -1)


def _after(graph: onnx.GraphProto, lstm: NodeProto) -> tuple[str, str, str]:
    """Names of the shape that joins both directions, of the MatMul that reads the states, and of its matrix."""
    readers = {name: node for node in graph.node for name in node.input}
    reshape = readers[readers[lstm.output[0]].output[0]]
    reader = readers[reshape.output[0]]
    return reshape.input[1], reader.name, reader.input[1]


def _rebuilt(
    model: onnx.ModelProto,
    nodes: list[NodeProto],
    tensors: dict[str, NDArray[Any]],
    new: dict[str, NDArray[Any]],
    gone: set[str],
) -> onnx.ModelProto:
    """The model with other nodes, and `new` among its initialisers."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    kept: Iterator[tuple[str, NDArray[Any]]] = ((name, value) for name, value in tensors.items() if name not in gone)
    merged = {**dict(kept), **new}
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(copies)
    result.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in merged.items())
    return result
