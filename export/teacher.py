"""Any Hugging Face token classifier as an ONNX graph, through optimum."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from tokenizers import Tokenizer

from export.errors import ExportError
from export.quantize import LOGITS, head_nodes
from export.source import Source, check_labels, check_vocabulary, torch_reference
from onoma.bundle import MODEL_FILE, TokenizerFacts

INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_UNLIMITED = 1_000_000  # transformers writes a number near 1e30 where a tokenizer knows no limit


def read_teacher(path_or_name: str | Path, *, role: Literal["student", "teacher"] = "teacher") -> Source:
    """Read a token classifier that `transformers` can load: a folder, or a name on the Hugging Face hub.

    :raises ExportError: if it does not load, has no trained head, a slow tokenizer, labels that are not IOB2, or inputs
        that a bundle does not have.
    """
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    where = str(path_or_name)
    try:
        loaded = AutoTokenizer.from_pretrained(where, use_fast=True)
        model, info = AutoModelForTokenClassification.from_pretrained(
            where, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(f"{where} does not load as a token classifier: {error}") from error
    if info["missing_keys"]:
        raise ExportError(f"{where} is not a trained token classifier; it lacks {sorted(info['missing_keys'])[:4]}")
    if not loaded.is_fast:
        raise ExportError(
            f"{where}: {type(loaded).__name__} is a slow tokenizer; a bundle needs a fast one (a tokenizer.json)"
        )
    model = model.eval()
    labels = _labels(model.config, where)
    tokenizer: Tokenizer = loaded.backend_tokenizer
    check_vocabulary(tokenizer, model.get_input_embeddings().weight.shape[0], where)
    facts = _facts(loaded, tokenizer, model.config, where)
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
        longest=_longest(model, loaded),
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


def _labels(config: Any, where: str) -> tuple[str, ...]:
    table = {int(column): str(label) for column, label in config.id2label.items()}
    if sorted(table) != list(range(len(table))):
        raise ExportError(f"{where}: id2label must number the labels 0, 1, 2, ..., has {sorted(table)}")
    labels = tuple(table[column] for column in range(len(table)))
    check_labels(labels, where)
    return labels


def _facts(loaded: Any, tokenizer: Tokenizer, config: Any, where: str) -> TokenizerFacts:
    """The ids that the tokenizer puts around one sentence, found by comparing with and without."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    probe = "Angela Merkel"
    bare, full = tokenizer.encode(probe, add_special_tokens=False).ids, tokenizer.encode(probe)
    before = next((at for at, special in enumerate(full.special_tokens_mask) if not special), len(full.ids))
    prefix, suffix = full.ids[:before], full.ids[before + len(bare) :]
    if full.ids != [*prefix, *bare, *suffix]:
        raise ExportError(f"{where}: the tokenizer does more than put special pieces around a sentence")
    if any(full.type_ids):
        raise ExportError(f"{where}: the tokenizer gives a lone sentence token types other than 0")
    pad = loaded.pad_token_id if loaded.pad_token_id is not None else config.pad_token_id
    return TokenizerFacts(pad_id=pad or 0, prefix_ids=tuple(prefix), suffix_ids=tuple(suffix))


def _longest(model: Any, loaded: Any) -> int | None:
    """Most pieces the model takes: its positions, less those that RoBERTa's kin leave unused, or the tokenizer's."""
    limits = [loaded.model_max_length] if loaded.model_max_length < _UNLIMITED else []
    positions = getattr(model.config, "max_position_embeddings", -1)
    if positions is not None and positions > 0:
        unused = [
            module.padding_idx + 1
            for name, module in model.named_modules()
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
        ]
        limits.append(positions - max(unused, default=0))
    return min(limits, default=None)


def _architecture(config: Any) -> str:
    layers = getattr(config, "num_hidden_layers", None) or getattr(config, "n_layers", "?")
    hidden = getattr(config, "hidden_size", None) or getattr(config, "dim", "?")
    return f"{config.model_type} V={config.vocab_size} layers={layers} hidden={hidden}"
