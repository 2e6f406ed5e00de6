"""Any Hugging Face token classifier as an ONNX graph, through optimum."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import onnx
from tokenizers import Tokenizer

from distill.hugging_face import load_checkpoint, longest_input, probe_facts, read_labels
from export.errors import ExportError
from export.quantize import LOGITS, head_nodes
from export.source import Source, check_labels, check_vocabulary, torch_reference
from onoma.bundle import MODEL_FILE

INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})


def read_teacher(path_or_name: str | Path, *, role: Literal["student", "teacher"] = "teacher") -> Source:
    """Read a token classifier that `transformers` can load: a folder, or a name on the Hugging Face hub.

    :raises ExportError: if it does not load, has no trained head, a slow tokenizer, labels that are not IOB2, or inputs
        that a bundle does not have.
    """
    where = str(path_or_name)
    try:
        model, loaded = load_checkpoint(where, attn_implementation="eager")
        labels = read_labels(model.config, where)
        facts = probe_facts(loaded, model.config, where)
    except ValueError as error:
        raise ExportError(str(error)) from error
    check_labels(labels, where)
    tokenizer: Tokenizer = loaded.backend_tokenizer
    check_vocabulary(tokenizer, model.get_input_embeddings().weight.shape[0], where)
    return Source(
        role=role,
        architecture=_architecture(model.config),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        labels=labels,
        facts=facts,
        tokenizer=tokenizer,
        graph=teacher_graph(model),
        dynamic=lambda graph: quantize_matmuls(graph, model.config),
        reference=torch_reference(model),
        longest=longest_input(model, loaded),
        origin={
            "checkpoint": Path(where).name if Path(where).exists() else where,
            "config": json.loads(model.config.to_json_string()),
        },
    )


def teacher_graph(model: Any) -> onnx.ModelProto:
    """fp32 graph of a loaded token classifier, by optimum's exporter.

    :raises ExportError: if optimum does not know the architecture, or the graph has other inputs than a bundle's.
    """
    from optimum.exporters.onnx import onnx_export_from_model

    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's; parity is measured afterwards
        logging.getLogger("optimum").setLevel(logging.ERROR)
        try:
            onnx_export_from_model(model, name, task="token-classification", do_validation=False)
        except (ValueError, KeyError, NotImplementedError) as error:
            raise ExportError(f"optimum cannot export {model.config.model_type!r}: {error}") from error
        result = onnx.load(str(Path(name) / MODEL_FILE))
    inputs = {entry.name for entry in result.graph.input}
    if not inputs <= INPUTS or LOGITS not in {entry.name for entry in result.graph.output}:
        raise ExportError(
            f"{model.config.model_type!r} needs inputs {sorted(inputs - INPUTS)}, which a bundle cannot give"
        )
    return result


def quantize_matmuls(model: onnx.ModelProto, config: Any) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """int8 arithmetic in every MatMul but the head, by optimum's quantizer with its AVX2 preset.

    The preset's unsigned 8-bit weights need no reduced range: without VNNI, only unsigned times signed saturates.
    Activations share one scale per batch, so answers depend on batch-mates.
    """
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    recipe = AutoQuantizationConfig.avx2(
        is_static=False,
        per_channel=True,
        nodes_to_exclude=head_nodes(model.graph),
        operators_to_quantize=["MatMul", "Gemm"],
    )
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / MODEL_FILE
        onnx.save(model, str(source))
        ORTQuantizer(source, config=config).quantize(recipe, save_dir=Path(name) / "int8", file_suffix="")
        result = onnx.load(str(Path(name) / "int8" / MODEL_FILE))
    return result, {"matmul": "optimum avx2 preset: uint8 weights per channel, uint8 activations per tensor"}


def _architecture(config: Any) -> str:
    layers = getattr(config, "num_hidden_layers", None) or getattr(config, "n_layers", "?")
    hidden = getattr(config, "hidden_size", None) or getattr(config, "dim", "?")
    return f"{config.model_type} V={config.vocab_size} layers={layers} hidden={hidden}"
