from __future__ import annotations

import pytest
from families import texts
from hypothesis import given
from hypothesis import strategies as st

from onoma.text import convert_offsets, detokenise, is_unspaced, join_tokens, lone_surrogate_at

tokens = st.lists(
    st.one_of(
        st.sampled_from(["Angela", "Köln", "東", "京", "ไ", ",", ".", "(", ")", '"', "''", "'s", "#", "", "l'", "¿"]),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=6),
    ),
    max_size=15,
)


@given(tokens)
def test_join_keeps_every_token_at_its_span(words: list[str]) -> None:
    text, spans = join_tokens(words)
    assert [text[start:end] for start, end in spans] == words
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert len(text) - sum(len(word) for word in words) <= max(0, len(words) - 1)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["Angela", "Merkel"], "Angela Merkel"),
        (["東", "京", "都"], "東京都"),
        (["東", "京", "i", "P"], "東京iP"),
        (["東京", "大学", "IBM"], "東京大学 IBM"),
        (["a"], "a"),
        ([], ""),
        (["", "a", "", "b"], "a b"),
    ],
)
def test_join(words: list[str], text: str) -> None:
    assert join_tokens(words)[0] == text


@given(tokens, st.sampled_from(["en", "de", "fr", "ja", "zh", "th", "ar"]))
def test_detokenise_keeps_every_token_at_its_span(words: list[str], language: str) -> None:
    text, spans = detokenise(words, language)
    assert len(spans) == len(words)
    for word, (start, end) in zip(words, spans, strict=True):
        assert text[start:end] in ((word, "") if word == "#" else (word,))
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize(
    ("words", "language", "text"),
    [
        (["He", "lives", "in", "Berlin", "(", "Mitte", ")", "."], "en", "He lives in Berlin (Mitte)."),
        (["Peter", "'s", "dog", "did", "n't", "bark"], "en", "Peter's dog didn't bark"),
        (["l'", "amour", ",", "toujours"], "fr", "l'amour, toujours"),
        (['"', "Yes", '"', "she", "said"], "en", '"Yes" she said'),
        (["東", "京", "#", "都"], "ja", "東京 都"),
        (["राम", "।"], "hi", "राम।"),
    ],
)
def test_detokenise(words: list[str], language: str, text: str) -> None:
    assert detokenise(words, language)[0] == text


@given(texts, st.data())
def test_offsets_convert_as_prefixes_encode(text: str, data: st.DataObject) -> None:
    offsets = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    assert convert_offsets(text, offsets, "codepoint") == offsets
    assert convert_offsets(text, offsets, "utf8") == [len(text[:at].encode()) for at in offsets]
    assert convert_offsets(text, offsets, "utf16") == [len(text[:at].encode("utf-16-le")) // 2 for at in offsets]


def test_offsets_beyond_the_basic_plane() -> None:
    assert convert_offsets("a😀é", [3, 0, 2, 1], "utf16") == [4, 0, 3, 1]
    assert convert_offsets("a😀é", [3, 0, 2, 1], "utf8") == [7, 0, 5, 1]


def test_unspaced_scripts() -> None:
    assert all(map(is_unspaced, "東あアไລខမབ。Ａ𠀀"))
    assert not any(map(is_unspaced, "aéहс한ع."))


def test_lone_surrogate() -> None:
    assert lone_surrogate_at("ab\ud800") == 2
    assert lone_surrogate_at("a😀") is None
