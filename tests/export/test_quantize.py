from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.quantize import head_nodes, int8, quantize_weights


def graph_of(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["T"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["T", None])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def session(model: onnx.ModelProto, optimized: str | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized:
        options.optimized_model_filepath = optimized
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def random_graph() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = {
        "table": rng.normal(size=(100, 32)).astype(np.float32),
        "w": (rng.normal(size=(32, 48)) * np.geomspace(0.01, 10, 48)).astype(np.float32),
        "v": rng.normal(size=(64, 48)).astype(np.float32),
        "b": np.ones(64, dtype=np.float32),
        "head": rng.normal(size=(64, 32)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"], "lookup"),
        helper.make_node("MatMul", ["x", "w"], ["y"], "first"),
        helper.make_node("Gemm", ["y", "v", "b"], ["z"], "second", transB=1),
        helper.make_node("MatMul", ["z", "head"], ["logits"], "head"),
    ]
    return graph_of(nodes, weights)


def test_int8_is_within_half_a_scale() -> None:
    weight = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)
    weight[3] = 0
    values, scale = int8(weight, 1)
    assert values.dtype == np.int8 and scale.shape == (7, 1)
    assert (np.abs(values * scale - weight) <= scale / 2 + 1e-7).all()
    assert (values[3] == 0).all()


def test_answers_stay_close_and_the_head_stays_float() -> None:
    model = random_graph()
    small, stored = quantize_weights(model)
    assert stored == ["table", "v", "w"]
    ids = np.arange(20)
    want, got = (session(m).run(None, {"ids": ids})[0] for m in (model, small))
    assert np.abs(want - got).max() / np.abs(want).max() < 0.02
    assert model.SerializeToString() == random_graph().SerializeToString(), "the given model is not changed"
    assert len(small.SerializeToString()) < 0.6 * len(model.SerializeToString())


def test_onnxruntime_folds_the_matrices_and_gathers_int8_rows(tmp_path: object) -> None:
    path = f"{tmp_path}/optimized.onnx"
    session(quantize_weights(random_graph())[0], path)
    optimized = onnx.load(path)
    operators = [node.op_type for node in optimized.graph.node]
    assert operators.count("Cast") == 1, operators  # of the looked-up rows only
    kinds = {t.name: t.data_type for t in optimized.graph.initializer}
    assert kinds["table/int8"] == TensorProto.INT8


def test_a_weight_with_two_kinds_of_use_stays_float() -> None:
    rng = np.random.default_rng(0)
    weights = {
        "tied": rng.normal(size=(64, 64)).astype(np.float32),
        "head": rng.normal(size=(64, 64)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["tied", "ids"], ["x"], "lookup"),
        helper.make_node("MatMul", ["x", "tied"], ["y"], "product"),
        helper.make_node("MatMul", ["y", "head"], ["logits"], "head"),
    ]
    assert quantize_weights(graph_of(nodes, weights))[1] == []


def test_a_shared_weight_is_stored_once() -> None:
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(64, 64)).astype(np.float32), "t": rng.normal(size=(64, 64)).astype(np.float32)}
    nodes = [
        helper.make_node("Gather", ["t", "ids"], ["x"], "lookup"),
        helper.make_node("MatMul", ["x", "w"], ["y"], "first"),
        helper.make_node("MatMul", ["y", "w"], ["z"], "again"),
        helper.make_node("MatMul", ["z", "t"], ["logits"], "head"),
    ]
    model = graph_of(nodes, weights)
    small, stored = quantize_weights(model)
    assert stored == ["w"], "t is also the head"
    want, got = (session(m).run(None, {"ids": np.arange(9)})[0] for m in (model, small))
    assert np.abs(want - got).max() / np.abs(want).max() < 0.02


def test_only_the_operators_asked_for() -> None:
    assert quantize_weights(random_graph(), operators=["Gather"])[1] == ["table"]
    assert quantize_weights(random_graph(), smallest=10**6)[1] == []


def test_a_graph_without_a_linear_head_is_refused() -> None:
    model = graph_of(
        [helper.make_node("Gather", ["t", "ids"], ["logits"], "lookup")], {"t": np.ones((40, 40), dtype=np.float32)}
    )
    with pytest.raises(ExportError, match="no linear layer"):
        head_nodes(model.graph)
