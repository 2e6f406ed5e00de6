from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.integer_rows import OPERATOR, with_row_scales

WIDTH = 48


def chain(opset: int = 17, *, products: int = 2) -> onnx.ModelProto:
    """x (B, T, 48) by one matrix, and by the same again, `products` times in a row; `first` reads x as well."""
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) for name in ("again", "first")}
    nodes = [helper.make_node("MatMul", ["x", "first"], ["other"], "other")]
    for at in range(products):
        nodes.append(helper.make_node("MatMul", ["x" if at == 0 else f"y{at - 1}", "again"], [f"y{at}"], f"node{at}"))
    nodes.append(helper.make_node("Add", [f"y{products - 1}", "other"], ["out"], "out"))
    floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", "T", WIDTH]) for name in ("x", "out")]
    constants = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "chain", floats[:1], floats[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: onnx.ModelProto, x: NDArray[np.float32]) -> Any:
    onnx.checker.check_model(model)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def by_hand(x: NDArray[np.float32], matrix: NDArray[np.float32], zero: int) -> Any:
    """A product in whole numbers: of 255 steps a row has `zero` below zero; two weights of a column have 127."""
    ends = np.stack([x.max(-1, keepdims=True) / (255 - zero), -x.min(-1, keepdims=True) / zero])
    sizes = np.abs(matrix)
    rows, columns = ends.max(0), np.maximum(sizes.max(0), (sizes[1:] + sizes[:-1]).max(0)) / 127
    whole = np.rint(x / rows).astype(np.int64) @ np.rint(matrix / columns).astype(np.int64)
    return whole * rows * columns


def weights_of(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("opset", [17, 18])
def test_it_computes_what_it_says(opset: int) -> None:
    model = chain(opset, products=1)
    weights = weights_of(model)
    x = np.random.default_rng(1).normal(size=(2, 3, WIDTH)).astype(np.float32)
    got = run(with_row_scales(model)[0], x)
    want = by_hand(x, weights["again"], 128) + by_hand(x, weights["first"], 128)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    exact = run(model, x)
    assert 0 < np.abs(got - exact).max() < 0.03 * np.abs(exact).max()


def test_zero_lies_where_the_samples_need_it() -> None:
    model = chain(products=1)
    weights = weights_of(model)
    x = np.abs(np.random.default_rng(1).normal(size=(2, 3, WIDTH))).astype(np.float32)
    x[:, :, 0] *= -0.1
    fitted = with_row_scales(model, [{"x": x[:1]}, {"x": x[1:, :2]}])[0]  # type: ignore[dict-item]
    zero = int(weights_of(fitted)["x/rows/zero"])
    assert 1 <= zero < 40  # few of the numbers below zero are large
    want = by_hand(x, weights["again"], zero) + by_hand(x, weights["first"], zero)
    np.testing.assert_allclose(run(fitted, x), want, rtol=1e-4, atol=1e-4)
    exact = run(model, x)
    middle = np.abs(run(with_row_scales(model)[0], x) - exact).mean()
    assert np.abs(run(fitted, x) - exact).mean() < middle
    # What the samples did not show is not clipped: the steps become coarser.
    want = by_hand(-x, weights["again"], zero) + by_hand(-x, weights["first"], zero)
    np.testing.assert_allclose(run(fitted, -x), want, rtol=1e-4, atol=1e-3)


def test_sums_of_two_products_fit_16_bits() -> None:
    # x86 without VNNI adds them up there: any unsigned 8-bit number times two neighbouring weights, with one sign.
    model = chain()
    for tensor in model.graph.initializer:
        matrix = numpy_helper.to_array(tensor).copy()
        matrix[4:6, 0] = 40.0, 40.0  # alike and large, as rarely happens
        tensor.CopyFrom(numpy_helper.from_array(matrix, tensor.name))
    stored = weights_of(with_row_scales(model)[0])
    for name in ("again/int8", "first/int8"):
        sizes = np.abs(stored[name].astype(np.int64))
        assert (sizes[1:] + sizes[:-1]).max() * 255 <= 2**15 - 1
        assert sizes.max() > 63 and sizes[4:6, 0].tolist() == [64, 64]


def test_weights_are_stored_once_and_rows_quantized_once() -> None:
    model, details = with_row_scales(chain(products=3))
    names = [tensor.name for tensor in model.graph.initializer]
    assert names.count("again/int8") == names.count("first/int8") == 1
    assert not {"again", "first"} & set(names)  # the fp32 ones are gone
    operators = [node.op_type for node in model.graph.node]
    assert operators.count(OPERATOR) == 4
    assert operators.count("QuantizeLinear") == 3  # x for two products, then each product for the next
    assert details["products"] == "4 of 2 matrices"


def test_a_row_s_answer_does_not_depend_on_the_others() -> None:
    model, _ = with_row_scales(chain())
    rng = np.random.default_rng(2)
    row = rng.normal(size=(1, 1, WIDTH)).astype(np.float32)
    crowd = np.concatenate([1000 * rng.normal(size=(4, 1, WIDTH)).astype(np.float32), row])
    assert np.array_equal(run(model, row)[0], run(model, crowd)[-1])


def test_zeros_stay_zeros() -> None:
    model, _ = with_row_scales(chain())
    assert not run(model, np.zeros((1, 2, WIDTH), dtype=np.float32)).any()


def test_small_matrices_stay_and_nothing_to_do_is_said() -> None:
    with pytest.raises(ExportError, match="needs a MatMul by a constant matrix"):
        with_row_scales(chain(), smallest=10_000)
    before = chain()
    copy = before.SerializeToString()
    with_row_scales(before)
    assert before.SerializeToString() == copy
