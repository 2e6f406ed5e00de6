"""A sentence encoder's bundle in a folder: an ONNX graph that averages a table's rows, and a tiny tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from families import unigram
from onnx import TensorProto, helper, numpy_helper

from onoma.bundle import (
    MODEL_FILE,
    TOKENIZER_FILE,
    EncoderManifest,
    Quantization,
    TokenizerFacts,
    sha256,
    write_manifest,
)

DIMENSIONS = 6


def table(seed: int = 0, dimensions: int = DIMENSIONS) -> np.ndarray:
    """A vector (D,) for each piece of the tokenizer; `Angela` and `Köln` have the same."""
    tokenizer = unigram()
    rows = np.random.default_rng(seed).normal(size=(tokenizer.get_vocab_size(), dimensions)).astype(np.float32)
    rows[tokenizer.token_to_id("▁Köln")] = rows[tokenizer.token_to_id("▁Angela")]
    return rows


def write_encoder_graph(path: Path, rows: np.ndarray, *, output: str = "embeddings") -> None:
    """embeddings[b] = mean of rows[input_ids[b, t]] over the t that attention_mask[b, t] shows."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"], axis=0),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["vectors", "wide"], ["shown"]),
        helper.make_node("ReduceSum", ["shown", "second"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "second"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], [output]),
    ]
    constants = [
        numpy_helper.from_array(rows.astype(np.float32), "table"),
        numpy_helper.from_array(np.array([1], np.int64), "second"),
        numpy_helper.from_array(np.array([2], np.int64), "last"),
    ]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", rows.shape[1]])]
    graph = helper.make_graph(nodes, "mean", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def write_encoder(folder: Path, *, seed: int = 0, **changes: Any) -> EncoderManifest:
    """A bundle whose model averages a random table's rows."""
    folder.mkdir(parents=True, exist_ok=True)
    unigram().save(str(folder / TOKENIZER_FILE))
    rows = table(seed)
    write_encoder_graph(folder / MODEL_FILE, rows)
    fields: dict[str, Any] = {
        "format_version": 1,
        "name": "tiny-encoder",
        "architecture": "table",
        "parameters": int(rows.size),
        "dimensions": DIMENSIONS,
        "tokenizer": TokenizerFacts(pad_id=0),
        "max_length": 16,
        "overlap": 4,
        "languages": ("en", "de"),
        "licence": "Apache-2.0",
        "quantization": Quantization(method="fp32"),
        "created": "2026-01-01",
        "files": {name: sha256(folder / name) for name in (MODEL_FILE, TOKENIZER_FILE)},
    }
    manifest = EncoderManifest(**(fields | changes))
    write_manifest(folder, manifest)
    return manifest
