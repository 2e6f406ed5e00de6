"""Ordinary words: those in which nothing needs care, so that their pieces are found without arrays.

For a word the arrays of `encoding` cost ten times as much as the tokenizer. They are there for what normalizers compose
and drop, for marks, joiners and invisible characters; most words have none of that.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from onoma.characters import EXTENDS, MARK, SILENT, SPACE, WORD, bits


class _Alphabet:
    """The ordinary characters that words had so far, and those of them that continue a word."""

    def __init__(self) -> None:
        self.ordinary: set[str] = set()
        self.words: set[str] = set()
        self._lock = Lock()

    def holds(self, characters: set[str]) -> bool:
        """Whether all are ordinary: neither marks nor joiners, nor white space, controls or invisible formats."""
        return characters <= self.ordinary or self._learn(characters - self.ordinary)

    def _learn(self, characters: Iterable[str]) -> bool:
        known = {char: bits(char) for char in characters}
        ordinary = {char for char, has in known.items() if not has & (MARK | EXTENDS | SILENT | SPACE)}
        with self._lock:
            self.words |= {char for char in ordinary if known[char] & WORD}
            self.ordinary |= ordinary
        return len(ordinary) == len(known)


_ALPHABET = _Alphabet()


def ordinary_word(word: str, encoding: Encoding) -> NDArray[np.int64] | None:
    """Ids, starts, ends and continues (4, T) of the pieces of a word; None if it needs more care."""
    if not _ALPHABET.holds(set(word)):
        return None
    letters = _ALPHABET.words
    starts: list[int] = []
    ends: list[int] = []
    continues: list[bool] = []
    done = 0
    for start, end in encoding.offsets:
        if start > done or start >= end:
            return None
        # Two pieces of one character overlap, and the mark of a word with its first piece.
        continues.append(start < done or (done > 0 and word[start] in letters and word[start - 1] in letters))
        starts.append(start)
        ends.append(done := max(done, end))
    if done < len(word):
        return None
    return np.array((encoding.ids, starts, ends, continues), dtype=np.int64)
