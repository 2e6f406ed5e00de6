"""The whole chain through the command line, on the small data folder: tokenizer, teacher, student, bundle, scores."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer
from toydata import write_recipe
from transformers import AutoModelForTokenClassification

import distill.commands
import distill.data_commands
import distill.measuring_commands
import distill.pipeline
from distill.corpora import read_split
from distill.evaluation import evaluate
from distill.gazetteer import read_gazetteer
from distill.students import load_student
from distill.studies import RESULTS
from distill.torch_model import torch_tagger
from export.bundle import export_student, export_teacher, update_manifest
from export.restore import restore
from onoma import cli
from onoma.bundle import Calibration, read_manifest, sha256
from onoma.cli import Command
from onoma.tagger import Tagger

LANGUAGES = ("de", "en", "ru")
BRIEFLY = {"schedule": {"logits": 500, "labels": 500}}
SCALE = ["--batch-tokens", "512", "--device", "cpu", "--evaluate-every", "20000", "--text-limit", "100"]


def onoma(command: Command, *arguments: object) -> int:
    """As `onoma COMMAND ...`, without installed entry points."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def teach(tokenizer: Path, out: Path, *more: object) -> None:
    shape = ["--layers", 1, "--hidden", 32, "--heads", 2, "--intermediate", 48, "--learning-rate", 8e-3]
    where = ["--tokenizer", tokenizer, "--out", out, "--cache", tokenizer.parent / "cache"]
    assert onoma(distill.commands.train_teacher, *where, *SCALE, *shape, "--vector-epochs", 1, *more) == 0


def study(tokenizer: Path, teacher: Path, out: Path, changes: dict[str, dict[str, Any]] | None = None) -> None:
    """A student of D4.1 without a stage of representations; `out` gets its files."""
    content: dict[str, Any] = {
        "name": "study",
        "tokenizer": str(tokenizer),
        "labels": {"gold": 100, "massive": 100},
        "transfer": {"text": 100},
        "teacher": {"path": str(teacher)},
        "student": {"embedding": 16, "hidden": 16, "projection": "none"},
        "schedule": {"strategy": "D4.1", "representation": 0, "logits": 40_000, "labels": 15_000, "batch": 512}
        | {"rate": 2e-2, "label_rate": 1e-2, "checks": 2, "keep": "average"},
        "evaluation": {"languages": list(LANGUAGES), "dev": 20, "test": 20},
    }
    for table, values in (changes or {}).items():
        content[table] = content.get(table, {}) | values
    root = tokenizer.parent
    where = ["--out", root / "study", "--store", root / "store", "--cache", root / "cache", "--device", "cpu"]
    recipe = write_recipe(root / "study.toml", content)
    assert onoma(distill.commands.distill, "run", recipe, *where) == 0
    results = json.loads((root / "study" / RESULTS).read_text(encoding="utf-8"))
    shutil.copytree(root / "store" / results["runs"][0]["student"], out)


@pytest.fixture(scope="module")
def runs(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with tokenizer.json, teacher/ and student/, all made by commands."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONOMA_DATA", str(toy_root))
        read_split.cache_clear()
        tokenizer = root / "tokenizer.json"
        small = ["--vocabulary", 400, "--bytes", 20_000, "--other-bytes", 1_000]
        assert onoma(distill.data_commands.train_tokenizer, "--out", tokenizer, *small) == 0
        teach(tokenizer, root / "teacher", "--tokens", 60_000, "--pretrain-tokens", 4_000)
        study(tokenizer, root / "teacher", root / "student")
        yield root
    read_split.cache_clear()


def dev(tagger: Tagger, *, raw: bool = True) -> float:
    result = evaluate(tagger, source="wikiann", languages=LANGUAGES, split="dev", raw=raw)
    return float(result["all"]["macro_f1"])


def record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "training.json").read_text(encoding="utf-8")))


def test_teacher_and_student_learn(runs: Path) -> None:
    tokenizer = Tokenizer.from_file(str(runs / "tokenizer.json"))
    teacher = AutoModelForTokenClassification.from_pretrained(str(runs / "teacher")).eval()
    student = load_student(runs / "student")
    assert dev(torch_tagger(teacher, tokenizer)) > 50
    for raw in (True, False):
        assert dev(torch_tagger(student, tokenizer), raw=raw) > 50
    assert (runs / "student/tokenizer.json").read_bytes() == (runs / "tokenizer.json").read_bytes()


def test_what_was_done_is_on_record(runs: Path) -> None:
    teacher, student = record(runs / "teacher"), record(runs / "student")
    assert teacher["architecture"] == "roformer 1x32"
    assert (teacher["schedule"]["tokens"], teacher["pretraining"]["tokens"]) == (60_000, 4_000)
    assert teacher["piece_vector_epochs"] == 1 and teacher["mixture"]["text"] == 100
    assert student["recipe"]["student"]["hidden"] == 16 and student["seed"] == 1
    logits, labels = student["steps"]
    assert (logits["stage"], labels["stage"]) == ("logits", "labels") and 0 < logits["f1"] and 50 < labels["f1"]
    assert student["tokenizer"] == teacher["tokenizer"] and student["data"] == teacher["data"]
    for run in ("teacher/pretraining", "teacher/finetuning"):
        assert (runs / run / "checkpoint.pt").is_file(), run
    scores = [json.loads(line) for line in (runs / "teacher/finetuning/log.jsonl").read_text("utf-8").splitlines()]
    assert [line["dev"]["macro_f1"] > 0 for line in scores if "dev" in line]


def test_the_student_becomes_a_bundle_that_answers_alike(runs: Path, tmp_path: Path) -> None:
    export_student(runs / "student", tmp_path / "bundle", quantization="fp32")
    tagger = Tagger.load(tmp_path / "bundle", threads=1)
    original = torch_tagger(load_student(runs / "student"), Tokenizer.from_file(str(runs / "tokenizer.json")))
    assert dev(tagger) == pytest.approx(dev(original), abs=0.5)
    small = export_student(runs / "student", tmp_path / "small", min_agreement=0.5)
    assert small.quantization.method == "int8-weights"
    assert dev(Tagger.load(tmp_path / "small", threads=1)) > 50


def test_the_teacher_becomes_a_bundle(runs: Path, tmp_path: Path) -> None:
    export_teacher(runs / "teacher", tmp_path / "bundle", quantization="fp32")
    assert dev(Tagger.load(tmp_path / "bundle", threads=1)) > 50


def test_a_teacher_can_start_from_an_earlier_one(runs: Path, tmp_path: Path) -> None:
    tokenizer = runs / "tokenizer.json"
    teach(tokenizer, tmp_path / "teacher", "--tokens", 1_000, "--start", runs / "teacher", "--pretrain-tokens", 600)
    assert (tmp_path / "teacher/pretraining/checkpoint.pt").is_file()
    assert record(tmp_path / "teacher")["piece_vector_epochs"] == 0, "the start brings embeddings of its own"


def test_a_student_goes_on_with_a_smaller_vocabulary(runs: Path, tmp_path: Path) -> None:
    start = {"checkpoint": str(runs / "student"), "minimum_count": 3}
    study(runs / "tokenizer.json", runs / "teacher", tmp_path / "student", BRIEFLY | {"student": start})
    before, after = (load_student(folder).config for folder in (runs / "student", tmp_path / "student"))
    assert after.vocabulary < before.vocabulary and after == replace(before, vocabulary=after.vocabulary)
    tokenizer = Tokenizer.from_file(str(tmp_path / "student/tokenizer.json"))
    assert dev(torch_tagger(load_student(tmp_path / "student"), tokenizer)) > 50


def test_a_student_goes_on_with_labels_alone_and_a_gazetteer(runs: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.tsv"
    names.write_text("ORG\tSonnwerk\nLOC\tHalmar Bay\n", encoding="utf-8")
    changes = {
        "labels": {"mentions": 0.5, "gazetteer": str(names)},
        "student": {"checkpoint": str(runs / "student")},
        "schedule": {"strategy": "D0-S", "logits": 0, "labels": 1_000},
    }
    out = tmp_path / "student"
    study(runs / "tokenizer.json", runs / "teacher", out, changes)
    facts = record(out)
    assert facts["data"]["gazetteer"] == sha256(names) and facts["teacher"] is None
    names.write_text("ORG\tSonnwerk\nFIRM\tHalm\n", encoding="utf-8")
    with pytest.raises(ValueError, match="names.tsv line 2: want one of LOC, ORG, PER, a tab and a name, got 'FIRM"):
        study(runs / "tokenizer.json", runs / "teacher", tmp_path / "other", changes)


def test_the_list_of_companies(tmp_path: Path) -> None:
    out = tmp_path / "new" / "companies.tsv"
    assert onoma(distill.data_commands.gazetteer, "--out", out) == 0
    names = read_gazetteer(out)
    assert len(names) > 2_000 and {label for label, _ in names} == {"ORG"}
    assert {"Siemens", "Nokia", "Anglo American"} <= {name for _, name in names}
    assert len(set(names)) == len(names)


def test_a_recipe_ends_in_a_bundle_that_has_its_scores(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = cli.main
    # So small a student loses tags in int8.
    monkeypatch.setattr(cli, "main", lambda words: original([*words, "--min-agreement", "0.5"]))
    bundle = {"bundle": {"path": str(tmp_path / "bundle"), "name": "mine", "licence": "CC0-1.0"}}
    labels = {"labels": {"languages": ["de", "en"]}, "evaluation": {"languages": ["de"]}}
    study(runs / "tokenizer.json", runs / "teacher", tmp_path / "student", BRIEFLY | labels | bundle)
    (run,) = json.loads((runs / "study" / RESULTS).read_text(encoding="utf-8"))["runs"]
    manifest = read_manifest(tmp_path / "bundle")
    assert (manifest.name, manifest.licence, manifest.languages) == ("mine", "CC0-1.0", ("de", "en"))
    measured = manifest.metrics["WikiANN test, first 20 sentences"]
    scores = run["test"]["all"]
    assert (measured["per_language"], measured["macro_f1"]) == (scores["f1"], scores["macro_f1"])
    card = (tmp_path / "bundle/README.md").read_text(encoding="utf-8")
    assert "| language | WikiANN test, first 20 sentences |" in card and f"| de | {measured['macro_f1']:.1f} |" in card


def test_a_teacher_learns_from_a_student_that_came_back_from_a_bundle(runs: Path, tmp_path: Path) -> None:
    export_student(runs / "student", tmp_path / "bundle", min_agreement=0.5)
    restore(tmp_path / "bundle", tmp_path / "tutor")
    tutored = ("--tutor", tmp_path / "tutor", "--tutor-weight", 0.7, "--tokens", 1_000, "--start", runs / "teacher")
    teach(runs / "tokenizer.json", tmp_path / "teacher", *tutored)
    facts = record(tmp_path / "teacher")
    assert facts["tutor"] == sha256(tmp_path / "tutor/model.safetensors") and facts["tutor_weight"] == 0.7
    assert facts["start"] == sha256(runs / "teacher/model.safetensors")
    assert record(runs / "teacher")["tutor"] is record(runs / "teacher")["start"] is None


def test_a_teacher_is_not_trained_by_several_processes(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill.pipeline, "accelerator_for", lambda _: SimpleNamespace(num_processes=2))
    with pytest.raises(ValueError, match="trained by one process, got 2"):
        teach(runs / "tokenizer.json", tmp_path / "teacher", "--tokens", 1_000)
    assert not (tmp_path / "teacher").exists()


def test_a_teacher_with_other_labels_is_refused(runs: Path, tmp_path: Path) -> None:
    teacher = shutil.copytree(runs / "teacher", tmp_path / "teacher")
    config = json.loads((teacher / "config.json").read_text(encoding="utf-8"))
    config["id2label"]["1"] = "B-MISC"
    (teacher / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="labels differ: the teacher has .*B-MISC"):
        study(runs / "tokenizer.json", teacher, tmp_path / "student", BRIEFLY)


def test_a_teacher_with_another_vocabulary_teaches_too(runs: Path, tmp_path: Path) -> None:
    small = ["--vocabulary", 200, "--bytes", 20_000, "--other-bytes", 1_000]
    assert onoma(distill.data_commands.train_tokenizer, "--out", tmp_path / "tokenizer.json", *small) == 0
    study(tmp_path / "tokenizer.json", runs / "teacher", tmp_path / "student")
    tokenizer = Tokenizer.from_file(str(tmp_path / "student/tokenizer.json"))
    assert tokenizer.get_vocab_size() <= 200
    assert dev(torch_tagger(load_student(tmp_path / "student"), tokenizer)) > 50


@pytest.mark.parametrize(
    "command",
    [
        distill.data_commands.gazetteer,
        distill.data_commands.train_tokenizer,
        distill.commands.train_teacher,
        distill.commands.distill,
        distill.measuring_commands.evaluate,
        distill.measuring_commands.evaluate_long,
        distill.measuring_commands.calibrate,
    ],
    ids=lambda command: command.name,
)
def test_every_option_is_explained(command: Command) -> None:
    assert command.help and command.description
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    parser.format_help()
    assert [action.option_strings for action in parser._actions if not action.help] == []


def test_bundles_are_calibrated_evaluated_and_updated(
    runs: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student, teacher = tmp_path / "student", tmp_path / "teacher"
    export_student(runs / "student", student, min_agreement=0.5)
    export_teacher(str(runs / "teacher"), teacher, min_agreement=0.5)
    report, own = tmp_path / "report.json", tmp_path / "calibration.json"
    where = ["--teacher", teacher, "--json", report, "--calibration-json", own]
    languages = ["--languages", ",".join(LANGUAGES)]
    drawn = ["--plots", tmp_path / "plots", "--markdown", tmp_path / "docs/calibration.md"]
    assert onoma(distill.measuring_commands.calibrate, student, *where, *drawn, *languages, "--limit", 20) == 0
    page = (tmp_path / "docs/calibration.md").read_text(encoding="utf-8")
    for plot in re.findall(r"!\[.*\]\((.*)\)", page):
        assert (tmp_path / "docs" / plot).resolve().is_file()
    assert page.count("![") == 2
    content = json.loads(report.read_text(encoding="utf-8"))
    curve, both = content["curve"], [content["alone"][name]["milliseconds"] for name in ("student", "teacher")]
    assert curve[0]["milliseconds"] == both[0] <= curve[-1]["milliseconds"] <= sum(both) + 0.01
    measured = content["reliability"]["after"]["bins"]
    assert sum(one["count"] for one in measured) == content["sentences"]["measured"] > 0
    shares = [point["fallback_share"] for point in curve]
    assert shares[0] == 0.0 and shares == sorted(shares) and shares[-1] > 0.2, "a sure student keeps some to the end"
    calibration = Calibration.model_validate_json(own.read_text(encoding="utf-8"))
    assert calibration.confidence
    figures = tmp_path / "student.json"
    scored = [*languages, "--split", "dev", "--metrics", tmp_path, "--json", tmp_path / "all.json"]
    capsys.readouterr()
    table = tmp_path / "table.md"
    assert onoma(distill.measuring_commands.evaluate, student, teacher, *scored[:-4], "--markdown", table) == 0
    rows = [line.strip("| ").split(" | ") for line in table.read_text(encoding="utf-8").splitlines()]
    assert rows[0][:3] == ["language", "student raw text", "student raw text, unseen"] and len(rows[0]) == 1 + 2 * 4
    assert [row[0] for row in rows[2:]] == ["**macro mean**", "standard deviation", "worst", *LANGUAGES]
    assert float(rows[2][1]) == pytest.approx(dev(Tagger.load(student)), abs=0.01)
    capsys.readouterr()
    assert onoma(distill.measuring_commands.evaluate, student, *scored) == 0
    assert "macro mean" in capsys.readouterr().out
    metrics = json.loads(figures.read_text(encoding="utf-8"))
    assert set(metrics) == {"measured_on", "raw", "raw, unseen", "tokens", "tokens, unseen"}
    assert metrics["raw"]["macro_f1"] == pytest.approx(dev(Tagger.load(student)), abs=0.01)
    manifest = update_manifest(student, calibration=calibration, metrics=metrics)
    assert Tagger.load(student).calibration == manifest.calibration == calibration
    assert "| de |" in (student / "README.md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="needs bundles of different names, got .*/student, .*/student"):
        onoma(distill.measuring_commands.evaluate, student, student, "--metrics", figures)
    with pytest.raises(ValueError, match="no dev split in: xx"):
        onoma(distill.measuring_commands.evaluate, student, "--languages", "xx", "--split", "dev")
    gold = ["--source", "all", *languages, "--split", "train", "--form", "raw", "--limit", 5]
    assert onoma(distill.measuring_commands.evaluate, student, teacher, *gold, "--metrics", tmp_path / "gold") == 0
    metrics = json.loads((tmp_path / "gold/student.json").read_text(encoding="utf-8"))
    assert set(metrics) == {"measured_on", "raw", "raw, unseen", "gold, raw", "gold, raw, unseen"}
    assert set(metrics["gold, raw"]["per_language"]) == {"goldsource/en"}
    assert "macro mean, gold (1 rows)" in capsys.readouterr().out
    update_manifest(student, metrics=metrics)
    assert "| goldsource/en |" in (student / "README.md").read_text(encoding="utf-8")
