from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.narrow_tables import BLOCK, int4, with_narrow_tables

ROWS, WIDTH = 500, 96


def graph(*nodes: onnx.NodeProto, **tensors: Any) -> onnx.ModelProto:
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", "T"])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["B", "T", "E"])
    constants = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    made = helper.make_graph(list(nodes), "lookup", [ids], [out], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def table(rows: int = ROWS, width: int = WIDTH) -> Any:
    return np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)


def widened(packed: Any, scales: Any) -> Any:
    values = np.empty((len(packed), packed.shape[1] * 2), dtype=np.float32)
    values[:, 0::2], values[:, 1::2] = packed & 15, packed >> 4
    blocks = (values - 8).reshape(len(packed), -1, BLOCK) * scales[:, :, None].astype(np.float32)
    return blocks.reshape(values.shape)


def test_rows_are_looked_up_as_they_are_stored() -> None:
    words = table()
    model = graph(helper.make_node("Gather", ["words", "ids"], ["out"], "look up", axis=0), words=words)
    before = model.SerializeToString()
    narrow, names = with_narrow_tables(model, smallest=1000)
    assert names == ["words"] and model.SerializeToString() == before
    onnx.checker.check_model(model)
    session = ort.InferenceSession(narrow.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.array([[0, 7, ROWS - 1], [3, 3, 3]])
    got = session.run(None, {"ids": ids})[0]
    np.testing.assert_allclose(got, widened(*int4(words))[ids], atol=2e-3)  # the operator answers in float16
    assert got.dtype == np.float32 and len(narrow.SerializeToString()) < 0.6 * words.size + 2000


def test_16_steps_with_the_scale_that_errs_least() -> None:
    words = table()
    words[0] = 0
    words[1, 0] = 100
    found = widened(*int4(words))
    assert not found[0].any()
    error = np.square(found - words)[2:].mean() / np.square(words[2:]).mean()
    blocks = words.reshape(ROWS, -1, BLOCK)
    scale = np.abs(blocks).max(axis=2, keepdims=True) / 7
    plain = (np.rint(blocks / np.where(scale > 0, scale, 1)) * scale).reshape(words.shape)
    assert error < 0.93 * np.square(plain - words)[2:].mean() / np.square(words[2:]).mean() < 0.02
    assert np.abs(found[1, BLOCK:] - words[1, BLOCK:]).max() < 0.5  # an outlier spoils its own block alone


def test_what_is_no_lookup_stays() -> None:
    words = table()
    product = helper.make_node("MatMul", ["states", "words"], ["product"], "product")
    both = graph(
        helper.make_node("Gather", ["words", "ids"], ["states"], "look up"), product,
        helper.make_node("Identity", ["product"], ["out"], "end"), words=words,
    )  # fmt: skip
    assert with_narrow_tables(both, smallest=1000)[1] == []
    other = graph(helper.make_node("Gather", ["words", "ids"], ["out"], "look up", axis=1), words=words)
    assert with_narrow_tables(other, smallest=1000)[1] == []
    few = graph(helper.make_node("Gather", ["words", "ids"], ["out"], "look up"), words=words)
    assert with_narrow_tables(few, smallest=words.size + 1)[1] == []
    odd = graph(helper.make_node("Gather", ["words", "ids"], ["out"], "look up"), words=table(width=80))
    assert with_narrow_tables(odd, smallest=1000)[1] == []
    with pytest.raises(ValueError, match="a multiple of 32 wide, got 80"):
        int4(table(width=80))
