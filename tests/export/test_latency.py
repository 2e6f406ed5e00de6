from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import export.latency
from export.errors import ExportError
from export.graphs import student_graph
from export.latency import latency
from export.quantize import quantize_weights
from onoma.errors import BundleError
from tests.export.conftest import random_student


@pytest.mark.parametrize("kind", ["bilstm", "conv", "transformer"])
def test_more_work_takes_longer(kind: str, tmp_path: Path) -> None:
    graph = student_graph(random_student(kind)).SerializeToString()
    (tmp_path / "any.onnx").write_bytes(graph)
    little = latency(graph, batch=1, length=2, runs=5)
    much = latency(tmp_path / "any.onnx", batch=32, length=256, runs=5)
    assert 0 < 3 * little < much < 10_000


@pytest.mark.parametrize("kind", ["bilstm", "conv", "transformer"])
def test_median_of_the_runs_after_the_warm_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([9, 9, 9, 0.001, 0.5, 0.002, 0.004, 0.003])
    clock, seen = [0.0], []

    class Fake:
        def __init__(self, path: Path, **options: Any) -> None:
            assert path.read_bytes() == graph and options["threads"] == 2

        def infer(self, inputs: list[np.ndarray]) -> None:
            seen.append(np.stack(inputs))
            clock[0] += next(seconds)

    graph = quantize_weights(student_graph(random_student(kind)))[0].SerializeToString()
    monkeypatch.setattr(export.latency, "OnnxModel", Fake)
    monkeypatch.setattr(export.latency.time, "perf_counter", lambda: clock[0])
    assert latency(graph, batch=4, length=60, threads=2, runs=5) == pytest.approx(3)
    ids = np.stack(seen)
    assert ids.shape == (8, 4, 60) and ids.dtype == np.int64
    assert ids.min() >= 0 and 190 < ids.max() < 200, "all 200 pieces, not the 512 positions of the transformer"
    assert len(np.unique(ids[:, 0], axis=0)) == 8, "other pieces in every run"


@pytest.mark.parametrize("changed", ["batch", "length", "threads", "runs"])
def test_numbers_under_one_are_refused(changed: str) -> None:
    with pytest.raises(ExportError, match="at least 1"):
        latency(b"", **{"batch": 1, "length": 1, changed: 0})


def test_what_is_no_model() -> None:
    with pytest.raises(BundleError, match="does not load"):
        latency(b"nothing", batch=1, length=1)


def test_a_model_without_a_table() -> None:
    shape = ["B", "T"]
    node = helper.make_node("Add", ["input_ids", "attention_mask"], ["logits"])
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("logits", TensorProto.INT64, shape)
    graph = helper.make_graph([node], "g", inputs, [output])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ExportError, match="looks up no pieces"):
        latency(model.SerializeToString(), batch=1, length=1)
