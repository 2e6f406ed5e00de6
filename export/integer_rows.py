"""int8 arithmetic for matrix products whose answers depend on nothing but the text.

onnxruntime's dynamic quantization finds one scale for a whole tensor of activations, so that a text's batch-mates and
padding move its answer. Here each row (the numbers of one word-piece) has a scale of its own, which takes in its least
and its greatest number: what is computed of a piece is the same in every company, and no outlier is clipped. Only where
zero lies among the 256 steps is fixed beforehand for each place in the graph, by samples: where a model's outliers all
have one sign, or a GELU has cut off one side, that halves the steps.

On x86 without VNNI, two products of unsigned and signed 8-bit numbers are added up in 16 bits, which must not overflow:
so the magnitudes of each two neighbouring weights of a column sum up to 128 at most, and every machine computes the
same integers. That leaves nearly as fine steps as 8 bits do. Where several products read the same rows, these are
quantized once; a weight that several nodes multiply by is stored once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.onnx_files import fits
from export.quantize import INT8, SCALE

OPERATOR, DOMAIN = "MatMulIntegerToFloat", "com.microsoft"
_MOST = 127  # of a weight, and of two neighbouring ones before they are rounded: then 128
_STEPS = 255  # of a row, from its least number to its greatest
_MIDDLE = 128
_SMALLEST = np.float32(1e-12)  # a row of zeros has a scale too
_AXES_AS_INPUT = 18  # the opset in which ReduceMax and ReduceMin began to take their axes as an input

Floats = NDArray[np.float32]
Feeds = Mapping[str, NDArray[np.int64]]


def with_row_scales(
    model: onnx.ModelProto, samples: Sequence[Feeds] = (), *, smallest: int = 1024
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A graph with int8 arithmetic in every MatMul by a constant matrix, and how it computes.

    :param model: a graph with fp32 weights among its initialisers; it is not changed.
    :param samples: inputs without padding, for the places of zero; without any, it lies in the middle.
    :param smallest: matrices with fewer elements stay fp32.
    :raises ExportError: if there is no such MatMul.
    """
    matrices = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and np.prod(tensor.dims) >= smallest
    }
    chosen = {node.output[0] for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in matrices}
    if not chosen:
        raise ExportError("int8-rows needs a MatMul by a constant matrix, and the graph has none; try int8-weights")
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    sources = list(dict.fromkeys(node.input[0] for node in model.graph.node if node.output[0] in chosen))
    zeros = _zeros(model, sources, samples) if samples else dict.fromkeys(sources, _MIDDLE)
    weights: dict[str, NDArray[Any]] = {}
    nodes: list[NodeProto] = []
    rows: dict[str, _Rows] = {}
    for node in model.graph.node:
        if node.output[0] not in chosen:
            nodes.append(node)
            continue
        (source, matrix), product = node.input, node.output[0]
        if matrix + INT8 not in weights:
            weights[matrix + INT8], weights[matrix + SCALE] = _integers(numpy_helper.to_array(matrices[matrix]))
        if source not in rows:
            rows[source] = _Rows(source)
            nodes.extend(_quantize(rows[source], opset=opset))
        own, whole = rows[source], f"{product}/whole"
        inputs = [own.integers, matrix + INT8, _ONE, matrix + SCALE, own.zero]
        nodes.append(helper.make_node(OPERATOR, inputs, [whole], whole, domain=DOMAIN))
        nodes.append(helper.make_node("Mul", [whole, own.scale], [product], f"{product}/Mul"))
    result = onnx.ModelProto()
    result.CopyFrom(model)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    constants = _constants(opset) | weights
    for source, own in rows.items():
        constants |= own.constants(zeros[source])
    unused = _unused(matrices, copies, {output.name for output in model.graph.output})
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in unused]
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend(copies)
    result.graph.initializer.extend(kept)
    result.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    if all(entry.domain != DOMAIN for entry in result.opset_import):
        result.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return result, {
        "arithmetic": f"{OPERATOR}: int8 weights with a scale per column, 8-bit activations with a scale per row",
        "products": f"{len(chosen)} of {len(weights) // 2} matrices",
    }


_ONE, _LEAST, _AXES = (f"rows/{name}" for name in ("one", "least", "axes"))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Names of what rows (..., K) become: unsigned integers (..., K) around a zero, and scales (..., 1)."""

    source: str

    @property
    def integers(self) -> str:
        return f"{self.source}/rows"

    @property
    def scale(self) -> str:
        return f"{self.source}/rows/scale"

    @property
    def zero(self) -> str:
        return f"{self.source}/rows/zero"

    def constants(self, zero: int) -> dict[str, NDArray[Any]]:
        return {
            self.zero: np.array(zero, dtype=np.uint8),
            f"{self.source}/rows/above": np.array(1 / (_STEPS - zero), dtype=np.float32),
            f"{self.source}/rows/below": np.array(-1 / zero, dtype=np.float32),
        }


def _constants(opset: int) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {_ONE: np.array(1, dtype=np.float32), _LEAST: np.array(_SMALLEST)}
    return found | ({_AXES: np.array([-1], dtype=np.int64)} if opset >= _AXES_AS_INPUT else {})


def _quantize(rows: _Rows, *, opset: int) -> Iterator[NodeProto]:
    """The least scale that has steps enough above zero and below it, and the rows in its steps."""
    name = rows.integers
    for reduce, side in (("ReduceMax", "above"), ("ReduceMin", "below")):
        inputs, axes = ([rows.source, _AXES], {}) if opset >= _AXES_AS_INPUT else ([rows.source], {"axes": [-1]})
        end, needed = f"{name}/{side}/end", f"{name}/{side}/scale"
        yield helper.make_node(reduce, inputs, [end], end, keepdims=1, **axes)
        yield helper.make_node("Mul", [end, f"{name}/{side}"], [needed], needed)
    yield helper.make_node("Max", [f"{name}/above/scale", f"{name}/below/scale", _LEAST], [rows.scale], rows.scale)
    inverse, steps = f"{name}/inverse", f"{name}/steps"
    yield helper.make_node("Reciprocal", [rows.scale], [inverse], inverse)
    yield helper.make_node("Mul", [rows.source, inverse], [steps], steps)
    yield helper.make_node("QuantizeLinear", [steps, _ONE, rows.zero], [name], name)


def _zeros(model: onnx.ModelProto, sources: Sequence[str], samples: Sequence[Feeds]) -> dict[str, int]:
    """Of each source, the place of zero among the steps that makes the rows' squared scales smallest in the mean."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in sources)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shown.onnx"
        onnx.save(shown, str(path), save_as_external_data=not fits(shown), location="shown.data")
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found = [session.run(sources, dict(feeds)) for feeds in samples]
    places = np.arange(1, _STEPS)
    zeros = {}
    for at, source in enumerate(sources):
        ends = [(rows[at].max(axis=-1).reshape(-1), rows[at].min(axis=-1).reshape(-1)) for rows in found]
        greatest, least = (np.concatenate(part)[:, None] for part in zip(*ends, strict=True))
        scales = np.maximum(greatest / (_STEPS - places), -least / places)
        zeros[source] = int(places[np.square(scales).mean(axis=0).argmin()])
    return zeros


def _integers(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """A matrix (K, N) as integers (K, N) and scales (N,)."""
    sizes = np.abs(matrix)
    pairs = (sizes[1:] + sizes[:-1]).max(axis=0, initial=0)
    scale = np.maximum(sizes.max(axis=0), pairs) / np.float32(_MOST)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return np.rint(matrix / scale).astype(np.int8), scale


def _unused(names: dict[str, Any], nodes: list[NodeProto], outputs: set[str]) -> set[str]:
    """Those of the tensors that no node reads any more."""
    read = {name for node in nodes for name in node.input} | outputs
    return {name for name in names if name not in read}
