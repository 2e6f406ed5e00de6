"""Other forms of a bundle's graph: with fp32 weights, and with int8 arithmetic of several kinds.

All have the weights of the bundle, which stores them as int8, so they differ in arithmetic alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

Ints = NDArray[np.int64]
Feeds = Mapping[str, Ints]
BLOCK = 64
"""Weights of a column, and activations of a row, that share a scale in `in_blocks`."""
_LINEAR = ("MatMul", "Gemm")


class GraphError(Exception):
    """A graph that is not what this study starts from."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A graph whose int8 weights are fp32 constants again.

    :param weights: their names; the embedding tables, which are looked up and not multiplied, are not among them.
    """

    graph: onnx.ModelProto
    weights: frozenset[str]

    def multiplied(self) -> list[onnx.NodeProto]:
        """The MatMul of the graph that multiply by one of these weights."""
        return [node for node in self.graph.graph.node if node.op_type == "MatMul" and node.input[1] in self.weights]

    def kept(self) -> list[str]:
        """Names of the linear layers whose weights the bundle has in fp32: the head."""
        constants = {tensor.name for tensor in self.graph.graph.initializer} - self.weights
        return [node.name for node in self.graph.graph.node if node.op_type in _LINEAR and node.input[1] in constants]


def unpacked(model: onnx.ModelProto, *, tables: bool) -> Unpacked:
    """Undo int8-weights: the products `Cast(int8) * scale` as constants.

    :param tables: the embedding tables as well.
    :raises GraphError: if the graph has no weights stored as int8.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    replaced: dict[str, onnx.NodeProto | None] = {}  # by the name of what a node makes: the node that makes it now
    weights, gone = set(), set()
    for product in graph.node:
        if product.op_type != "Mul" or (cast := makers.get(product.input[0])) is None or cast.op_type != "Cast":
            continue
        source, scale = cast.input[0], product.input[1]
        if _is_int8(constants.get(source)) and scale in constants:
            name, new = product.output[0], None
            values, scales = constants[source], constants[scale]
            weights.add(name)
        elif tables and (lookup := makers.get(source)) is not None and _is_int8(constants.get(lookup.input[0])):
            values, scales = constants[lookup.input[0]], constants[makers[scale].input[0]]
            name = f"{values.name}/fp32"
            new = helper.make_node("Gather", [name, lookup.input[1]], list(product.output), product.name, axis=0)
            replaced |= {lookup.output[0]: None, scale: None}
        else:
            continue
        fp32 = numpy_helper.to_array(values).astype(np.float32) * numpy_helper.to_array(scales)
        graph.initializer.append(numpy_helper.from_array(fp32, name))
        replaced |= {cast.output[0]: None, product.output[0]: new}
        gone |= {values.name, scales.name}
    if not weights:
        raise GraphError("no weight of the graph is stored as int8: the study starts from a bundle with int8-weights")
    nodes = [replaced.get(node.output[0], node) for node in graph.node]
    # By name, since a table that is looked up twice was added twice.
    tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in gone}
    _refill(graph, [node for node in nodes if node is not None], list(tensors.values()))
    return Unpacked(result, frozenset(weights))


def _is_int8(tensor: onnx.TensorProto | None) -> bool:
    return tensor is not None and tensor.data_type == TensorProto.INT8


def _refill(
    graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], tensors: Sequence[onnx.TensorProto]
) -> None:
    """Put other nodes and tensors into a graph."""
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    copied = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in tensors]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(copies)
    graph.initializer.extend(copied)


def dynamic(source: Unpacked, *, role: str) -> onnx.ModelProto:
    """int8-dynamic as `onoma export` makes it: activations get one scale for each tensor, in the run.

    :param role: of the bundle. Students get signed weights of 7 bits, teachers optimum's unsigned ones of 8 bits and
        int8 products of activations too.
    """
    student = role == "student"
    with tempfile.TemporaryDirectory() as name:
        before, after = Path(name) / "fp32.onnx", Path(name) / "int8.onnx"
        onnx.save(source.graph, str(before))
        quantize_dynamic(
            before,
            after,
            op_types_to_quantize=["LSTM", "MatMul"] if student else list(_LINEAR),
            nodes_to_exclude=source.kept(),
            per_channel=True,
            reduce_range=student,
            weight_type=QuantType.QInt8 if student else QuantType.QUInt8,
            extra_options={} if student else {"MatMulConstBOnly": False, "WeightSymmetric": True},
        )
        return onnx.load(str(after))


class _Texts(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, Ints] | None:
        """Called by onnxruntime: the next inputs, None at the end."""
        found = next(self._feeds, None)
        return None if found is None else dict(found)


def static(source: Unpacked, calibration: Sequence[Feeds]) -> onnx.ModelProto | None:
    """int8 arithmetic in every MatMul by a weight but the head, with scales that were fixed beforehand.

    onnxruntime has no static int8 LSTM, so an LSTM stays fp32.

    :param calibration: inputs whose least and greatest activations make the scales.
    :return: None if there is no such MatMul.
    """
    nodes = [node.name for node in source.multiplied()]
    if not nodes:
        return None
    with tempfile.TemporaryDirectory() as name:
        before, after = Path(name) / "fp32.onnx", Path(name) / "int8.onnx"
        onnx.save(source.graph, str(before))
        quantize_static(
            before,
            after,
            _Texts(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(str(after))


def in_blocks(source: Unpacked) -> onnx.ModelProto | None:
    """int8 arithmetic in every MatMul by a weight but the head, with scales of each row's own, made in the run.

    The operator is MatMulNBits with 8 bits and accuracy level 4: other int8 products of onnxruntime on CPUs have one
    scale for a whole tensor of activations, this one has one for every BLOCK numbers of a row.

    :return: None if there is no such MatMul.
    """
    chosen = source.multiplied()
    if not chosen:
        return None
    result = onnx.ModelProto()
    result.CopyFrom(source.graph)
    graph = result.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.name in {one.name for one in chosen}:
            weight, scales = f"{node.name}/blocks", f"{node.name}/scales"
            columns = numpy_helper.to_array(tensors[node.input[1]]).T
            blocks, steps = _blocks(columns)
            tensors |= {weight: numpy_helper.from_array(blocks, weight), scales: numpy_helper.from_array(steps, scales)}
            sizes = {"N": columns.shape[0], "K": columns.shape[1], "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
            inputs = [node.input[0], weight, scales]
            domain = "com.microsoft"
            node = helper.make_node("MatMulNBits", inputs, list(node.output), node.name, domain=domain, **sizes)
        nodes.append(node)
    gone = {node.input[1] for node in chosen}
    _refill(graph, nodes, [tensor for name, tensor in tensors.items() if name not in gone])
    result.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return result


def _blocks(columns: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Weights (N, K) as unsigned 8-bit numbers (N, blocks, BLOCK) around 128, and the scale of each block, flat."""
    missing = -columns.shape[1] % BLOCK
    blocks = np.pad(columns, ((0, 0), (0, missing))).reshape(len(columns), -1, BLOCK)
    steps = np.abs(columns).max(axis=1)[:, None] / np.float32(127)
    steps = np.where(steps > 0, steps, np.float32(1)).repeat(blocks.shape[1], axis=1).astype(np.float32)
    return (np.rint(blocks / steps[:, :, None]) + 128).astype(np.uint8), steps.reshape(-1)
