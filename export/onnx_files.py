"""ONNX files of any size: one file, or where protobuf cannot hold the weights, another one for these beside it."""

from __future__ import annotations

from pathlib import Path

import onnx

MOST_BYTES = 2**31 - 2**20  # of one file, less what is not weights
DATA = ".data"  # behind the file's name


def weight_bytes(graph: onnx.GraphProto) -> int:
    """Size of the weights that a graph stores as bytes, as exporters do."""
    return sum(len(tensor.raw_data) for tensor in graph.initializer)


def fits(model: onnx.ModelProto) -> bool:
    """Whether one file can hold the model."""
    return weight_bytes(model.graph) <= MOST_BYTES


def write(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Check and write a model, over what an earlier call wrote there; returns it, for onnx empties a large one."""
    data = path.with_name(path.name + DATA)
    data.unlink(missing_ok=True)
    if fits(model):
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        return model
    onnx.save(model, str(path), save_as_external_data=True, location=data.name)
    onnx.checker.check_model(str(path))
    return onnx.load(str(path))
