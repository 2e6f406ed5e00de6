from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertForTokenClassification

from export import commands, quantize
from export.card import card
from export.check import Parity, require_parity
from export.commands import export
from export.errors import ExportError
from onoma.bundle import Manifest, Quantization, TokenizerFacts, read_manifest
from tests.export.conftest import LABELS, TEXTS, Checkpoint


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter, description=export.description
    )
    export.add_arguments(parser)
    return export.run(parser.parse_args(arguments))


def test_student_then_update(student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, training, metrics, calibration = (tmp_path / name for name in ("t.txt", "t.json", "m.json", "c.json"))
    texts.write_text("\n".join(TEXTS), encoding="utf-8")
    training.write_text(json.dumps({"data": [{"name": "WikiANN-45", "licence": "ODC-BY"}], "seed": 1}))
    metrics.write_text(
        json.dumps({"tokens": {"macro": 0.8, "per_language": {"de": 0.9}}, "raw": {"per_language": {"sw": 70.0}}})
    )
    calibration.write_text(json.dumps({"temperature": 1.25, "fallback_threshold": 0.3}))
    out = tmp_path / "student"
    limits = ["--overlap", "8", "--max-length", "64", "--min-agreement", "0.5", "--max-bytes", "8000000"]
    about = ["--languages", "de, sw", "--licence", "CC-BY-SA-4.0", "--training-json", str(training)]
    assert run("student", str(student), "--out", str(out), "--parity-file", str(texts), *limits, *about) == 0
    assert "int8-weights" in capsys.readouterr().out
    assert run("update", str(out), "--metrics-json", str(metrics), "--calibration-json", str(calibration)) == 0
    manifest = read_manifest(out)
    assert (
        manifest.languages == ("de", "sw") and manifest.name == "student" and manifest.calibration.temperature == 1.25
    )
    text = (out / "README.md").read_text(encoding="utf-8")
    for part in (
        "| language | tokens | raw |",
        "| de | 90.0 | – |",
        "| sw | – | 70.0 |",
        "ODC-BY",
        "CC-BY-SA-4.0",
        "macro: 0.8",
    ):
        assert part in text
    assert "onoma" in manifest.training["export_command"]


def test_hf(checkpoint: Checkpoint, tmp_path: Path) -> None:
    limits = ["--overlap", "8", "--min-agreement", "0.2", "--quantization", "int8-weights", "--role", "student"]
    assert run("hf", str(checkpoint("bert")), "--out", str(tmp_path / "b"), *limits) == 0
    manifest = read_manifest(tmp_path / "b")
    assert manifest.role == "student" and manifest.max_length == 128


def test_hf_with_labels_of_its_own(checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {f"LABEL_{column}": column for column in range(3)}
    folder = checkpoint("bert", id2label={column: name for name, column in names.items()}, label2id=names)
    loose = ["--overlap", "8", "--min-agreement", "0.2", "--out", str(tmp_path / "b")]
    with pytest.raises(ExportError, match="--labels O,B-PER,I-PER"):
        run("hf", str(folder), *loose)
    with pytest.raises(ExportError, match="2 labels are given, the model has 3"):
        run("hf", str(folder), *loose, "--labels", "O,PER")
    assert run("hf", str(folder), *loose, "--labels", "O, B_ort, I_ort", "--scheme", "iob1", "--pieces", "all") == 0
    manifest = read_manifest(tmp_path / "b")
    assert (manifest.labels, manifest.scheme, manifest.pieces) == (("O", "B-ort", "I-ort"), "iob1", "all")
    assert "note:" not in capsys.readouterr().out, "the scheme was given"


@pytest.mark.parametrize("inside", [True, False])
def test_labels_that_may_be_iob1(
    inside: bool, checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "c"
    model = BertForTokenClassification.from_pretrained(checkpoint("bert"))
    with torch.no_grad():
        model.classifier.bias[[LABELS.index(tag) for tag in LABELS if tag[0] == ("I" if inside else "B")]] += 1e3
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint("bert")).save_pretrained(folder)
    assert run("hf", str(folder), "--overlap", "8", "--min-agreement", "0.2", "--out", str(tmp_path / "b")) == 0
    found = re.search(r"note: the model begins (\d+) of (\d+) entities with I-", capsys.readouterr().out)
    assert (found is not None and found[1] == found[2] != "0") if inside else found is None


def test_methods_offered_are_those_there_are() -> None:
    assert commands._METHODS == quantize.METHODS


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["student", "--help"], ["hf", "--help"], ["update", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        assert stopped.value.code == 0
        assert len(capsys.readouterr().out) > 300


def test_card_without_metrics() -> None:
    manifest = Manifest(
        format_version=1,
        name="n",
        role="student",
        architecture="bilstm",
        parameters=3,
        labels=LABELS,
        tokenizer=TokenizerFacts(pad_id=0),
        max_length=32,
        overlap=4,
        languages=(),
        licence="MIT",
        quantization=Quantization(method="fp32"),
        created="2026-01-01",
        files={},
    )
    text = card(manifest)
    assert "Not measured yet" in text and "PER, ORG, LOC" in text and "not stated" in text
    wikiann, gold = {"per_language": {"de": 81.0, "en": 72.0}}, {"per_language": {"nchlt/af": 60.0}, "macro_f1": 60.0}
    metrics = {"raw": wikiann, "raw, unseen": wikiann, "gold, raw": gold}
    text = card(manifest.model_copy(update={"metrics": metrics}))
    assert "| language | raw | raw, unseen |" in text and "| de | 81.0 | 81.0 |" in text
    assert "| source/language | gold, raw |" in text and "| nchlt/af | 60.0 |" in text and "–" not in text


@pytest.mark.parametrize("value", [0.01, float("nan")])
def test_parity_limit(value: float) -> None:
    parity = Parity(pieces=1, max_difference=value, agreement=1, batch_difference=0)
    with pytest.raises(ExportError, match="the fp32 export differs"):
        require_parity(parity, "the fp32 export", max_difference=1e-3)
