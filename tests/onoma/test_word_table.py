from __future__ import annotations

import lzma
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from distill.tokenizer import SPECIALS, build_word_pieces
from onoma.bundle import TokenizerFacts
from onoma.embedder import PieceEncoder
from onoma.errors import BundleError
from onoma.word_table import PackedWords, WordTable, pack_words, read_words

PIECES = [
    *SPECIALS, *("▁a", "▁b", "▁c", "##a", "##b", "##c", "##ab", "▁.", "▁<", "▁>", "▁pad", "▁男", "▁人", "▁cow", "##ä")
]  # fmt: skip
AT = {piece: at for at, piece in enumerate(PIECES)}
WORDS = {"abc": 18, "ab": 19, "cab": 18, "男人": 20, "一": 21}


def base() -> Tokenizer:
    return build_word_pieces(PIECES)


@pytest.fixture
def table() -> WordTable:
    return WordTable(base(), WORDS)


def pieces(*names: str) -> list[int]:
    return [AT[name] for name in names]


def test_words_are_found_whole_and_others_cut(table: WordTable) -> None:
    assert table.size == 22
    assert table.ids("abc, CAB. Cow") == [18, 1, 18, AT["▁."], AT["▁cow"]]  # no piece for a comma
    assert table.ids("abcc ab") == [*pieces("▁a", "##b", "##c", "##c"), 19]  # `abc` is no beginning of another word
    assert table.ids("  ") == table.ids("") == []


def test_the_longest_piece_comes_first_and_an_unknown_sign_is_alone(table: WordTable) -> None:
    assert table.ids("caba") == pieces("▁c", "##ab", "##a")
    assert table.ids("czb") == [AT["▁c"], 1, AT["##b"]]
    assert table.ids("zb") == [1, AT["##b"]]


def test_latin_letters_lose_their_accents_where_the_word_is_not_known() -> None:
    known = WordTable(base(), {"äb": 18, "cb": 19, "бй": 20})
    assert known.ids("äb") == known.ids("A\u0308B") == [18]
    assert known.ids("ab áb ćb̂") == [*pieces("▁a", "##b"), *pieces("▁a", "##b"), 19]
    assert known.ids("cä") == pieces("▁c", "##a")
    assert known.ids("бй") == [20] and known.ids("би") == [1, 1]  # these are two letters


STEMS = {"wasser*": 18, "flasche": 19, "flaschen*": 20, "glas": 21, "spiel": 22, "spiele*": 23, "bett": 24, "gläse": 25}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("wasser", [18]),
        ("wassers", [18]),
        ("wasserig", [18]),
        ("wässerigen", [18]),  # derived: up to six letters
        ("flasche", [19]),
        ("flaschen", [20]),
        ("glasflasche", [21, 19]),
        ("glasflaschens", [21, 20]),  # the last part may be a form
        ("gläseflasche", [25, 19]),
        ("spielsflasche", [22, 19]),
        ("glasspielbett", [21, 22, 24]),
        ("spielete", [23]),
        ("wasserflasche", [1] * 13),  # `wasser*` is no word, and seven letters no ending
        ("bettx", [1] * 5),
    ],
)
def test_forms_and_compounds(word: str, expected: list[int]) -> None:
    known = WordTable(build_word_pieces([*SPECIALS, "▁a"]), STEMS)
    assert known.ids(word) == expected


def test_a_word_without_end_takes_no_time_without_end() -> None:
    known = WordTable(base(), {"abab*": 18, "abababab": 19, "abab": 20, "ababa": 21})
    for word in ("ab" * 30 + "z", "ab" * 50_000):
        began = time.perf_counter()
        assert known.ids(word)
        assert time.perf_counter() - began < 5


def test_a_run_of_han_signs_is_cut_into_the_longest_words(table: WordTable) -> None:
    assert table.ids("一男人男") == [21, 20, AT["▁男"]]
    assert table.ids("人马a") == [AT["▁人"], 1, AT["▁a"]]  # a sign that nobody knows


def test_what_spells_a_special_token_is_text(table: WordTable) -> None:
    assert table.ids("<pad>") == pieces("▁<", "▁pad", "▁>")


SIGNS = st.one_of(st.sampled_from("abcABC .<>padー▁男人一马あア๐\u3000\u200d\u0301\0"), st.characters(codec="utf-8"))


@given(st.text(alphabet=SIGNS))
@settings(max_examples=300, deadline=None)
def test_every_text_has_ids(text: str) -> None:
    found = WordTable(base(), WORDS).ids(text)
    assert all(0 <= one < 22 for one in found)
    assert bool(found) == bool(base().encode(text).ids)


@given(st.lists(st.text(alphabet="abcABC", min_size=1, max_size=50)))
def test_without_words_it_is_the_tokenizer(words: list[str]) -> None:
    assert WordTable(base(), {}).ids(" ".join(words)) == base().encode(" ".join(words)).ids


def test_it_is_written_and_read(table: WordTable, tmp_path: Path) -> None:
    table.save(tmp_path / "words.xz")
    assert read_words(tmp_path / "words.xz") == WORDS
    assert [file.name for file in tmp_path.iterdir()] == ["words.xz"]
    lines = lzma.decompress((tmp_path / "words.xz").read_bytes()).decode().split("\n")
    assert lines[18:20] == ["abc cab", "ab"]
    (tmp_path / "words.xz").write_bytes(b"no archive")
    with pytest.raises(BundleError, match=r"words\.xz is no table of words"):
        read_words(tmp_path / "words.xz")


def test_packed_words_are_looked_up_alike(table: WordTable, tmp_path: Path) -> None:
    table.save(tmp_path / "words.xz")
    packed = WordTable(base(), pack_words(tmp_path / "words.xz"))
    assert packed.size == table.size and len(packed.words) == len(WORDS)
    for text in ("abc, CAB. Cow", "一男人男", "abcc ab áb", ""):
        assert packed.ids(text) == table.ids(text)
    with pytest.raises(TypeError, match="packed words cannot be written"):
        packed.save(tmp_path / "again.xz")
    assert WordTable(base(), PackedWords([])).ids("ab") == pieces("▁a", "##b")


@given(st.dictionaries(st.text(), st.integers(0, 2**31 - 1)))
def test_packed_words_have_all_rows_and_no_others(words: dict[str, int]) -> None:
    packed = PackedWords(words.items())
    assert {word: packed.get(word) for word in words} == words and packed.get("no such word") is None
    assert sorted(packed.values()) == sorted(words.values())


def test_windows_of_words(table: WordTable) -> None:
    encoder = PieceEncoder(table, facts=TokenizerFacts(pad_id=0), limit=4, overlap=1)
    short, long, nothing = encoder.encode([" abc ab ", "ab " * 9, "\n"])
    np.testing.assert_array_equal(short.ids, [18, 19])
    assert [list(ids) for ids in short.inputs] == [[18, 19]]
    assert len(long.ids) == 9 and max(map(len, long.inputs)) <= 4
    assert len(nothing.ids) == 0 and nothing.inputs == []
