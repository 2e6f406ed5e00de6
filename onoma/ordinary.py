"""Ordinary text: the pieces of a sentence in which nothing needs care, found without arrays.

For a sentence alone the arrays of `encoding` cost several times as much as the tokenizer. They are there for what
normalizers compose and drop, for marks, joiners and invisible characters; most sentences have none of that.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from tokenizers import Encoding

from onoma.characters import EXTENDS, MARK, SILENT, WORD, bits

Pieces = tuple[list[int], list[int], list[int], list[bool]]
"""Ids, starts, ends, and which pieces continue the word of the piece before."""


class _Alphabet:
    """The ordinary characters that texts had so far, and those of them that words are made of."""

    def __init__(self) -> None:
        self.ordinary: set[str] = set()
        self.words: set[str] = set()
        self._lock = Lock()

    def holds(self, characters: set[str]) -> bool:
        """Whether all are ordinary: neither marks nor joiners, nor controls or invisible formats but white space."""
        return characters <= self.ordinary or self._learn(characters - self.ordinary)

    def _learn(self, characters: Iterable[str]) -> bool:
        known = {char: bits(char) for char in characters}
        ordinary = {char for char, has in known.items() if not has & (MARK | EXTENDS | SILENT)}
        with self._lock:
            self.words |= {char for char in ordinary if known[char] & WORD}
            self.ordinary |= ordinary
        return len(ordinary) == len(known)


_ALPHABET = _Alphabet()


def ordinary_pieces(text: str, low: int, high: int, encoding: Encoding) -> Pieces | None:
    """The pieces of the segment low..high of a text; None if it needs more care.

    :param encoding: of the segment alone.
    """
    if not _ALPHABET.holds(set(text[low:high])):
        return None
    words = _ALPHABET.words
    starts: list[int] = []
    ends: list[int] = []
    continues: list[bool] = []
    done = low
    for start, end in encoding.offsets:
        start += low
        end += low
        # Byte-level tokenizers count the space before a word as part of its first piece.
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        if start >= end or start < done:
            return None
        if start > done:
            if not text[done:start].isspace():
                return None
            continues.append(False)
        else:
            continues.append(done > low and text[start] in words and text[start - 1] in words)
        starts.append(start)
        ends.append(end)
        done = end
    if not starts or (done < high and not text[done:high].isspace()):
        return None
    return encoding.ids, starts, ends, continues
