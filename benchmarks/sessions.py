"""Sessions of onnxruntime as `onoma.model.OnnxModel` opens them, or with a setting changed: for studies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Arena = Literal["doubling", "as-requested", "none"]


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings of a session; the defaults are onoma's.

    :param threads: of one run.
    :param spinning: whether threads without work burn their core for a while before they sleep.
    :param pattern: whether the memory of a run is planned ahead from earlier runs of the same shape.
    :param arena: how onnxruntime's arena grows: by twice as much each time, by what is asked for, or there is none.
    :param shrinking: whether each run gives the arena's free regions back at its end.
    """

    threads: int = 1
    spinning: bool = False
    pattern: bool = False
    arena: Arena = "doubling"
    shrinking: bool = False


class Session:
    """A graph `input_ids`, `attention_mask` (B, T) int64 -> `logits` (B, T, C) float32, on the CPU.

    :param setup: with the arena "as-requested", all later sessions of this process that ask for it share one arena.
    """

    def __init__(self, model: Path | bytes, setup: Setup) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = setup.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(setup.spinning)))
        options.enable_mem_pattern = setup.pattern
        options.enable_cpu_mem_arena = setup.arena != "none"
        options.log_severity_level = 3
        if setup.arena == "as-requested":
            _share_arena()
            options.add_session_config_entry("session.use_env_allocators", "1")
        source = model if isinstance(model, bytes) else str(model)
        self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self._with_types = "token_type_ids" in {entry.name for entry in self._session.get_inputs()}
        self._run_options = ort.RunOptions()
        if setup.shrinking:
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(self, ids: Ints, mask: Ints) -> Floats:
        """Logits (B, T, C) of piece ids (B, T), prefix and suffix included."""
        feeds = {"input_ids": ids, "attention_mask": mask}
        if self._with_types:
            feeds["token_type_ids"] = np.zeros_like(ids)
        logits: Floats = self._session.run(["logits"], feeds, self._run_options)[0]
        return logits


def _share_arena() -> None:
    """Register an arena that grows by what is asked for."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"arena_extend_strategy": 1}))  # kSameAsRequested
