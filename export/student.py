"""A student that `distill` saved, ready to be bundled."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
from tokenizers import Tokenizer

from distill.encoders import TransformerEncoder
from distill.students import CONFIG_FILE, WEIGHTS_FILE, folded, load_student, parameter_count
from export.errors import ExportError
from export.graphs import student_graph
from export.quantize import head_nodes
from export.shapes import architecture
from export.source import Source, check_labels, check_vocabulary, torch_reference
from onoma.bundle import TOKENIZER_FILE, TokenizerFacts


def read_student(folder: Path) -> Source:
    """Read a student that `distill` saved: student.json, model.safetensors, tokenizer.json.

    :raises ExportError: if a file is missing, labels are not IOB2, or the vocabularies differ.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise ExportError(f"no student at {folder}: {name} is missing")
    model = load_student(folder)
    exported = folded(model)
    config = exported.config
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    check_labels(config.labels, str(folder / CONFIG_FILE))
    check_vocabulary(tokenizer, config.vocabulary, str(folder))
    return Source(
        role="student",
        architecture=architecture(config),
        parameters=parameter_count(exported),
        labels=config.labels,
        facts=TokenizerFacts(pad_id=config.pad_id),
        tokenizer=tokenizer,
        graph=student_graph(exported),
        dynamic=quantize_arithmetic,
        reference=torch_reference(model),
        longest=len(exported.encoder.positions) if isinstance(exported.encoder, TransformerEncoder) else None,
    )


def quantize_arithmetic(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """int8 arithmetic in LSTM and every MatMul but the head.

    Activations share one scale per batch, so answers depend on batch-mates. 7-bit weights, because AVX2 without VNNI
    saturates when it multiplies unsigned by signed 8-bit numbers.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "fp32.onnx", Path(name) / "int8.onnx"
        onnx.save(model, str(source))
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["LSTM", "MatMul"],
            nodes_to_exclude=head_nodes(model.graph),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        result = onnx.load(str(target))
    operators = sorted({node.op_type for node in result.graph.node} & {"DynamicQuantizeLSTM", "MatMulInteger"})
    if not operators:
        raise ExportError("onnxruntime's quantizer left the student as it was")
    return result, {"arithmetic": f"{', '.join(operators)}, int8 per channel, 7-bit range"}
