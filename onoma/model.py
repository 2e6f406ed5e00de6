"""Models: anything that turns piece ids into emissions, and the ONNX one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from onoma.bundle import TokenizerFacts
from onoma.errors import BundleError

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class Model(Protocol):
    """Turns a batch of windows into emissions."""

    def infer(self, inputs: Sequence[Ints]) -> list[Floats]:
        """Emissions (T_i, C) for each window of piece ids (T_i,)."""
        ...


def available_cores() -> int:
    """Cores this process may use: the affinity mask, cut down to the cgroup's CPU quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def padded(inputs: Sequence[Ints], facts: TokenizerFacts) -> tuple[Ints, Ints, list[slice]]:
    """Windows of piece ids (T_i,), at least one, as a model takes them: prefix and suffix around them, padded right.

    :return: ids (B, T), mask (B, T), and where in its row each window's own pieces stand.
    """
    before, after = facts.prefix_ids, facts.suffix_ids
    lengths = [len(before) + len(ids) + len(after) for ids in inputs]
    width = max(lengths)
    batch = np.full((len(inputs), width), facts.pad_id, dtype=np.int64)
    batch[:, : len(before)] = before
    places = [slice(len(before), length - len(after)) for length in lengths]
    for row, (ids, place) in enumerate(zip(inputs, places, strict=True)):
        batch[row, place] = ids
        if after:
            batch[row, place.stop : place.stop + len(after)] = after
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)
    return batch, mask, places


class _OnnxGraph:
    """An ONNX graph `input_ids`, `attention_mask` (B, T) int64 -> one output, on the CPU.

    :param threads: threads for one run; None for all available cores.
    """

    def __init__(self, path: Path, *, facts: TokenizerFacts, threads: int | None = None) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads if threads is not None else available_cores()
        options.inter_op_num_threads = 1
        # A spinning pool burns the cores that other requests and processes need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False  # shapes change with every batch
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class
            raise BundleError(f"{path} does not load in onnxruntime: {error}") from error
        names = {entry.name for entry in self._session.get_inputs()}
        if not {"input_ids", "attention_mask"} <= names or names - {"input_ids", "attention_mask", "token_type_ids"}:
            expected = "input_ids, attention_mask[, token_type_ids]"
            raise BundleError(f"{path}: inputs must be {expected}, got {sorted(names)}")
        self._with_types = "token_type_ids" in names
        self._facts = facts

    def _run(self, output: str, inputs: Sequence[Ints]) -> tuple[Floats, list[slice]]:
        """The output for windows of piece ids (T_i,), at least one, and where in its row each one's pieces stand."""
        batch, mask, places = padded(inputs, self._facts)
        feeds = {"input_ids": batch, "attention_mask": mask}
        if self._with_types:
            feeds["token_type_ids"] = np.zeros_like(batch)
        return self._session.run([output], feeds)[0], places


class OnnxModel(_OnnxGraph):
    """A tagger's graph: its output is `logits` (B, T, C) float32."""

    def infer(self, inputs: Sequence[Ints]) -> list[Floats]:
        """Emissions (T_i, C) for each window of piece ids (T_i,), prefix and suffix added and taken off again."""
        if not inputs:
            return []
        logits, places = self._run("logits", inputs)
        return [rows[place] for rows, place in zip(logits, places, strict=True)]


class OnnxSentenceModel(_OnnxGraph):
    """A sentence encoder's graph: its output is `embeddings` (B, D) float32, the mean over what the mask shows.

    :param dimensions: D.
    """

    def __init__(self, path: Path, *, facts: TokenizerFacts, dimensions: int, threads: int | None = None) -> None:
        super().__init__(path, facts=facts, threads=threads)
        outputs = {entry.name: entry.shape for entry in self._session.get_outputs()}
        if "embeddings" not in outputs:
            raise BundleError(f"{path}: outputs must have embeddings, got {sorted(outputs)}")
        shape = outputs["embeddings"]
        if len(shape) != 2 or (isinstance(shape[1], int) and shape[1] != dimensions):
            raise BundleError(f"{path}: embeddings must be (batch, {dimensions}), got {tuple(shape)}")

    def infer(self, inputs: Sequence[Ints]) -> list[Floats]:
        """The vector (D,) of each window of piece ids (T_i,), not normalised."""
        return list(self._run("embeddings", inputs)[0]) if inputs else []
