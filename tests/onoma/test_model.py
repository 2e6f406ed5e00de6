from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundles import write_graph
from onnx import TensorProto, helper, save

from onoma import BundleError
from onoma.bundle import TokenizerFacts
from onoma.model import OnnxModel, available_cores

TABLE = np.arange(40, dtype=np.float32).reshape(10, 4)


@pytest.mark.parametrize("with_types", [False, True])
@pytest.mark.parametrize(
    "facts", [TokenizerFacts(pad_id=0), TokenizerFacts(pad_id=9, prefix_ids=(1, 2), suffix_ids=(3,))]
)
def test_infer(tmp_path: Path, facts: TokenizerFacts, with_types: bool) -> None:
    write_graph(tmp_path / "m.onnx", TABLE, with_types=with_types)
    model = OnnxModel(tmp_path / "m.onnx", facts=facts, threads=1)
    inputs = [np.array(ids, dtype=np.int64) for ids in ([4, 5, 6], [7], [8, 8, 4, 5])]
    for ids, rows in zip(inputs, model.infer(inputs), strict=True):
        assert rows.dtype == np.float32
        assert np.array_equal(rows, TABLE[ids])
    assert model.infer([]) == []


def test_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="does not load in onnxruntime"):
        OnnxModel(tmp_path / "m.onnx", facts=TokenizerFacts(pad_id=0))


def test_other_inputs(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["logits"])],
        "other",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(BundleError, match=r"inputs must be input_ids, .*got \['x'\]"):
        OnnxModel(tmp_path / "m.onnx", facts=TokenizerFacts(pad_id=0))


def test_available_cores() -> None:
    assert available_cores() >= 1
