"""The study of int8 arithmetic, with tiny students of random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from families import unigram
from onnx import TensorProto, helper, numpy_helper
from transformers import BertConfig

from benchmarks import quantization
from benchmarks.batch_dependence import Answers, Moved, Texts
from benchmarks.quantized_graphs import GraphError, dynamic, in_blocks, static, unpacked
from benchmarks.sentences import SCRIPTS, sentences
from benchmarks.sessions import Session, Setup
from distill.students import Student, StudentConfig, save_student
from export.bundle import export_student
from export.student import quantize_arithmetic
from export.teacher import quantize_matmuls
from onoma import Tagger
from onoma.bundle import MODEL_FILE
from onoma.labels import Entity
from onoma.tagger import Tagged
from tests.onoma.bundles import LABELS, write_bundle

Bundles = Callable[[str], Path]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Makes int8-weights bundles of a "bilstm" and a "transformer", each once."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            tokenizer = unigram()
            torch.manual_seed(1)
            shape = {"embedding": 32, "hidden": 32, "layers": 1, "kind": kind}
            config = StudentConfig(vocabulary=tokenizer.get_vocab_size(), labels=LABELS.tags, **shape)
            model = Student(config)
            for parameter in model.parameters():
                parameter.data *= 2  # so that entities are found, and arithmetic shows
            save_student(model, folder / "student")
            tokenizer.save(str(folder / "student" / "tokenizer.json"))
            export_student(folder / "student", folder / "bundle", min_agreement=0)
            made[kind] = folder / "bundle"
        return made[kind]

    return make


def graph(folder: Path) -> onnx.ModelProto:
    return onnx.load(str(folder / MODEL_FILE))


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def logits(model: onnx.ModelProto, rows: int = 3, seed: int = 0) -> np.ndarray:
    ids = np.random.default_rng(seed).integers(3, 50, size=(rows, 9))
    return Session(model.SerializeToString(), Setup()).run(ids, np.ones_like(ids))


@pytest.mark.parametrize("kind", ["bilstm", "transformer"])
@pytest.mark.parametrize("tables", [False, True])
def test_unpacked_weights_compute_the_same(bundles: Bundles, kind: str, tables: bool) -> None:
    model = graph(bundles(kind))
    found = unpacked(model, tables=tables)
    onnx.checker.check_model(found.graph)
    np.testing.assert_array_equal(logits(found.graph), logits(model))
    stored = [one.name for one in found.graph.graph.initializer if one.data_type == TensorProto.INT8]
    assert bool(stored) is not tables
    sizes = [len(one.SerializeToString()) for one in (model, found.graph)]
    assert sizes[0] < sizes[1]
    assert len(found.kept()) == 1, "the head alone is fp32 in the bundle"


def test_a_table_that_is_looked_up_twice() -> None:
    values = np.arange(-6, 6, dtype=np.int8).reshape(4, 3)
    tensors = {"t": values, "s": np.full((4, 1), 0.5, np.float32), "w": values.T.copy(), "ws": np.float32([[2.0]])}
    nodes = [helper.make_node("Cast", ["w"], ["wc"], to=1), helper.make_node("Mul", ["wc", "ws"], ["weight"])]
    for which in ("a", "b"):
        nodes += [
            helper.make_node("Gather", ["t", "input_ids"], [f"{which}8"]),
            helper.make_node("Gather", ["s", "input_ids"], [f"{which}s"]),
            helper.make_node("Cast", [f"{which}8"], [f"{which}c"], to=1),
            helper.make_node("Mul", [f"{which}c", f"{which}s"], [which]),
        ]
    nodes += [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("MatMul", ["sum", "weight"], ["logits"])]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "T"])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", "T", 4])],
            [numpy_helper.from_array(value, name) for name, value in tensors.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    found = unpacked(model, tables=True)
    onnx.checker.check_model(found.graph)
    assert operators(found.graph) == ["Gather", "Gather", "Add", "MatMul"] and found.weights == {"weight"}
    fp32 = {one.name: numpy_helper.to_array(one) for one in found.graph.graph.initializer}
    assert sorted(fp32) == ["t/fp32", "weight"]
    np.testing.assert_array_equal(fp32["t/fp32"], values * np.float32(0.5))
    np.testing.assert_array_equal(fp32["weight"], values.T * np.float32(2))


def test_dynamic_is_what_export_makes(bundles: Bundles) -> None:
    for kind in ("bilstm", "transformer"):
        source = unpacked(graph(bundles(kind)), tables=False)
        mine, exported = dynamic(source, role="student"), quantize_arithmetic(source.graph)[0]
        assert mine.SerializeToString() == exported.SerializeToString()
        assert set(operators(mine)) & {"DynamicQuantizeLSTM", "MatMulInteger"}
    mine, exported = dynamic(source, role="teacher"), quantize_matmuls(source.graph, BertConfig())[0]
    assert operators(mine) == operators(exported)
    np.testing.assert_array_equal(logits(mine), logits(exported))


def test_other_int8_arithmetic(bundles: Bundles) -> None:
    model = graph(bundles("transformer"))
    source = unpacked(model, tables=False)
    ids = np.arange(3, 20)[None]
    fixed = static(source, [{"input_ids": ids, "attention_mask": np.ones_like(ids)}])
    blocks = in_blocks(source)
    assert fixed is not None and blocks is not None
    products = len(source.multiplied())
    assert products > 3 and operators(blocks).count("MatMulNBits") == products
    assert operators(fixed).count("MatMul") == operators(source.graph).count("MatMul")
    fp32 = logits(model)
    for other in (fixed, blocks):
        difference = np.abs(logits(other) - fp32).max()
        assert 0 < difference < 0.2 * np.abs(fp32).max()
        np.testing.assert_array_equal(logits(other)[:1], logits(other, rows=1), err_msg="a row depends on others")
    assert static(unpacked(graph(bundles("bilstm")), tables=False), []) is None
    assert in_blocks(unpacked(graph(bundles("bilstm")), tables=False)) is None


def test_onnxruntime_has_no_zero_point_for_each_row() -> None:
    """Why int8-dynamic has one scale for a tensor: MatMulInteger, which ONNX lets have one a row, does not take it."""
    inputs = [("a", TensorProto.UINT8, [2, 3]), ("b", TensorProto.INT8, [3, 4]), ("z", TensorProto.UINT8, ["R"])]
    g = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b", "z"], ["logits"])],
        "g",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.INT32, [2, 4])],
    )
    model = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = Session(model.SerializeToString(), Setup())._session
    given = {"a": np.ones((2, 3), np.uint8), "b": np.ones((3, 4), np.int8)}
    assert session.run(None, given | {"z": np.zeros(1, np.uint8)})[0].shape == (2, 4)
    with pytest.raises(Exception, match="zero point must be a scalar or 1D tensor of size 1"):
        session.run(None, given | {"z": np.zeros(2, np.uint8)})


def test_a_graph_without_int8_weights_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "fp32")
    with pytest.raises(GraphError, match="no weight"):
        unpacked(graph(tmp_path / "fp32"), tables=True)
    assert quantization.main([str(tmp_path / "fp32")]) == 1
    assert quantization.main([str(tmp_path / "nothing")]) == 1
    said = capsys.readouterr().err
    assert "fp32: no weight of the graph is stored as int8" in said and "no bundle at" in said
    with pytest.raises(SystemExit):
        quantization.main(["--rounds", "0"])


def test_sentences_of_every_script() -> None:
    found = sentences(3)
    assert len(SCRIPTS) == 12 and len(found) == 36 and "{" not in "".join(found)
    assert found == sentences(3) and found != sentences(3, seed=1)
    for at, first in enumerate(SCRIPTS):
        assert first != "hebrew" or all("\u0590" <= text[0] <= "\u05ff" for text in found[3 * at : 3 * at + 3])


def test_moved() -> None:
    def answers(*found: tuple[Entity, ...], logit: float = 0.0) -> Answers:
        return Answers([np.full((2, 3), logit, np.float32)], [Tagged(entities, 1.0, 1) for entities in found])

    per, loc = Entity(0, 3, "PER", 0.5), Entity(4, 6, "LOC", 0.75)
    same = answers((per,), (loc,)).moved(answers((per,), (loc,)))
    assert same == Moved(frozenset(), 0.0, 0.0)
    weaker = Entity(0, 3, "PER", 0.25)
    other = answers((per, loc), (loc,)).moved(answers((weaker, loc), (loc, Entity(0, 1, "ORG", 1.0)), logit=-2.0))
    assert other == Moved(frozenset({1}), 0.25, 2.0)
    relabelled = answers((per,)).moved(answers((Entity(0, 3, "ORG", 0.5),)))
    assert relabelled.changed == {0} and relabelled.score == 0.0
    assert other | relabelled == Moved(frozenset({0, 1}), 0.25, 2.0)


def test_company_shows_where_there_is_any(tmp_path: Path) -> None:
    """The tiny table's graph gives each row its own logits; one that adds the greatest id of the batch does not."""
    write_bundle(tmp_path)
    tagger = Tagger.load(tmp_path, threads=1)
    texts = Texts(tagger, ["Angela", "the Köln", "Angela in Köln", "Köln"])
    session = Session(tmp_path / MODEL_FILE, Setup())
    alone = texts.alone(session)
    assert [len(one.entities) for one in alone.tagged] == [1, 1, 2, 1]
    assert texts.in_batches(session, alone, draws=2) == texts.padded(session, alone) == Moved(frozenset(), 0.0, 0.0)

    class Company:
        def run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
            return session.run(ids, mask) + np.float32(ids.shape[1]) * np.eye(7, dtype=np.float32)[1]

    company = Company()
    alone = texts.alone(company)  # type: ignore[arg-type]
    moved = texts.padded(company, alone)  # type: ignore[arg-type]
    assert moved.logit == max(map(len, texts.inputs)) and moved.score > 0.01
    batches = texts.in_batches(company, alone, draws=1)  # type: ignore[arg-type]
    longest = max(map(len, texts.inputs))
    assert batches.logit == longest - min(map(len, texts.inputs))


def test_forms_of_a_bundle_that_computes_in_int8(bundles: Bundles, tmp_path: Path) -> None:
    folder = bundles("bilstm").parent
    export_student(folder / "student", tmp_path / "b", min_agreement=0, quantization="int8-static")
    manifest = Tagger.load(tmp_path / "b", threads=1).manifest
    assert manifest is not None
    found = quantization.forms(graph(tmp_path / "b"), manifest, [np.arange(3, 9)])
    assert list(found) == ["fp32", "int8-weights", "int8-dynamic", "int8-static"]
    assert found["int8-static"].SerializeToString() == graph(tmp_path / "b").SerializeToString()
    assert operators(found["int8-weights"]) == operators(graph(bundles("bilstm")))
    fp32 = logits(found["fp32"])
    assert 0 < np.abs(logits(found["int8-static"]) - fp32).max() < 0.1 * np.abs(fp32).max()


def test_report(bundles: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--json", str(tmp_path / "out" / "all.json"), "--markdown", str(tmp_path / "out" / "report.md")]
    small = ["--sentences", "2", "--draws", "2", "--rounds", "2", "--seconds", "0"]
    folders = [str(bundles(kind)) for kind in ("bilstm", "transformer")]
    assert quantization.main([*folders, *small, *files]) == 0
    text = capsys.readouterr().out
    assert text == (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    results = json.loads((tmp_path / "out" / "all.json").read_text(encoding="utf-8"))
    lstm, transformer = (one["forms"] for one in results["bundles"])
    assert list(lstm) == ["fp32", "int8-weights", "int8-dynamic", "int8-static"]
    assert list(transformer) == list(quantization.ABOUT)
    assert "`int8-blocks` does not exist: " in text
    for forms in (lstm, transformer):
        assert forms["int8-weights"]["bytes"] < forms["fp32"]["bytes"]
        for name in ("fp32", "int8-weights"):
            assert forms[name]["in_batches"]["changed"] == forms[name]["padded"]["changed"] == 0
            assert forms[name]["in_batches"]["score"] < 1e-3 and forms[name]["beside_fp32"]["logit"] < 1e-3
        assert forms["int8-dynamic"]["in_batches"]["logit"] > 1e-3
        assert min(own["least"] for own in forms["int8-dynamic"]["microseconds_a_piece"].values()) > 0
    assert [row[3] for row in quantization.statements(results["bundles"])][0::4] == ["yes", "yes"]
    assert results["bundles"][0]["sentences"] == 24 and f"- sentences: 24 in {len(SCRIPTS)} scripts" in text
