"""Words that are remembered: for which tokenizers, for how long, and which never."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from families import FAMILIES
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

import onoma.word_cache
from onoma.word_cache import WordCache, keeps_words_apart

REAL = Path(__file__).resolve().parents[2] / "models" / "student" / "tokenizer.json"


class Learner:
    """One piece for each character; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, words: Sequence[str]) -> list[NDArray[np.int64]]:
        self.asked += words
        return [
            np.array([[ord(char) for char in word], range(len(word)), range(1, len(word) + 1), [0] * len(word)])
            for word in words
        ]


def look_up(cache: WordCache, *texts: str) -> tuple[list[tuple[int, ...]], list[int], list[int]]:
    pieces, edges, left = cache.look_up(texts, [(number, 0, len(text)) for number, text in enumerate(texts)])
    return [tuple(piece) for piece in pieces[:3].T.tolist()], edges, left


def test_offsets_are_those_of_the_text() -> None:
    learner = Learner()
    cache = WordCache(learner)
    found, edges, left = look_up(cache, "  ab b  ", "b")
    assert found == [(97, 2, 3), (98, 3, 4), (98, 5, 6), (98, 0, 1)]
    assert (edges, left) == ([0, 3, 4], [])
    assert look_up(cache, "b ab") == ([(98, 0, 1), (97, 2, 3), (98, 3, 4)], [0, 3], [])
    assert learner.asked == ["ab", "b"]  # each once
    assert cache.look_up([], [])[0].shape == (4, 0)


def test_a_sentence_of_a_text_has_the_offsets_of_the_text() -> None:
    pieces, edges, _ = WordCache(Learner()).look_up(["x. y z"], [(0, 0, 2), (0, 3, 6)])
    assert pieces[1].tolist() == [0, 1, 3, 5]
    assert edges == [0, 2, 4]


@pytest.mark.parametrize("word", ["\u0301a", "\u200da", "a\u200bb", "\x01", "\u200b", "a" * 33])
def test_words_that_need_care_leave_their_sentence_out(word: str) -> None:
    learner = Learner()
    cache = WordCache(learner)
    for _ in range(2):
        found, edges, left = look_up(cache, "a b", f"c {word} a", "b c")
        assert [piece[0] for piece in found] == [97, 98, 98, 99]
        assert (edges, left) == ([0, 2, 2, 4], [1])
    assert word not in learner.asked


def test_what_does_not_come_back_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onoma.word_cache, "_GENERATION", 10)
    learner = Learner()
    cache = WordCache(learner)
    for number in range(100):
        look_up(cache, f"often {number}")
    assert learner.asked.count("often") == 1
    look_up(cache, "0 99")
    assert learner.asked.count("0") == 2
    assert learner.asked.count("99") == 1


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_words_are_kept_apart_where_they_have_the_pieces_they_have_alone(name: str) -> None:
    tokenizer = FAMILIES[name]()
    if keeps_words_apart(tokenizer):
        words = ["Angela", "Köln", "東京", "a-b", "2005", "ΟΔΟΣ", "ﬁn"]
        alone = [piece for word in words for piece in tokenizer.encode(word, add_special_tokens=False).ids]
        assert tokenizer.encode("  ".join(words), add_special_tokens=False).ids == alone


def test_ours_and_berts_keep_words_apart() -> None:
    assert keeps_words_apart(Tokenizer.from_file(str(REAL)))
    bert = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    bert.normalizer, bert.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    assert keeps_words_apart(bert)


def _changed(**parts: object) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


@pytest.mark.parametrize(
    "tokenizer",
    [
        _changed(pre_tokenizer=None),
        _changed(pre_tokenizer=pre_tokenizers.Metaspace()),
        _changed(pre_tokenizer=pre_tokenizers.ByteLevel()),
        _changed(
            pre_tokenizer=pre_tokenizers.Sequence(
                [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="first")]
            )
        ),
        _changed(normalizer=normalizers.Replace(" ", "_")),
        _changed(normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.Prepend("x")])),
    ],
)
def test_others_are_not_known_to(tokenizer: Tokenizer) -> None:
    assert keeps_words_apart(_changed())
    assert not keeps_words_apart(tokenizer)


def test_nor_those_with_tokens_that_texts_may_spell() -> None:
    tokenizer = _changed()
    tokenizer.add_tokens([AddedToken("New York", special=False)])
    assert not keeps_words_apart(tokenizer)
