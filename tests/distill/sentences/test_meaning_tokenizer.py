"""The tokenizer's options for meaning: lower case, digits as they are, whole words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distill.tokenizer import SPECIALS, build_tokenizer, split_words, train_tokenizer
from distill.vectors import piece_vectors
from onoma.cli import main
from tests.distill.sentences.test_sentence_stages import packed

LINES = ["The windmill of 1805 stands in Brenholm", "a windmill, a mill and a wind of 2014", "Mills and winds"] * 6


def test_nothing_changes_where_nothing_is_asked_for() -> None:
    state = json.loads(build_tokenizer([(name, 0.0) for name in SPECIALS]).to_str())
    kinds = [one["type"] for one in state["normalizer"]["normalizers"]]
    assert kinds == ["NFKC", "Replace"] and state["normalizer"]["normalizers"][1]["content"] == "0"
    assert list(split_words(["Ab 12"])) == [["Ab", "00"]]


def test_capitals_tell_nothing_and_digits_do() -> None:
    assert list(split_words(["ÀB 1２ Ⅷ"], lowercase=True, fold_digits=False)) == [["àb", "12", "viii"]]
    tokenizer = train_tokenizer(LINES, vocabulary=80, progress=False, lowercase=True, fold_digits=False)
    assert tokenizer.encode("THE WINDMILL").ids == tokenizer.encode("the windmill").ids
    assert tokenizer.encode("1805").ids != tokenizer.encode("2014").ids
    folded = train_tokenizer(LINES, vocabulary=80, progress=False)
    assert folded.encode("1805").ids == folded.encode("2014").ids


def test_frequent_words_become_one_piece() -> None:
    few = {"vocabulary": 60, "progress": False, "lowercase": True, "fold_digits": False}
    plain = train_tokenizer(LINES, **few)  # type: ignore[arg-type]
    tokenizer = train_tokenizer(LINES, whole_words=12, **few)  # type: ignore[arg-type]
    assert tokenizer.get_vocab_size() <= 60
    assert len(tokenizer.encode("windmill").ids) == 1 and tokenizer.encode("windmill").tokens == ["▁windmill"]
    assert len(tokenizer.encode(LINES[0]).ids) <= len(plain.encode(LINES[0]).ids)
    scores = dict(json.loads(tokenizer.to_str())["model"]["vocab"])
    assert scores["▁windmill"] < 0


def test_the_command_makes_one(similarity: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train-tokenizer", "--sentence-encoder", "--vocabulary", "120", "--whole-words", "20"]
    assert main([*words, "--bytes", "3000", "--other-bytes", "3000", "--out", str(tmp_path / "out/t.json")]) == 0
    assert "t.json: " in capsys.readouterr().out
    state = json.loads((tmp_path / "out/t.json").read_text(encoding="utf-8"))
    assert [one["type"] for one in state["normalizer"]["normalizers"]] == ["NFKC", "Lowercase"]
    assert "▁the" in dict(state["model"]["vocab"])


def test_skip_gram_vectors_are_others_and_kept_apart(tmp_path: Path) -> None:
    data = packed([[3, 4, 5, 6] * 4, [7, 8, 9, 10] * 4] * 40)
    shape = {"vocabulary": 12, "width": 6, "epochs": 3, "cache": tmp_path, "threads": 1}
    plain = piece_vectors(data, **shape)  # type: ignore[arg-type]
    skip = piece_vectors(data, skip_gram=True, window=2, **shape)  # type: ignore[arg-type]
    assert len(list(tmp_path.iterdir())) == 2 and np.abs(plain - skip).max() > 1e-3
    assert skip.shape == (12, 6) and not skip[[0, 1, 2, 11]].any()
