from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill.sentences.splits import (
    STS_LANGUAGES,
    folded,
    part_of,
    read_sts,
    read_tatoeba,
    reserved,
    similarity_root,
    tatoeba_languages,
)
from tests.similarity import sentence, write_similarity, write_sts, write_tatoeba


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ONOMA_DATA", str(tmp_path))
    reserved.cache_clear()
    yield tmp_path
    reserved.cache_clear()


def test_parts_are_the_same_everywhere() -> None:
    # Written down once: a machine that splits otherwise would train on what another one is judged on.
    assert [part_of(f"Sentence number {at}.") for at in range(12)] == [
        "test", "dev", "dev", "train", "train", "train", "dev", "train", "train", "train", "train", "dev",
    ]  # fmt: skip


def test_parts_have_their_shares() -> None:
    counts = Counter(part_of(f"This is sentence {at}.") for at in range(20_000))
    assert abs(counts["dev"] / 20_000 - 0.1) < 0.01
    assert abs(counts["test"] / 20_000 - 0.2) < 0.01


@pytest.mark.parametrize("other", ["hello  World ", "HELLO WORLD", "hello\tworld", "hello\u00a0world", "ｈello world"])
def test_spellings_of_one_sentence_lie_in_one_part(other: str) -> None:
    assert folded(other) == folded("Hello world") == "hello world"
    assert part_of(other) == part_of("Hello world")


def test_sts_rows_may_hold_commas_quotes_and_line_breaks(root: Path) -> None:
    write_sts(root, {"en": [('He said, "no".', "Two\nlines", 3.25)]}, "dev")
    assert read_sts("en", "dev") == [('He said, "no".', "Two\nlines", 3.25)]


@pytest.mark.parametrize(
    ("content", "message"),
    [("a,b\n", "row 1: expected sentence1,sentence2,score, got 2"), ("a,b,5.5\n", "row 1: a score must be in 0..5")],
)
def test_what_is_wrong_in_sts_is_named(root: Path, content: str, message: str) -> None:
    write_sts(root, {"en": []}, "dev")
    path = root / "similarity" / "stsb_multi_mt" / "stsb-en-dev.csv.xz"
    path.write_bytes(lzma.compress(content.encode()))
    with pytest.raises(ValueError, match=message):
        read_sts("en", "dev")


def test_tatoeba_parts_cover_all_lines_and_share_none(root: Path) -> None:
    write_similarity(root)
    assert tatoeba_languages() == ["de", "eo", "fr"]
    parts = [read_tatoeba("de", part) for part in ("train", "dev", "test")]
    assert sum(map(len, parts)) == 80 and min(map(len, parts)) > 0
    assert len({line.english for part in parts for line in part}) == 80
    # A sentence lies in the same part in every language.
    assert [line.english for line in parts[2]] == [line.english for line in read_tatoeba("fr", "test")]


def test_a_line_without_its_english_is_named(root: Path) -> None:
    write_tatoeba(root, "de", [("Gut.", "Good.\tFine.")])
    with pytest.raises(ValueError, match="line 1: expected sentence<TAB>English"):
        read_tatoeba("de", "train")


def test_reserved_holds_sts_and_what_tatoeba_is_judged_on(root: Path) -> None:
    write_similarity(root)
    found = reserved()
    for language in STS_LANGUAGES:
        assert folded(read_sts(language, "train")[0].first) in found
    for part in ("dev", "test"):
        for line in read_tatoeba("eo", part):
            assert folded(line.sentence) in found and folded(line.english) in found
    sts = {folded(text) for pair in read_sts("en", "test") for text in (pair.first, pair.second)}
    free = [line for line in read_tatoeba("eo", "train") if folded(line.english) not in sts]
    assert free and not any(folded(line.sentence) in found for line in free)
    assert folded(sentence("eo", 0, 0).upper()) == folded(sentence("eo", 0, 0))


def test_missing_data_is_named(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no similarity data at .*set ONOMA_DATA"):
        similarity_root()
