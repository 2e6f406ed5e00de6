from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from transformers import AutoModelForTokenClassification

import export.bundle
from distill.students import load_student
from export.bundle import export_student, export_teacher, update_manifest
from export.check import folder_bytes
from export.errors import ExportError
from export.source import torch_reference
from onoma import Tagger
from onoma.bundle import Calibration, read_manifest
from onoma.errors import BundleError, OnomaError
from tests.export.conftest import LABELS, STUDENTS, TEXTS, Checkpoint, Trained

LOOSE: dict[str, Any] = {"min_agreement": 0.5, "texts_for_parity": TEXTS, "overlap": 8, "max_length": 64}
KINDS = (*STUDENTS, "bert", "electra", "roberta")
DYNAMIC = ("bilstm", "conv", "transformer", "bert", "roberta")  # the others are like one of these


@pytest.fixture(scope="module")
def bundles(trained: Trained, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of model, in every quantization: "bert fp32" and so on."""
    root = tmp_path_factory.mktemp("bundles")
    made = {}
    for kind in KINDS:
        for method in ("fp32", "int8-weights", "int8-dynamic"):
            if method == "int8-dynamic" and kind not in DYNAMIC:
                continue
            target = root / f"{kind}-{method}"
            if kind in STUDENTS:
                export_student(trained(kind), target, quantization=method, **LOOSE)
            else:
                export_teacher(checkpoint(kind), target, quantization=method, **LOOSE)
            made[f"{kind} {method}"] = target
    return made


def original(kind: str, trained: Trained, checkpoint: Checkpoint) -> Any:
    if kind in STUDENTS:
        return torch_reference(load_student(trained(kind)))
    return torch_reference(AutoModelForTokenClassification.from_pretrained(checkpoint(kind)).eval())


def rows(tagger: Tagger) -> list[np.ndarray]:
    return [ids for encoded in tagger.encode(TEXTS) for ids in encoded.inputs]


@pytest.mark.parametrize("kind", KINDS)
def test_fp32_equals_torch_in_a_padded_batch(
    kind: str, bundles: dict[str, Path], trained: Trained, checkpoint: Checkpoint
) -> None:
    tagger, reference = Tagger.load(bundles[f"{kind} fp32"], threads=1), original(kind, trained, checkpoint)
    facts = tagger.encoder.facts
    inputs = rows(tagger)
    assert len({len(ids) for ids in inputs}) > 2, "rows of several lengths"
    for ids, got in zip(inputs, tagger.infer(inputs), strict=True):
        full = np.array([*facts.prefix_ids, *ids, *facts.suffix_ids], dtype=np.int64)
        want = reference(full)[len(facts.prefix_ids) : len(full) - len(facts.suffix_ids)]
        np.testing.assert_allclose(got, want, atol=1e-4 * max(1, np.abs(want).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_int8_weights_are_close_and_do_not_depend_on_batch_mates(kind: str, bundles: dict[str, Path]) -> None:
    exact, small = (Tagger.load(bundles[f"{kind} {method}"], threads=1) for method in ("fp32", "int8-weights"))
    inputs = rows(small)
    together = small.infer(inputs)
    for ids, many, want in zip(inputs, together, exact.infer(inputs), strict=True):
        size = np.abs(want).max()
        np.testing.assert_allclose(many, small.infer([ids])[0], atol=1e-5 * size)
        # Random weights, sharpened, amplify rounding; a wrong scale or axis would be off by the size itself.
        assert np.abs(many - want).mean() < 0.1 * size


@pytest.mark.parametrize("kind", DYNAMIC)
def test_int8_dynamic_is_close(kind: str, bundles: dict[str, Path]) -> None:
    tagger = Tagger.load(bundles[f"{kind} int8-dynamic"], threads=1)
    assert tagger.manifest is not None
    assert tagger.manifest.quantization.details["parity_with_torch"]["agreement"] > 0.7
    assert len(tagger.tag_batch(TEXTS)) == len(TEXTS)
    operators = [node.op_type for node in onnx.load(bundles[f"{kind} int8-dynamic"] / "model.onnx").graph.node]
    assert ("DynamicQuantizeLSTM" if kind == "bilstm" else "MatMulInteger") in operators


@pytest.mark.parametrize("kind", KINDS)
def test_manifest_and_sizes(kind: str, bundles: dict[str, Path]) -> None:
    small, large = bundles[f"{kind} int8-weights"], bundles[f"{kind} fp32"]
    assert (small / "model.onnx").stat().st_size < (large / "model.onnx").stat().st_size
    manifest = read_manifest(small)
    assert manifest.labels == LABELS
    assert manifest.quantization.method == "int8-weights"
    assert manifest.role == ("student" if kind in STUDENTS else "teacher")
    others = ((), (), 0) if kind in STUDENTS else ((2,), (3,), 0)
    specials = {"roberta": ((0,), (2,), 1)}.get(kind, others)
    facts = manifest.tokenizer
    assert (facts.prefix_ids, facts.suffix_ids, facts.pad_id) == specials
    assert manifest.max_length == 64
    assert (
        set(manifest.files)
        == {"model.onnx", "tokenizer.json", "README.md"}
        == {p.name for p in small.iterdir()} - {"bundle.json"}
    )
    text = (small / "tokenizer.json").read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_is_answered_completely(kind: str, bundles: dict[str, Path]) -> None:
    tagger = Tagger.load(bundles[f"{kind} int8-weights"], threads=1)
    text = " ".join(TEXTS * 5)
    tagged = tagger.tag(text)
    assert tagged.windows > 3
    assert all(0 <= e.start < e.end <= len(text) for e in tagged.entities)


def test_roberta_leaves_two_positions_unused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    options = {**LOOSE, "max_length": 500}
    assert export_teacher(checkpoint("roberta"), tmp_path / "b", quantization="fp32", **options).max_length == 64


@pytest.mark.parametrize(("kind", "limit"), [("transformer", 512), ("conv", 600), ("bilstm", 600)])
def test_a_transformer_takes_no_more_pieces_than_it_has_positions(
    kind: str, limit: int, trained: Trained, tmp_path: Path
) -> None:
    options = {**LOOSE, "max_length": 600}
    assert export_student(trained(kind), tmp_path / "b", **options).max_length == limit
    tagger = Tagger.load(tmp_path / "b", threads=1)
    assert tagger.tag(" ".join(["Berlin"] * 700)).windows > 1


def test_size_limit(student: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"limit 1,000 .*model\.onnx"):
        export_student(student, tmp_path / "b", max_bytes=1000, **LOOSE)
    assert list(tmp_path.iterdir()) == []
    export_student(student, tmp_path / "b", **LOOSE)
    size = folder_bytes(tmp_path / "b")
    export_student(student, tmp_path / "b", max_bytes=size + 200, **LOOSE)


def test_an_unfaithful_model_is_refused(student: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="of 1?[0-9]+ pieces the tag"):
        export_student(student, tmp_path / "b", **{**LOOSE, "min_agreement": 1.01})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "int4"}, "int8-weights, int8-static, int8-dynamic"),
        ({"overlap": 64}, "overlap"),
        ({"overlap": -1}, "overlap"),
    ],
)
def test_wrong_options(student: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export_student(student, tmp_path / "b", **{**LOOSE, **options})


def test_no_parity_texts(student: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="at least one sentence"):
        export_student(student, tmp_path / "b", **{**LOOSE, "texts_for_parity": [" "]})


def test_a_student_with_a_missing_file(student: Path, tmp_path: Path) -> None:
    shutil.copytree(student, tmp_path / "s")
    (tmp_path / "s" / "tokenizer.json").unlink()
    with pytest.raises(ExportError, match="tokenizer.json is missing"):
        export_student(tmp_path / "s", tmp_path / "b", **LOOSE)


def test_other_files_are_never_replaced(student: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ExportError, match="no bundle"):
        export_student(student, tmp_path, **LOOSE)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("at", ["_write_model", "_seal", "write_manifest", "_replace"])
def test_an_interrupted_export_leaves_the_old_bundle(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    target = tmp_path / "b"
    old = export_student(student, target, **LOOSE)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export.bundle, at, interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_student(student, target, **{**LOOSE, "quantization": "fp32"})
    assert read_manifest(target) == old
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_failed_swap_puts_the_old_bundle_back(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "b"
    old = export_student(student, target, **LOOSE)
    rename = Path.rename

    def fail(self: Path, to: Path) -> Path:
        if ".new-" in self.name:
            raise OSError("disk on fire")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="on fire"):
        export_student(student, target, **LOOSE)
    assert read_manifest(target) == old
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_update(student: Path, tmp_path: Path) -> None:
    target = tmp_path / "b"
    first = export_student(student, target, training={"seed": 7}, languages=["de", "en"], licence="MIT", **LOOSE)
    calibration = Calibration(temperature=1.5, confidence=((0.1, 0.2), (0.9, 0.8)), fallback_threshold=0.4)
    second = update_manifest(
        target, calibration=calibration, metrics={"per_language": {"de": 0.913, "en": {"f1": 0.8}}}
    )
    assert read_manifest(target) == second
    assert second.calibration == calibration and second.training == {"seed": 7}
    assert update_manifest(target, training={"epochs": 3}).training == {"seed": 7, "epochs": 3}
    assert read_manifest(target).metrics == second.metrics
    assert second.files["model.onnx"] == first.files["model.onnx"]
    card = (target / "README.md").read_text(encoding="utf-8")
    assert "| de | 91.3 |" in card and "| en | 80.0 |" in card and "seed: 7" in card
    assert Tagger.load(target).calibration == calibration


def test_a_damaged_bundle_is_neither_loaded_nor_updated(student: Path, tmp_path: Path) -> None:
    target = tmp_path / "b"
    export_student(student, target, **LOOSE)
    with (target / "model.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"\0\0\0\0")
    for action in (Tagger.load, update_manifest):
        with pytest.raises(BundleError, match=r"model\.onnx is damaged"):
            action(target)
    export_student(student, target, **LOOSE)  # a new export repairs it
    Tagger.load(target)


def test_export_error_is_an_onoma_error() -> None:
    assert issubclass(ExportError, OnomaError)


def test_a_fault_at_the_last_position_is_found(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = export.bundle.OnnxModel.infer

    def faulty(self: Any, inputs: list[np.ndarray]) -> Any:
        return [rows + (np.arange(len(rows)) == 61)[:, None] for rows in original(self, inputs)]

    monkeypatch.setattr(export.bundle.OnnxModel, "infer", faulty)
    with pytest.raises(ExportError, match="fp32 export differs from torch by"):
        export_teacher(checkpoint("bert"), tmp_path / "bundle", **LOOSE)
