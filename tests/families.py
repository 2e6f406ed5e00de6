"""Tiny tokenizers of the families that a bundle may bring, built in memory, and texts that strain them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from distill.tokenizer import build_tokenizer

ALPHABET = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0éöü.,!?()'\"-"
    + "кМосвадрий"
    + "हिन्दी"
    + "ไทยนำ"
    + "東京都한국أحمد"
)
WORDS = ("Angela", "Mer", "kel", "Köln", "Москва", "東京", "หิ", "ing", "er", "the", "अ", "न्")


def unigram() -> Tokenizer:
    """As distill.tokenizer builds it."""
    pieces = [("<pad>", 0.0), ("<unk>", 0.0), ("<mask>", 0.0), ("▁", -4.0)]
    seen = {piece for piece, _ in pieces}
    for word in (*WORDS, *ALPHABET):
        for piece, score in (("▁" + word, -3.0 - len(word) / 9), (word, -5.0)):
            if piece not in seen:
                seen.add(piece)
                pieces.append((piece, score))
    return build_tokenizer(pieces)


def wordpiece() -> Tokenizer:
    """As BERT: cleaned, lower-cased, accents stripped."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    for word in (*WORDS, *ALPHABET):
        vocabulary += [word.lower(), "##" + word.lower()]
    ids = {piece: at for at, piece in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return tokenizer


def byte_level() -> Tokenizer:
    """As RoBERTa: byte-level BPE, the space part of the word's first piece."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {char: at for at, char in enumerate(["<pad>", *alphabet])}
    merges = [("e", "r"), ("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "a"), ("à", "¸"), ("Ã", "¶")]
    for left, right in merges:
        ids[left + right] = len(ids)
    tokenizer = Tokenizer(models.BPE(ids, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>"])
    return tokenizer


def metaspace() -> Tokenizer:
    """As XLM-RoBERTa: pieces over all that is between spaces, and the mark of a word often a piece of its own."""
    names = ("▁", "▁Angela", "▁the", "Mer", "kel", "ing", "東京", "న్", *ALPHABET)
    pieces = [("<pad>", 0.0), ("<unk>", 0.0), *((name, -3.0 - 2.0 / len(name)) for name in dict.fromkeys(names))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=1))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(["<pad>", "<unk>"])
    return tokenizer


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "unigram": unigram,
    "wordpiece": wordpiece,
    "byte_level": byte_level,
    "metaspace": metaspace,
}

HARD = (
    "ﬁ", "ﷺ", "㎏", "⑴", "¨", "½", "ẛ̣", "Å", "İ", "ß", "ſ",  # what NFKC and lower-casing expand or fold
    "นำ", "กำ้", "ํา", "ေ", "ཱི", "क्ष", "्", "ি", "ක්\u200dර",  # vowels and conjuncts of South and South-East Asia
    "한", "한", "각ᆨ", "ㅎㅏㄴ", "ﾊﾟ", "が", "が",  # jamo, half-width, voiced marks
    "\u200b", "\u200c", "\u200d", "\u200e", "\u202e", "\u00ad", "\ufeff", "\u2060", "\x01", "\x1c", "\x7f", "\x85",
    " ", "  ", "\t", "\n", "\r\n", "\u3000", "\u00a0", "\u2028", "      ",
    "👨\u200d👩\u200d👧", "🇩🇪", "❤\ufe0f", "👍🏽", "e\u0301\u0323", "\u0301", "\u20e3", "Z̸̧̛͖", "\U000e0041",
    ".", "!", "?", "。", "…", "।", '"', "(", ")", "<pad>", "<mask>", "[SEP]", "[UNK]", "▁", "##", "Ġ",
    "\U0010ffff", "\ue000",
)  # fmt: skip

anything = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)
hard = st.lists(st.one_of(st.sampled_from(HARD), st.sampled_from((*WORDS, *ALPHABET)), anything), max_size=25)
texts = st.one_of(anything, hard.map("".join), hard.map(" ".join))


class RandomModel:
    """Emissions that depend on nothing but the piece, so that a sentence is tagged the same wherever it stands."""

    def __init__(self, columns: int, seed: int = 0) -> None:
        self.columns = columns
        self.seed = seed

    def infer(self, inputs: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        return [
            np.array([self._row(int(piece)) for piece in ids], dtype=np.float32).reshape(-1, self.columns)
            for ids in inputs
        ]

    def _row(self, piece: int) -> list[float]:
        source = random.Random(piece * 1009 + self.seed)
        return [source.gauss(0, 3) for _ in range(self.columns)]
