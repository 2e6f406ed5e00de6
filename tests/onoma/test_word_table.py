from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from distill.tokenizer import SPECIALS, build_tokenizer
from onoma.bundle import TokenizerFacts
from onoma.embedder import PieceEncoder
from onoma.errors import BundleError
from onoma.word_table import WordTable, is_han, read_words

PIECES = [*SPECIALS, "▁", "a", "b", "c", "▁a", "▁.", "▁<", "▁>", "▁pad", "▁男", "▁人", "▁一"]
WORDS = {"abc": 15, "ab": 16, "cab": 15, "男人": 17, "一": 18}


def base() -> Tokenizer:
    scores = [(piece, 0.0 if piece in SPECIALS else -4.0 - 0.1 * at) for at, piece in enumerate(PIECES)]
    return build_tokenizer(scores, lowercase=True, fold_digits=False, han_runs=True)


@pytest.fixture
def table() -> WordTable:
    return WordTable(base(), WORDS)


def test_words_are_found_whole_and_others_cut(table: WordTable) -> None:
    assert table.size == 19
    assert table.ids("abc, CAB.") == [15, 3, 1, 15, 8]  # no piece for a comma
    assert table.ids("abcc ab") == [7, 5, 6, 6, 16]  # `abc` is no beginning of another word
    assert table.ids("  ") == table.ids("") == []


def test_a_run_of_han_signs_is_cut_into_the_longest_words(table: WordTable) -> None:
    assert table.ids("一男人男") == [18, 17, 12]
    assert table.ids("人马a") == [13, 1, 7]  # a sign that nobody knows


def test_what_spells_a_special_token_is_text(table: WordTable) -> None:
    assert table.ids("<pad>") == [9, 11, 10]


SIGNS = st.one_of(st.sampled_from("abcABC .<>padー▁男人一马あア๐\u3000\u200d\u0301\0"), st.characters(codec="utf-8"))


@given(st.text(alphabet=SIGNS))
@settings(max_examples=300, deadline=None)
def test_without_words_it_is_the_tokenizer(text: str) -> None:
    tokenizer = base()
    tokenizer.encode_special_tokens = True
    found = WordTable(tokenizer, {}).ids(text)
    if not any(map(is_han, text)):  # signs of Han are looked up one by one
        assert found == tokenizer.encode(text, add_special_tokens=False).ids
    assert all(0 <= one < len(PIECES) for one in found)


def test_it_is_written_and_read(table: WordTable, tmp_path: Path) -> None:
    table.save(tmp_path / "words.xz")
    assert read_words(tmp_path / "words.xz") == WORDS
    assert [file.name for file in tmp_path.iterdir()] == ["words.xz"]
    lines = lzma.decompress((tmp_path / "words.xz").read_bytes()).decode().split("\n")
    assert lines[15:17] == ["abc cab", "ab"]
    (tmp_path / "words.xz").write_bytes(b"no archive")
    with pytest.raises(BundleError, match=r"words\.xz is no table of words"):
        read_words(tmp_path / "words.xz")


def test_windows_of_words(table: WordTable) -> None:
    encoder = PieceEncoder(table, facts=TokenizerFacts(pad_id=0), limit=4, overlap=1)
    short, long, nothing = encoder.encode([" abc ab ", "ab " * 9, "\n"])
    np.testing.assert_array_equal(short.ids, [15, 16])
    assert [list(ids) for ids in short.inputs] == [[15, 16]]
    assert len(long.ids) == 9 and max(map(len, long.inputs)) <= 4
    assert len(nothing.ids) == 0 and nothing.inputs == []
