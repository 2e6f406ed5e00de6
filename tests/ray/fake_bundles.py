"""Bundles whose models do what those of tests/service/fakes.py do, for what does not run in the tests' process."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
from fakes import LABELS, TAGS, VOCABULARY
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from onoma.bundle import (
    MODEL_FILE,
    TOKENIZER_FILE,
    Calibration,
    Manifest,
    Quantization,
    TokenizerFacts,
    sha256,
    write_manifest,
)
from tests.onoma.bundles import write_graph

SLOW_SIZE = 1500  # of a square matrix that is multiplied with itself: about a tenth of a second


def write_fakes(models: Path) -> None:
    """A student that is unsure of `maybe` and fails at `kill` and `boom`, and a teacher that only fails at `boom`."""
    write_fake(models / "student", rows=VOCABULARY["kill"])
    write_fake(models / "teacher", sure=True, rows=VOCABULARY["boom"])


def write_fake(folder: Path, *, rows: int, sure: bool = False, slow: bool = False) -> None:
    """One bundle.

    :param rows: words of the vocabulary that its table has; the model fails at all others.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / TOKENIZER_FILE))
    table = np.zeros((rows, len(LABELS.tags)), dtype=np.float32)
    for word, at in VOCABULARY.items():
        if at < rows:
            strength = 20.0 if sure else {"maybe": 0.5, "likely": 5.0}.get(word, 20.0)
            table[at, LABELS.index[TAGS.get(word, "O")]] = strength
    write_graph(folder / MODEL_FILE, table)
    if slow:
        _slow_down(folder / MODEL_FILE)
    manifest = Manifest(
        format_version=1,
        name=folder.name,
        role="teacher" if sure else "student",
        architecture="table",
        parameters=int(table.size),
        labels=LABELS.tags,
        tokenizer=TokenizerFacts(pad_id=0),
        max_length=16,
        overlap=4,
        languages=("en",),
        licence="Apache-2.0",
        quantization=Quantization(method="fp32"),
        calibration=Calibration(fallback_threshold=0.5),
        created="2026-01-01",
        files={name: sha256(folder / name) for name in (MODEL_FILE, TOKENIZER_FILE)},
    )
    write_manifest(folder, manifest)


def _slow_down(path: Path) -> None:
    """Have the model multiply a matrix that depends on its input, and add nothing."""
    model = onnx.load(str(path))
    graph = model.graph
    graph.node[-1].output[0] = "quick"
    square = np.full((SLOW_SIZE, SLOW_SIZE), 1e-3, dtype=np.float32)
    graph.initializer.extend(
        [numpy_helper.from_array(square, "square"), numpy_helper.from_array(np.float32(0), "none")]
    )
    graph.node.extend(
        [
            helper.make_node("ReduceSum", ["mask"], ["all"], keepdims=0),
            helper.make_node("Mul", ["square", "all"], ["one"]),
            helper.make_node("MatMul", ["one", "square"], ["two"]),
            helper.make_node("ReduceMax", ["two"], ["most"], keepdims=0),
            helper.make_node("Mul", ["most", "none"], ["still_nothing"]),
            helper.make_node("Add", ["quick", "still_nothing"], ["logits"]),
        ]
    )
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    onnx.save(model, str(path))
