"""The BiLSTM student as an ONNX graph, built node by node."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from distill.students import CONFIG_FILE, WEIGHTS_FILE, BiLstmTagger, load_student, parameter_count
from export.errors import ExportError
from export.quantize import LOGITS, head_nodes
from export.source import Source, check_labels, check_vocabulary, torch_reference
from onoma.bundle import TOKENIZER_FILE, TokenizerFacts

OPSET, IR_VERSION = 17, 8  # widely readable; nothing newer is needed

Floats = NDArray[np.float32]


def read_student(folder: Path) -> Source:
    """Read a student that `distill` saved: student.json, model.safetensors, tokenizer.json.

    :raises ExportError: if a file is missing, labels are not IOB2, or the vocabularies differ.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise ExportError(f"no student at {folder}: {name} is missing")
    model = load_student(folder)
    config = model.config
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    check_labels(config.labels, str(folder / CONFIG_FILE))
    check_vocabulary(tokenizer, config.vocabulary, str(folder))
    return Source(
        role="student",
        architecture=f"bilstm V={config.vocabulary} E={config.embedding} H={config.hidden}",
        parameters=parameter_count(model),
        labels=config.labels,
        facts=TokenizerFacts(pad_id=config.pad_id),
        tokenizer=tokenizer,
        graph=student_graph(model),
        dynamic=quantize_lstm,
        reference=torch_reference(model),
    )


def student_graph(model: BiLstmTagger) -> onnx.ModelProto:
    """fp32 graph `input_ids`, `attention_mask` (B, T) int64 -> `logits` (B, T, C) float32.

    The LSTM gets each row's length from the mask, so that padding never changes the logits of real pieces.
    """
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    weights = {
        "embedding.weight": state["embedding.weight"],
        "lstm.W": _directions(state, "weight_ih"),
        "lstm.R": _directions(state, "weight_hh"),
        "lstm.B": np.concatenate([_directions(state, "bias_ih"), _directions(state, "bias_hh")], axis=1),
        "head.weight": np.ascontiguousarray(state["head.weight"].T),
        "head.bias": state["head.bias"],
    }
    shapes = {"time_axis": np.array([1]), "joined": np.array([0, 0, 2 * model.config.hidden])}

    def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(operator, inputs, [output], name=output, **attributes)

    nodes = [
        node("ReduceSum", ["attention_mask", "time_axis"], "lengths64", keepdims=0),  # (B,)
        node("Cast", ["lengths64"], "lengths", to=TensorProto.INT32),
        node("Transpose", ["input_ids"], "ids_by_time", perm=[1, 0]),  # onnxruntime's LSTM wants time first
        node("Gather", ["embedding.weight", "ids_by_time"], "vectors"),  # (T, B, E)
        node(
            "LSTM",
            ["vectors", "lstm.W", "lstm.R", "lstm.B", "lengths"],
            "states_by_time",  # (T, 2, B, H)
            direction="bidirectional",
            hidden_size=model.config.hidden,
        ),
        node("Transpose", ["states_by_time"], "states_apart", perm=[2, 0, 1, 3]),
        node("Reshape", ["states_apart", "joined"], "states"),  # (B, T, 2H)
        node("MatMul", ["states", "head.weight"], "scores"),
        node("Add", ["scores", "head.bias"], LOGITS),
    ]
    graph = helper.make_graph(
        nodes,
        "bilstm",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "T"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["B", "T", len(model.config.labels)])],
        [numpy_helper.from_array(array, name) for name, array in (weights | shapes).items()],
    )
    result = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="onoma"
    )
    onnx.checker.check_model(result)
    return result


def _directions(state: dict[str, Floats], name: str) -> Floats:
    """(2, 4H, ...) of both directions; torch orders the gates i, f, g, o and ONNX i, o, f, g."""
    both = []
    for suffix in ("l0", "l0_reverse"):
        i, f, g, o = np.split(state[f"lstm.{name}_{suffix}"], 4)
        both.append(np.concatenate([i, o, f, g]))
    return np.stack(both)


def quantize_lstm(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """int8 arithmetic in the LSTM; activations share one scale per batch, so answers depend on batch-mates.

    7-bit weights, because AVX2 without VNNI saturates when it multiplies unsigned by signed 8-bit numbers.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "fp32.onnx", Path(name) / "int8.onnx"
        onnx.save(model, str(source))
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["LSTM"],
            nodes_to_exclude=head_nodes(model.graph),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        result = onnx.load(str(target))
    if not any(node.op_type == "DynamicQuantizeLSTM" for node in result.graph.node):
        raise ExportError("onnxruntime's quantizer left the LSTM as it was")
    return result, {"lstm": "DynamicQuantizeLSTM, int8 per channel, 7-bit range"}
