"""What an exporter hands over to the bundle: the model in both forms, and all that a manifest says about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from export.errors import ExportError
from onoma.bundle import Pieces, TokenizerFacts, Transitions
from onoma.errors import LabelError
from onoma.labels import LabelSet, Scheme

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Reference = Callable[[Ints], Floats]
"""Logits (T, C) of one row of ids (T,), prefix and suffix included: the model as it was trained."""
Decide = Callable[[Floats], Ints]
"""Columns (T,) decided from the logits (T, C) of one sentence whose pieces are all words."""

Quantize = Callable[[onnx.ModelProto], tuple[onnx.ModelProto, dict[str, Any]]]
"""An fp32 graph with int8 arithmetic, and how it computes."""


def most_probable(logits: Floats) -> Ints:
    """The best tag of each piece alone."""
    tags: Ints = logits.argmax(axis=1)
    return tags


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model ready to be bundled.

    :param graph: fp32 ONNX graph `input_ids`, `attention_mask` (B, T) int64 -> `logits` (B, T, C) float32.
    :param dynamic: makes the int8-dynamic graph of it, and says how.
    :param static: the same for int8-static; None where there is no such graph.
    :param reference: the original, which the graph must agree with.
    :param labels: the tag of each column; `scheme` is what they mean.
    :param pieces: which of a word's pieces have a say in its tag.
    :param transitions: of a CRF, whose emissions the logits are; None for a softmax.
    :param decide: the original's way to its tags, which the bundle's must agree with.
    :param longest: most pieces the model takes, prefix and suffix included; None for no limit.
    :param origin: facts for the manifest's `training`, such as where the checkpoint came from.
    """

    role: Literal["student", "teacher"]
    architecture: str
    parameters: int
    labels: tuple[str, ...]
    facts: TokenizerFacts
    tokenizer: Tokenizer
    graph: onnx.ModelProto
    dynamic: Quantize
    reference: Reference
    scheme: Scheme = "iob2"
    pieces: Pieces = "all"
    transitions: Transitions | None = None
    decide: Decide = most_probable
    longest: int | None = None
    static: Quantize | None = None
    origin: dict[str, Any] = field(default_factory=dict)


def check_labels(labels: tuple[str, ...], where: str) -> None:
    """Refuse labels of a student that are not IOB2.

    :raises ExportError: naming them.
    """
    try:
        LabelSet(labels)
    except LabelError as error:
        raise ExportError(
            f"{where}: labels must be IOB2 (O, and B- and I- of each type): {error}; has {list(labels)}"
        ) from error


def compact_tokenizer(tokenizer: Tokenizer) -> str:
    """The tokenizer as JSON without white space, truncation and padding: windows and batches are onoma's work."""
    content = json.loads(tokenizer.to_str())
    content["truncation"] = content["padding"] = None
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def check_vocabulary(tokenizer: Tokenizer, rows: int, where: str) -> None:
    """Refuse a tokenizer that yields ids the model has no embedding for.

    :raises ExportError: names the highest id and the number of embeddings.
    """
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if highest >= rows:
        raise ExportError(f"{where}: the tokenizer has piece ids up to {highest}, the model only {rows} embeddings")


def torch_reference(model: torch.nn.Module) -> Reference:
    """A torch model as a `Reference`; its output is logits (1, T, C) or has them as `.logits`."""

    def reference(ids: Ints) -> Floats:
        row = torch.from_numpy(ids)[None]
        with torch.inference_mode():
            output = model(input_ids=row, attention_mask=torch.ones_like(row))
        logits = output if isinstance(output, torch.Tensor) else output.logits
        result: Floats = logits[0].float().numpy()
        return result

    return reference
