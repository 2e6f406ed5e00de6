"""Any Hugging Face token classifier as an ONNX graph, through optimum."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tokenizers import Tokenizer

from distill.hugging_face import load_checkpoint, longest_input, probe_facts, read_labels
from export.errors import ExportError
from export.onnx_files import fits, write
from export.quantize import LOGITS, head_nodes
from export.source import Floats, Ints, Reference, Source, check_vocabulary, torch_reference
from onoma.bundle import MODEL_FILE, Pieces
from onoma.labels import Scheme

INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})


def read_teacher(
    path_or_name: str | Path,
    *,
    role: Literal["student", "teacher"] = "teacher",
    labels: Sequence[str] | None = None,
    scheme: Scheme | None = None,
    pieces: Pieces | None = None,
) -> Source:
    """Read a token classifier that `transformers` can load: a folder, or a name on the Hugging Face hub.

    :param labels: names of its columns, in order; None for those in its config.
    :param scheme: what the labels mean; None to tell from their names.
    :param pieces: which of a word's pieces have a say in its tag; None for the first alone, or all if the config says
        so by `label_all_tokens`, as those of onoma's own teachers do.
    :raises ExportError: if it does not load, has no trained head, a slow tokenizer, labels that say nothing, or inputs
        that a bundle does not have.
    """
    where = str(path_or_name)
    try:
        model, loaded = load_checkpoint(where, attn_implementation="eager")
        facts = probe_facts(loaded, model.config, where)
    except ValueError as error:
        raise ExportError(str(error)) from error
    try:
        reading = read_labels(model.config, where, given=labels, scheme=scheme)
    except ValueError as error:
        hint = "" if labels is not None else "; name the columns in their order: --labels O,B-PER,I-PER,..."
        raise ExportError(f"{error}{hint}") from error
    every = len(reading.columns) == model.config.num_labels
    tokenizer: Tokenizer = loaded.backend_tokenizer
    check_vocabulary(tokenizer, model.get_input_embeddings().weight.shape[0], where)
    return Source(
        role=role,
        architecture=_architecture(model.config),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        labels=reading.labels.tags,
        scheme=reading.labels.scheme,
        pieces=pieces or ("all" if getattr(model.config, "label_all_tokens", False) else "first"),
        facts=facts,
        tokenizer=tokenizer,
        graph=teacher_graph(model) if every else only_columns(teacher_graph(model), reading.columns),
        dynamic=lambda graph: quantize_matmuls(graph, model.config),
        reference=torch_reference(model) if every else of_columns(torch_reference(model), reading.columns),
        longest=longest_input(model, loaded),
        origin={
            "checkpoint": Path(where).name if Path(where).exists() else where,
            "config": json.loads(model.config.to_json_string()),
        },
    )


def teacher_graph(model: Any) -> onnx.ModelProto:
    """fp32 graph of a loaded token classifier, by optimum's exporter.

    :raises ExportError: if the architecture cannot be exported, or the graph has other inputs than a bundle's.
    """
    from optimum.exporters.onnx import export, model_configs, onnx_export_from_model
    from optimum.exporters.tasks import TasksManager

    kind, task = model.config.model_type, "token-classification"
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's; parity is measured afterwards
        logging.getLogger("optimum").setLevel(logging.ERROR)
        try:
            if kind in TasksManager.get_supported_model_type_for_task(task, "onnx"):
                onnx_export_from_model(model, name, task=task, do_validation=False)
            else:  # most others take ids and a mask, and give logits, as DistilBERT does
                model.config.use_cache = False
                export(model, model_configs.DistilBertOnnxConfig(model.config, task=task), Path(name) / MODEL_FILE)
        except (ValueError, KeyError, TypeError, NotImplementedError, RuntimeError) as error:
            raise ExportError(f"optimum cannot export {kind!r}: {error}") from error
        result = onnx.load(str(Path(name) / MODEL_FILE))
    inputs = {entry.name for entry in result.graph.input}
    if not inputs <= INPUTS or LOGITS not in {entry.name for entry in result.graph.output}:
        raise ExportError(f"{kind!r} needs inputs {sorted(inputs - INPUTS)}, which a bundle cannot give")
    return result


def only_columns(graph: onnx.ModelProto, columns: Sequence[int]) -> onnx.ModelProto:
    """The graph with some of its logits: those of labels that say something of a word."""
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    nodes = result.graph.node
    for node in nodes:
        node.output[:] = [f"{LOGITS}/all" if name == LOGITS else name for name in node.output]
        node.input[:] = [f"{LOGITS}/all" if name == LOGITS else name for name in node.input]
    chosen = f"{LOGITS}/columns"
    result.graph.initializer.append(numpy_helper.from_array(np.array(columns, dtype=np.int64), chosen))
    nodes.append(helper.make_node("Gather", [f"{LOGITS}/all", chosen], [LOGITS], f"{LOGITS}/Gather", axis=2))
    output = next(entry for entry in result.graph.output if entry.name == LOGITS)
    output.type.tensor_type.shape.dim[2].dim_value = len(columns)
    return result


def of_columns(reference: Reference, columns: Sequence[int]) -> Reference:
    """A reference that gives some of its columns."""

    def some(ids: Ints) -> Floats:
        return reference(ids)[:, list(columns)]

    return some


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
        large = not fits(model)
        write(model, source)
        ORTQuantizer(source, config=config).quantize(
            recipe, save_dir=Path(name) / "int8", file_suffix="", use_external_data_format=large
        )
        result = onnx.load(str(Path(name) / "int8" / MODEL_FILE))
    return result, {"matmul": "optimum avx2 preset: uint8 weights per channel, uint8 activations per tensor"}


def _architecture(config: Any) -> str:
    layers = getattr(config, "num_hidden_layers", None) or getattr(config, "n_layers", "?")
    hidden = getattr(config, "hidden_size", None) or getattr(config, "dim", "?")
    return f"{config.model_type} V={config.vocab_size} layers={layers} hidden={hidden}"
