"""The way back: a bundle's weights as a checkpoint to go on training from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from tokenizers import Tokenizer
from torch import nn

from distill.files import write_json
from distill.students import TRAINING_FILE, Student, StudentConfig, save_student
from distill.teachers import save_teacher
from export.errors import ExportError
from export.graphs import student_graph
from export.integer_lstm import with_floats
from export.quantize import INT8, SCALE
from export.shapes import architecture, parse_architecture
from export.teacher import teacher_graph
from onoma.bundle import MODEL_FILE, TOKENIZER_FILE, Transitions, read_manifest

_EXACT = 1 << 24  # whole numbers up to here are exact in float32


def restore(bundle: Path, out: Path) -> None:
    """Write the checkpoint of a bundle that `onoma export` made, unless by int8-dynamic: a student's, or a teacher's.

    Weights come back as stored, so int8 ones within half a scale of the original, and int8-static ones, of 7 bits, too.

    :raises ExportError: if the bundle's graph is not what exporting its shape gives now, or it does not name its shape.
    """
    manifest = read_manifest(bundle)
    stored = with_floats(onnx.load(str(bundle / MODEL_FILE)))
    shape = parse_architecture(manifest.architecture, labels=manifest.labels, pad_id=manifest.tokenizer.pad_id)
    if shape is not None:
        save_student(restored_student(shape, stored, manifest.crf), out)
        (out / TOKENIZER_FILE).write_bytes((bundle / TOKENIZER_FILE).read_bytes())
        write_json(out / TRAINING_FILE, manifest.training)
        return
    config = manifest.training.get("config")
    if not isinstance(config, dict):
        raise ExportError(f"{bundle}: the manifest has no training.config to build {manifest.architecture!r} from")
    from transformers import AutoConfig, AutoModelForTokenClassification

    kind = AutoConfig.for_model(**config)
    kind.label_all_tokens = manifest.pieces == "all"
    teacher = AutoModelForTokenClassification.from_config(kind, attn_implementation="eager")
    load_weights(teacher, stored, teacher_graph)
    save_teacher(teacher, Tokenizer.from_file(str(bundle / TOKENIZER_FILE)), out)


def restored_student(shape: StudentConfig, stored: onnx.ModelProto, crf: Transitions | None) -> Student:
    """A student of the weights in an exported graph, and of what the manifest says of its CRF.

    :raises ExportError: if the graph is not what exporting the shape gives now, or one has a CRF and the other has not.
    """
    if (crf is None) != (shape.decoder == "softmax"):
        raise ExportError(f"{architecture(shape)!r} {'has a' if crf is None else 'has no'} CRF, unlike the manifest")
    graph = Student(replace(shape, decoder="softmax"))
    load_weights(graph, stored, student_graph)
    if crf is None:
        return graph
    student = Student(shape)
    numbers = {f"crf.{name}": torch.tensor(value) for name, value in crf.model_dump().items()}
    student.load_state_dict(graph.state_dict() | numbers)
    return student


def load_weights(model: nn.Module, stored: onnx.ModelProto, export: Callable[[Any], onnx.ModelProto]) -> None:
    """Put the weights of an exported graph back into a model of the same shape.

    The model is exported once with the number of each weight in its place: where the numbers arrive in the graph tells
    where its weights belong, through transposition and reordering of gates alike. Exported once more, it must be the
    same.

    :raises ExportError: if the graph is not what `export` makes of this model, or the model has over 16.7M weights.
    """
    state = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    count = sum(value.numel() for value in state.values())
    if count > _EXACT:
        raise ExportError(f"restoring takes at most {_EXACT:,} weights, the model has {count:,}")
    numbers, at = {}, 0
    for name, value in state.items():
        numbers[name] = torch.arange(at, at + value.numel(), dtype=torch.float32).reshape(value.shape)
        at += value.numel()
    model.load_state_dict(numbers, strict=False)
    model.eval()
    weights = _weights(stored)
    flat = np.full(count, np.nan, dtype=np.float32)
    for use, (name, place) in _weights(export(model)).items():
        _, found = weights.get(use, ("", None))
        if found is None or found.shape != place.shape:
            shape = "nothing" if found is None else found.shape
            raise ExportError(f"the graph was exported otherwise: {name!r} should be {place.shape}, is {shape}")
        flat[place.astype(np.int64)] = found
    if np.isnan(flat).any():
        at = int(np.isnan(flat).argmax())
        lost = next(name for name, number in numbers.items() if at <= int(number.max()))
        raise ExportError(f"the bundle's graph holds no weights for {lost!r}")
    loaded = torch.from_numpy(flat)
    model.load_state_dict({name: loaded[number.long()] for name, number in numbers.items()}, strict=False)
    for use, (name, back) in _weights(export(model)).items():
        if not np.array_equal(back, weights[use][1]):
            raise ExportError(f"{name!r} would not come back as it is in the bundle: a constant in the graph moves it")


def _floats(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Float initialisers by name; int8 ones scaled back, under the name they had."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {}
    for name, value in tensors.items():
        if name.endswith(INT8):
            whole = name.removesuffix(INT8)
            found[whole] = value.astype(np.float32) * tensors[whole + SCALE]
        elif value.dtype == np.float32 and value.ndim > 0 and not name.endswith(SCALE):
            found[name] = value
    return found


def _weights(model: onnx.ModelProto) -> dict[tuple[str, int], tuple[str, NDArray[np.float32]]]:
    """Name and value of the weight each node has at each input; exporters merge equal ones, so names tell little."""
    weights = _floats(model)
    same = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Identity"}
    found = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            while name in same:
                name = same[name]
            if (whole := name.removesuffix(INT8)) in weights and node.op_type not in ("Identity", "Cast"):
                found[node.name.removesuffix(INT8), position] = whole, weights[whole]
    return found
