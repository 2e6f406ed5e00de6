"""A whole bundle in a folder: a one-table ONNX graph and a tiny tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from families import unigram
from onnx import TensorProto, helper, numpy_helper

from onoma import LabelSet
from onoma.bundle import (
    MODEL_FILE,
    TOKENIZER_FILE,
    Manifest,
    Quantization,
    TokenizerFacts,
    Transitions,
    sha256,
    write_manifest,
)

LABELS = LabelSet.of_types(["PER", "ORG", "LOC"])


def write_graph(path: Path, table: np.ndarray, *, with_types: bool = False) -> None:
    """logits[b, t] = table[input_ids[b, t]] + attention_mask sum of the row (so that padding shows)."""
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if with_types else [])]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in names]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", table.shape[1]])
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0)]
    last = "rows"
    nodes += [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["mask", "axis"], ["length"], keepdims=1),
        helper.make_node("Mul", ["length", "zero"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "axis"], ["wide"]),
        helper.make_node("Add", [last, "wide"], ["logits" if not with_types else "sum"]),
    ]
    if with_types:
        nodes += [
            helper.make_node("Cast", ["token_type_ids"], ["types"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["types", "last"], ["types_wide"]),
            helper.make_node("Add", ["sum", "types_wide"], ["logits"]),
        ]
    constants = [
        numpy_helper.from_array(table.astype(np.float32), "table"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(np.array([2], np.int64), "last"),
        numpy_helper.from_array(np.float32(0), "zero"),
    ]
    graph = helper.make_graph(nodes, "table", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))


def transitions(labels: LabelSet = LABELS, *, seed: int = 0, scale: float = 0.5) -> Transitions:
    """Potentials as a CRF might learn them, in fp32."""
    source = np.random.default_rng(seed)
    width = len(labels.tags)
    shapes = {"transitions": (width, width), "start": width, "end": width}
    return Transitions(
        **{name: source.normal(0, scale, shape).astype(np.float32).tolist() for name, shape in shapes.items()}
    )


def write_bundle(folder: Path, **changes: Any) -> Manifest:
    """A bundle whose model calls `Angela` a person and `Köln` a place."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = unigram()
    tokenizer.save(str(folder / TOKENIZER_FILE))
    table = np.zeros((tokenizer.get_vocab_size(), len(LABELS.tags)), np.float32)
    table[:, LABELS.outside] = 5
    table[tokenizer.token_to_id("▁Angela"), LABELS.index["B-PER"]] = 10
    table[tokenizer.token_to_id("▁Köln"), LABELS.index["B-LOC"]] = 8
    write_graph(folder / MODEL_FILE, table)
    fields: dict[str, Any] = {
        "format_version": 1,
        "name": "tiny",
        "role": "student",
        "architecture": "table",
        "parameters": int(table.size),
        "labels": LABELS.tags,
        "tokenizer": TokenizerFacts(pad_id=0),
        "max_length": 32,
        "overlap": 8,
        "languages": ("en",),
        "licence": "Apache-2.0",
        "quantization": Quantization(method="fp32"),
        "created": "2026-01-01",
        "files": {name: sha256(folder / name) for name in (MODEL_FILE, TOKENIZER_FILE)},
    }
    manifest = Manifest(**(fields | changes))
    write_manifest(folder, manifest)
    return manifest
