"""A student that `distill` saved, ready to be bundled."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch
from tokenizers import Tokenizer

from distill.crf import Chain, Crf, best_tags
from distill.encoders import TransformerEncoder
from distill.students import CONFIG_FILE, WEIGHTS_FILE, folded, load_student, parameter_count
from distill.torch_model import transitions_of
from export.errors import ExportError
from export.graphs import student_graph
from export.integer_lstm import with_fixed_ranges
from export.quantize import head_nodes
from export.shapes import architecture
from export.source import Decide, Floats, Ints, Source, check_labels, check_vocabulary, most_probable, torch_reference
from onoma.bundle import TOKENIZER_FILE, TokenizerFacts
from onoma.labels import LabelSet


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
        static=with_fixed_ranges if config.kind == "bilstm" else None,
        reference=torch_reference(model),
        transitions=None if exported.crf is None else transitions_of(exported.crf),
        decide=most_probable if model.crf is None else decide_by(model.crf, LabelSet(config.labels)),
        longest=len(exported.encoder.positions) if isinstance(exported.encoder, TransformerEncoder) else None,
    )


def decide_by(crf: Crf, labels: LabelSet) -> Decide:
    """The tags that `distill` decides for with a CRF, if moves that IOB2 forbids are made impossible."""
    forbidden = torch.tensor(-1e6)
    parameters = crf.state_dict()
    transitions = torch.where(torch.from_numpy(labels.legal), parameters["transitions"], forbidden)
    start = torch.where(torch.from_numpy(labels.legal_start), parameters["start"], forbidden)

    def decide(logits: Floats) -> Ints:
        chain = Chain(torch.from_numpy(logits)[None].double(), transitions, start, parameters["end"])
        tags: Ints = best_tags(chain)[0].numpy()
        return tags

    return decide


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
