"""Bundles back to checkpoints: the very weights, wherever the exporter put them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from distill.students import Student, StudentConfig, folded, load_student
from export.bundle import export_student, export_teacher
from export.errors import ExportError
from export.graphs import student_graph
from export.restore import load_weights, restore
from export.shapes import architecture
from export.teacher import teacher_graph
from onoma.bundle import MANIFEST
from tests.export.conftest import LABELS, STUDENTS, Checkpoint, Trained


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_student_comes_back_exactly(kind: str, trained: Trained, tmp_path: Path) -> None:
    export_student(trained(kind), tmp_path / "bundle", quantization="fp32", training={"seed": 7})
    restore(tmp_path / "bundle", tmp_path / "back")
    before, after = folded(load_student(trained(kind))), load_student(tmp_path / "back")
    assert architecture(after.config) == architecture(before.config)
    assert after.config.labels == LABELS
    assert json.loads((tmp_path / "back" / "training.json").read_text("utf-8")) == {"seed": 7}
    assert after.state_dict().keys() == before.state_dict().keys()
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value), name
    export_student(tmp_path / "back", tmp_path / "again", quantization="fp32")
    files = [(tmp_path / folder / "model.onnx").read_bytes() for folder in ("bundle", "again")]
    assert files[0] == files[1]


@pytest.mark.parametrize("kind", STUDENTS)
def test_int8_weights_come_back_within_half_a_scale(kind: str, trained: Trained, tmp_path: Path) -> None:
    export_student(trained(kind), tmp_path / "bundle", min_agreement=0.2)
    restore(tmp_path / "bundle", tmp_path / "back")
    before, after = folded(load_student(trained(kind))), load_student(tmp_path / "back")
    for name, value in before.state_dict().items():
        scale = value.abs().amax(dim=-1, keepdim=True) / 127
        assert bool(((after.state_dict()[name] - value).abs() <= 0.51 * scale).all()), name
    assert torch.equal(after.head.weight, before.head.weight), "the head is stored in fp32"
    assert not torch.equal(after.embedding.weight, before.embedding.weight), "embeddings are stored in int8"


@pytest.mark.parametrize("kind", ["bert", "electra", "roberta"])
def test_a_teacher_comes_back_exactly(kind: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    export_teacher(checkpoint(kind), tmp_path / "bundle", quantization="fp32", overlap=8, max_length=64)
    restore(tmp_path / "bundle", tmp_path / "back")
    before = AutoModelForTokenClassification.from_pretrained(checkpoint(kind)).eval()
    after = AutoModelForTokenClassification.from_pretrained(tmp_path / "back").eval()
    assert after.config.id2label == before.config.id2label
    ids = torch.tensor([[2, 7, 9, 30, 11, 5], [2, 40, 8, 6, 12, 3]])
    with torch.no_grad():
        torch.testing.assert_close(after(input_ids=ids).logits, before(input_ids=ids).logits, rtol=0, atol=1e-6)
    assert AutoTokenizer.from_pretrained(tmp_path / "back").is_fast


def test_another_shape_is_refused() -> None:
    def build(hidden: int) -> Student:
        return Student(StudentConfig(50, 8, hidden, LABELS))

    with pytest.raises(ExportError, match="exported otherwise: 'lstm.W' should be"):
        load_weights(build(12), student_graph(build(16)), student_graph)


def test_weights_that_the_graph_lacks_are_named(checkpoint: Checkpoint) -> None:
    model = AutoModelForTokenClassification.from_pretrained(checkpoint("bert"), attn_implementation="eager").eval()
    stored = teacher_graph(model)

    def without_bias(model: torch.nn.Module) -> onnx.ModelProto:
        graph = teacher_graph(model)
        kept = [tensor for tensor in graph.graph.initializer if tensor.name != "classifier.bias"]
        del graph.graph.initializer[:]
        graph.graph.initializer.extend(kept)
        return graph

    with pytest.raises(ExportError, match=r"no weights for 'classifier.bias'"):
        load_weights(model, stored, without_bias)


def test_a_bundle_that_does_not_name_its_shape(checkpoint: Checkpoint, tmp_path: Path) -> None:
    export_teacher(checkpoint("bert"), tmp_path / "bundle", quantization="fp32", overlap=8, max_length=64)
    manifest = tmp_path / "bundle" / MANIFEST
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"config"', '"konfig"'), encoding="utf-8")
    with pytest.raises(ExportError, match=r"no training.config to build 'bert V="):
        restore(tmp_path / "bundle", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_numbers_stay_whole() -> None:
    assert np.float32((1 << 24) - 1) != np.float32(1 << 24), "every weight number below the limit is exact"
