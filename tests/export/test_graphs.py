"""Students as ONNX graphs: the same logits as torch, whatever the padding, and a form that onnxruntime runs fast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, numpy_helper

from export.graphs import student_graph
from export.quantize import quantize_weights
from tests.export.conftest import LABELS, STUDENTS, random_student

LENGTHS = (23, 1, 9, 16, 2)


def session(model: onnx.ModelProto, optimized: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized is not None:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED  # the same on every CPU
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def optimized(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    session(model, folder / "optimized.onnx")
    return onnx.load(str(folder / "optimized.onnx"))


def batch(lengths: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Random ids at padding too: only the mask tells."""
    shape = (len(lengths), max(lengths))
    mask = np.arange(shape[1])[None] < np.array(lengths)[:, None]
    return {
        "input_ids": np.random.default_rng(3).integers(200, size=shape),
        "attention_mask": mask.astype(np.int64),
    }


def run(graph: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    logits: np.ndarray = session(graph).run(["logits"], feeds)[0]
    return logits


@pytest.mark.parametrize("kind", STUDENTS)
@pytest.mark.parametrize("lengths", [LENGTHS, (1,), (1, 1), (40, 40)])
def test_the_graph_equals_torch_for_each_row_alone(kind: str, lengths: tuple[int, ...]) -> None:
    model, feeds = random_student(kind), batch(lengths)
    got = run(student_graph(model), feeds)
    assert got.shape == (*feeds["input_ids"].shape, len(LABELS))
    for row, length in enumerate(lengths):
        ids = torch.from_numpy(feeds["input_ids"][row : row + 1, :length])
        with torch.no_grad():  # of all ways to run torch, this one alone has no mask to apply
            want = model(ids, torch.ones_like(ids))[0].numpy()
        np.testing.assert_allclose(got[row, :length], want, atol=1e-4 * max(1, np.abs(want).max()))
        assert np.abs(want).max() > 1, "logits that differ"


@pytest.mark.parametrize("kind", STUDENTS)
def test_neighbours_matter(kind: str) -> None:
    graph, feeds = student_graph(random_student(kind)), batch((9,))
    before = run(graph, feeds)
    feeds["input_ids"][0, 4] = (feeds["input_ids"][0, 4] + 1) % 200
    changed = np.abs(run(graph, feeds) - before).max(axis=2)[0] > 1e-3
    assert changed[3] and changed[5], "both sides see the piece"


@pytest.mark.parametrize("kind", STUDENTS)
def test_every_matrix_but_the_head_becomes_int8(kind: str) -> None:
    small, stored = quantize_weights(student_graph(random_student(kind)))
    floats = {
        tensor.name: tuple(tensor.dims)
        for tensor in small.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1 and not tensor.name.endswith("/scale")
    }
    taps = {name for name in floats if name.endswith(".taps")}
    assert len(taps) == (STUDENTS[kind].get("layers", 0) if kind.startswith("conv") else 0)
    assert floats.keys() - taps == {"head.weight"} | ({"lstm.B"} if kind.startswith("bilstm") else set())
    assert "embedding.weight" in stored and ("projection.weight" in stored) == kind.endswith("gelu")


@pytest.mark.parametrize("kind", STUDENTS)
def test_onnxruntime_folds_int8_matrices_when_it_loads_them(kind: str, tmp_path: Path) -> None:
    small = quantize_weights(student_graph(random_student(kind)))[0]
    left = {node.name for node in optimized(small, tmp_path).graph.node if node.name.endswith("/Cast")}
    looked_up = {"vectors/Cast"} | ({"position_vectors/Cast"} if kind == "transformer" else set())
    assert left == looked_up, "only rows that were looked up are scaled in each run"


@pytest.mark.parametrize("kind", ["bilstm gelu", "conv gelu"])
def test_gelu_is_one_operator_after_fusion(kind: str, tmp_path: Path) -> None:
    operators = {node.op_type for node in optimized(student_graph(random_student(kind)), tmp_path).graph.node}
    assert operators & {"Gelu", "BiasGelu"} and "Erf" not in operators


def test_a_linear_projection_is_folded_into_the_head() -> None:
    graph = student_graph(random_student("bilstm linear")).graph
    assert not [tensor.name for tensor in graph.initializer if "projection" in tensor.name]
    assert [node.op_type for node in graph.node].count("MatMul") == 1


def test_names_are_stable() -> None:
    """Bundles restore only while names of nodes stay: see `load_weights`."""
    names = {kind: [node.name for node in student_graph(random_student(kind)).graph.node] for kind in STUDENTS}
    assert names["bilstm"] == [
        "lengths64",
        "lengths",
        "ids_by_time",
        "vectors",
        "states_by_time",
        "states_apart",
        "states",
        "scores",
        "logits",
    ]
    assert "blocks.4.mix.gate.product" in names["conv"]
    assert "blocks.1.self_attn.query.product" in names["transformer"]


def test_more_pieces_than_positions_fail_loudly() -> None:
    graph = student_graph(random_student("transformer"))
    assert run(graph, batch((512,))).shape[1] == 512
    with pytest.raises(Exception, match="placed|position_vectors"):
        run(graph, batch((513,)))


def test_weights_are_those_of_the_model() -> None:
    model = random_student("conv")
    tensors = {t.name: numpy_helper.to_array(t) for t in student_graph(model).graph.initializer}
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    np.testing.assert_array_equal(tensors["blocks.3.taps"][:, 0, 0], state["encoder.blocks.3.taps"].T)
    halves = [tensors[f"blocks.3.mix.{part}.weight"].T for part in ("value", "gate")]
    np.testing.assert_array_equal(np.concatenate(halves), state["encoder.blocks.3.mix.weight"])
