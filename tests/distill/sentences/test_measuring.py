from __future__ import annotations

import argparse
import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from distill.sentences import measuring
from distill.sentences.commands import evaluate_encoder
from distill.sentences.measuring import latencies, load, measure, metrics_of, tatoeba_figures
from tests.encoders import TEXTS, save_encoder, save_sentence_transformer
from tests.similarity import bag, write_similarity


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONOMA_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(measuring, "_ROUNDS", 1)
    write_similarity(tmp_path / "data")
    return tmp_path / "data"


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(
        description=evaluate_encoder.description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    evaluate_encoder.add_arguments(parser)
    return evaluate_encoder.run(parser.parse_args(arguments))


def test_two_encoders_side_by_side(tmp_path: Path) -> None:
    own = save_encoder(tmp_path / "own", "bottleneck")
    other = save_sentence_transformer(tmp_path / "bert")
    output = StringIO()
    results = measure(
        [own, other], split="test", languages=("en", "de"), threads=1, console=Console(file=output, width=120)
    )
    first, second = results["encoders"][str(own)], results["encoders"][str(other)]
    assert first["dimensions"] == 48 and second["dimensions"] == 32
    assert first["bytes"] == sum(file.stat().st_size for file in own.iterdir())
    assert set(first["sts"]["per_language"]) == {"en", "de"}
    assert set(second["tatoeba"]["per_language"]) == {"de", "eo", "fr"}
    assert first["latency_ms"]["alone"] > 0 and first["latency_ms"]["batch"] > 0
    table = output.getvalue()
    for expected in ("own", "bert", "with English, mean", "Tatoeba, 3 languages", f"{first['parameters']:,}"):
        assert expected in table
    metrics = metrics_of(results, own)
    assert metrics["sts"]["per_language"] == first["sts"]["per_language"]
    assert "pairs" not in metrics["sts"]["across_languages"]  # 110 of them would drown the manifest
    assert metrics["tatoeba"]["per_language"]["eo"] == first["tatoeba"]["per_language"]["eo"]["accuracy"]


def test_tatoeba_over_the_languages_trained_on() -> None:
    figures = tatoeba_figures(bag, part="test", languages=(), trained=("de", "fr", "xx"), limit=None)
    accuracies = {name: one["accuracy"] for name, one in figures["per_language"].items()}
    assert figures["trained"]["languages"] == 2
    assert figures["trained"]["mean"] == pytest.approx((accuracies["de"] + accuracies["fr"]) / 2, abs=0.006)
    assert "trained" not in tatoeba_figures(bag, part="test", languages=("eo",), trained=("de",), limit=4)


def test_latency_needs_texts(tmp_path: Path) -> None:
    embedder = load(save_encoder(tmp_path / "own", "flat")).embedder
    with pytest.raises(ValueError, match="at least 32 texts, got 4"):
        latencies({"own": embedder}, TEXTS)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = save_encoder(tmp_path / "own", "whole")
    figures, metrics = tmp_path / "figures.json", tmp_path / "metrics"
    written = ["--json", str(figures), "--metrics", str(metrics)]
    assert run(str(own), "--split", "dev", "--languages", "en,zh", "--tatoeba", "fr", "--limit", "32", *written) == 0
    assert "evenly spread" in capsys.readouterr().out
    content = json.loads(figures.read_text(encoding="utf-8"))
    assert content["split"] == "dev" and content["encoders"][str(own)]["sts"]["rows"] == 32
    assert "32 rows" in json.loads((metrics / "own.json").read_text(encoding="utf-8"))["measured_on"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--languages", "en,sw"], "STS-B has de, en, .*, not sw"),
        (["--limit", "1"], "--limit must be at least 2, got 1"),
        (["elsewhere/own", "--metrics", "m"], "--metrics needs folders of different names"),
    ],
)
def test_wrong_options_are_refused(options: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        run(str(tmp_path / "own"), *options)
