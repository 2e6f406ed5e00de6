"""The comparison of decoders, in its smallest form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import decoders
from onoma import Tagger
from onoma.bundle import read_manifest
from tests.onoma.bundles import transitions, write_bundle


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "SENTENCES", ("Angela in Köln.", "the Köln"))
    monkeypatch.setattr(decoders, "BATCHES", (1, 3))


def test_a_twin_has_the_other_decoder(tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "softmax")
    made = decoders.twin(tmp_path / "softmax", tmp_path / "crf")
    assert made == read_manifest(tmp_path / "crf") and made.decoder == "crf" and made.files == first.files
    assert Tagger.load(tmp_path / "crf").transitions == made.crf
    assert decoders.twin(tmp_path / "crf", tmp_path / "back").decoder == "softmax"
    assert read_manifest(tmp_path / "back").crf is None


def test_every_sentence_is_tagged_in_every_shape() -> None:
    heard: list[tuple[str, int]] = []

    class Listening:
        def tag(self, text: str) -> None:
            heard.append((text, 1))

        def tag_batch(self, texts: list[str]) -> None:
            heard.append((texts[-1], len(texts)))

    taken = decoders.measure([Listening(), Listening()], rounds=2, repeats=1)  # type: ignore[list-item]
    assert {batch: [len(own) for own in figures] for batch, figures in taken.items()} == {1: [2, 2], 3: [2, 2]}
    rounds = 1 + 2  # one warms up
    assert {entry: heard.count(entry) for entry in heard} == {
        ("Angela in Köln.", 1): 2 * rounds,
        ("the Köln", 1): 2 * rounds,
        ("Angela in Köln.", 3): 2 * rounds,
    }


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "a")
    write_bundle(tmp_path / "b", name="other", decoder="crf", crf=transitions())
    files = ["--json", str(tmp_path / "out" / "all.json"), "--markdown", str(tmp_path / "out" / "report.md")]
    assert decoders.main([str(tmp_path / "a"), str(tmp_path / "b"), "--rounds", "2", *files]) == 0
    text = capsys.readouterr().out
    assert text == (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    results = json.loads((tmp_path / "out" / "all.json").read_text(encoding="utf-8"))
    assert results["bundles"] == ["tiny: table, softmax", "other: table, crf"]
    for name, shape in results["shapes"].items():
        first, second = (figures["rounds"] for figures in shape["milliseconds"])
        ratios = sorted(late / early for early, late in zip(first, second, strict=True))
        assert shape["ratio"]["median"] == pytest.approx(sum(ratios) / 2)
        assert f"| {name} | " in text
    assert results["machine"]["processor"] in text and results["machine"]["date"] in text


def test_one_bundle_is_compared_with_its_twin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "a", decoder="crf", crf=transitions())
    assert decoders.main([str(tmp_path / "a"), "--rounds", "1"]) == 0
    text = capsys.readouterr().out
    assert "- A: tiny as softmax: table, softmax" in text and "- B: tiny: table, crf" in text


def test_a_missing_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert decoders.main([str(tmp_path / "nothing")]) == 1
    assert "no bundle at" in capsys.readouterr().err
