"""int8-static: answers that depend on the text alone, weights that come back, ranges that nothing leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from distill.students import Student, StudentConfig, load_student
from export.bundle import export_student, export_teacher
from export.errors import ExportError
from export.graphs import student_graph
from export.integer_lstm import MORE, OPERATOR, table_in_steps, with_fixed_ranges, with_floats
from export.restore import restore
from onoma.bundle import TokenizerFacts
from onoma.model import OnnxModel
from onoma.tagger import Tagger
from tests.export.conftest import LABELS, TEXTS, Checkpoint, Trained

VOCABULARY = 60


def student(*, embedding: int = 10, hidden: int = 12, wild: float = 1.0, **options: object) -> Student:
    """A BiLSTM whose weights are `wild` times as large as usual."""
    torch.manual_seed(0)
    model = Student(StudentConfig(VOCABULARY, embedding, hidden, LABELS, **options)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lstm" in name:
                value *= wild
    return model


def model_of(graph: onnx.ModelProto, folder: Path, threads: int = 1) -> OnnxModel:
    path = folder / "model.onnx"
    onnx.save(graph, str(path))
    return OnnxModel(path, facts=TokenizerFacts(pad_id=0), threads=threads)


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> dict[int, OnnxModel]:
    """A student whose gates are far open or shut, by threads of a run."""
    graph = with_fixed_ranges(student_graph(student(wild=8, hidden=33)))[0]
    return {threads: model_of(graph, tmp_path_factory.mktemp("wild"), threads) for threads in (1, 3)}


rows = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=40), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(rows, st.integers(0, 30), st.sampled_from([1, 3]))
def test_no_logit_depends_on_what_runs_beside(
    wild: dict[int, OnnxModel], rows: list[list[int]], extra: int, threads: int
) -> None:
    windows = [np.array(row, dtype=np.int64) for row in rows]
    alone = [wild[1].infer([window])[0] for window in windows]
    company = [*windows, np.full(40 + extra, 7, dtype=np.int64)]  # which pads all others
    for own, beside in zip(alone, wild[threads].infer(company)[:-1], strict=True):
        assert np.array_equal(own, beside)


def test_onnxruntimes_own_quantizer_does_depend(tmp_path: Path) -> None:
    """What the constant inputs and units are for: without them, the same operator moves with the batch."""
    model = student(wild=8)
    with torch.no_grad():
        model.embedding.weight[1] *= 20
    from export.student import quantize_arithmetic

    moved = model_of(quantize_arithmetic(student_graph(model))[0], tmp_path)
    quiet, loud = np.arange(5, 15), np.full(10, 1)
    assert not np.array_equal(moved.infer([quiet])[0], moved.infer([quiet, loud])[0])


@pytest.mark.parametrize("options", [{}, {"decoder": "crf"}, {"projection": 6, "activation": "gelu"}])
def test_close_to_fp32_and_in_integers(options: dict[str, object], tmp_path: Path) -> None:
    graph = student_graph(student(embedding=16, hidden=24, **options))
    static, details = with_fixed_ranges(graph)
    assert [node.op_type for node in static.graph.node].count(OPERATOR) == 1
    assert "LSTM" not in {node.op_type for node in static.graph.node}
    assert OPERATOR in details["arithmetic"]
    rng = np.random.default_rng(1)
    windows = [rng.integers(VOCABULARY, size=length) for length in (1, 2, 9, 60)]
    want, got = (np.concatenate(model_of(one, tmp_path).infer(windows)) for one in (graph, static))
    assert np.abs(want - got).max() < 0.05 * np.abs(want).max()
    assert not np.array_equal(want, got)


def test_ranges_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    """The greatest and the least of all inputs and of all states are those of the constant ones, at every step."""
    graph = with_fixed_ranges(student_graph(student(wild=30, hidden=9)))[0]
    lstm = next(node for node in graph.graph.node if node.op_type == OPERATOR)
    for name in (lstm.input[0], lstm.output[0]):
        graph.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(2).integers(VOCABULARY, size=(5, 30))
    vectors, states = session.run([lstm.input[0], lstm.output[0]], {"input_ids": ids, "attention_mask": ids * 0 + 1})
    assert vectors.shape == (30, 5, 10 + MORE) and states.shape == (30, 2, 5, 9 + MORE)
    assert (vectors[..., -2] == vectors.min()).all() and (vectors[..., -1] == vectors.max()).all()
    steps = np.arange(1, 31)
    ends = np.tanh(np.stack([steps, -steps], axis=1))[:, None]
    for direction, order in enumerate((slice(None), slice(None, None, -1))):
        own = states[order, direction]
        np.testing.assert_allclose(own[..., -MORE:], np.broadcast_to(ends, own[..., -MORE:].shape), atol=1e-6)
        assert (own <= own[..., -2:-1]).all() and (own >= own[..., -1:]).all()


def test_weights_leave_room_for_sums_in_16_bits() -> None:
    graph = with_fixed_ranges(student_graph(student()))[0]
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    for name in ("lstm.W/int8", "lstm.R/int8"):
        assert np.abs(tensors[name].astype(int)).max() == 63
        assert 2 * 255 * 63 <= np.iinfo(np.int16).max  # two products, unsigned by signed


def test_a_table_in_steps_has_the_least_error() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(500, 20)).astype(np.float32)
    table[3, 5] = 40  # one far out
    values, scale = table_in_steps(table)
    assert values.dtype == np.int8 and scale.shape == () and scale.dtype == np.float32

    def error(step: float) -> float:
        return float(np.square(np.rint(table / step).clip(-128, 127) * step - table).sum())

    assert error(float(scale)) <= min(error(40 / 127), error(20 / 127), error(10 / 127)) * 1.001
    assert table_in_steps(np.zeros((4, 2), dtype=np.float32))[0].any() == np.False_


@pytest.mark.parametrize("options", [{}, {"projection": 6, "activation": "gelu"}])
def test_weights_come_back(options: dict[str, object]) -> None:
    before = student_graph(student(embedding=16, hidden=24, **options))
    static = with_fixed_ranges(before)[0]
    after = with_floats(static)
    assert [node.name for node in after.graph.node] == [node.name for node in before.graph.node]
    onnx.checker.check_model(after)
    olds, news = ({t.name: numpy_helper.to_array(t) for t in one.graph.initializer} for one in (before, after))
    assert olds.keys() == news.keys()
    for name, old in olds.items():
        steps = {"lstm.W": 63, "lstm.R": 63}.get(name)
        limit = 0 if steps is None else np.abs(old).max(axis=2, keepdims=True) / steps / 2 * 1.001
        if name != "embedding.weight":
            assert (np.abs(old - news[name]) <= limit).all(), name
    again = with_floats(with_fixed_ranges(after)[0])
    for tensor in again.graph.initializer:
        np.testing.assert_allclose(numpy_helper.to_array(tensor), news[tensor.name], rtol=0.02, atol=0.02)
    assert with_floats(before) is before


def test_a_bundle_of_it(trained: Trained, tmp_path: Path) -> None:
    manifest = export_student(trained("bilstm"), tmp_path / "b", quantization="int8-static", min_agreement=0.2)
    assert manifest.quantization.method == "int8-static"
    assert manifest.quantization.details["parity_with_torch"]["batch_difference"] == 0
    assert "stored" not in manifest.quantization.details, "nothing is stored as int8 and computed as fp32"
    tagger = Tagger.load(tmp_path / "b", threads=1)
    assert tagger.tag_batch(TEXTS) == [tagger.tag(text) for text in TEXTS]
    restore(tmp_path / "b", tmp_path / "back")
    assert load_student(tmp_path / "back").config == load_student(trained("bilstm")).config


def test_other_models_are_refused(trained: Trained, checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="int8-static is for students of kind bilstm, not for 'conv V="):
        export_student(trained("conv"), tmp_path / "b", quantization="int8-static")
    with pytest.raises(ExportError, match="int8-static is for students of kind bilstm, not for 'bert V="):
        export_teacher(checkpoint("bert"), tmp_path / "b", quantization="int8-static")
    with pytest.raises(ExportError, match="needs an LSTM that reads an embedding table"):
        with_fixed_ranges(student_graph(student(kind="conv")))
    assert not (tmp_path / "b").exists()
