"""Characters: what the encoder must know of each character of a text, as arrays.

Every character is looked up once, and runs of like characters are found for all pieces at once, so the cost is linear
in the text whatever it is made of.
"""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray

from onoma.text import is_unspaced

Flags = NDArray[np.uint8]
Ints = NDArray[np.int64]

SPACE = 1  # white space
SOLID = 2  # anything else
MARK = 4  # a combining mark
WORD = 8  # part of a word, in a script that puts spaces between words
KEPT = 16  # neither white space nor silent: belongs to a piece even if the tokenizer drops it
EXTENDS = 32  # part of the grapheme of the character before: marks, joiners, variation selectors, what a joiner joins
SILENT = 64  # a control or an invisible format: in no piece unless the tokenizer says so
_KNOWN = 128

_JOINER = "\u200d"
# Bits of each code point; zero until the first text that holds it. Threads may fill it together: they write the same.
_TABLE: Flags = np.zeros(0x110000, dtype=np.uint8)


def bits(char: str) -> int:
    """What a character is: the flags above."""
    category = unicodedata.category(char)
    found = _KNOWN | (SPACE if char.isspace() else SOLID)
    if category[0] == "M":
        found |= MARK | EXTENDS
    if char == _JOINER:
        found |= EXTENDS
    if (char.isalnum() or char in "_\u200c\u200d") and not is_unspaced(char):
        found |= WORD
    if not char.isspace():
        found |= SILENT if category in ("Cc", "Cf") else KEPT
    return found


class Characters:
    """The characters of texts, each at its place in one array; two empty places surround them, so that runs end.

    :param flags: (1 + N + 1,) bits of each character: the first stands at 1.
    :param present: all bits that any character has.
    """

    __slots__ = ("flags", "present")

    def __init__(self, text: str) -> None:
        codes = np.frombuffer(f"\0{text}\0".encode("utf-32-le"), dtype="<u4")
        flags: Flags = _TABLE[codes]
        if np.count_nonzero(flags) < len(flags):
            for code in np.unique(codes[flags == 0]):
                _TABLE[code] = bits(chr(code))
            flags = _TABLE[codes]
        if _JOINER in text:
            after = np.flatnonzero(codes[:-1] == ord(_JOINER)) + 1
            flags[after] |= np.where(flags[after] & SPACE, 0, EXTENDS).astype(np.uint8)
        flags[0] = flags[-1] = 0
        self.flags = flags
        self.present = int(np.bitwise_or.reduce(flags))

    def end_graphemes(self, at: Ints) -> None:
        """Let no grapheme go on at these positions."""
        if self.present & EXTENDS:
            self.flags[at] &= 255 - EXTENDS

    def run_end(self, bit: int, at: Ints) -> Ints:
        """For each position the first one from there on without the bit."""
        if not self.present & bit or not np.count_nonzero(has := self.flags[at] & bit):
            return at
        _, ends = self._runs(bit)
        found: Ints = np.where(has, ends.take(ends.searchsorted(at, side="right"), mode="clip"), at)
        return found

    def run_begin(self, bit: int, at: Ints) -> Ints:
        """For each position the least one from which all characters up to it have the bit."""
        if not self.present & bit or not np.count_nonzero(has := self.flags[at - 1] & bit):
            return at
        begins, ends = self._runs(bit)
        found: Ints = np.where(has, begins.take(ends.searchsorted(at - 1, side="right"), mode="clip"), at)
        return found

    def _runs(self, bit: int) -> tuple[Ints, Ints]:
        """First and past-the-last position of every run of characters with the bit."""
        has = (self.flags & bit) != 0
        edges: Ints = np.flatnonzero(has[1:] != has[:-1]) + 1
        return edges[::2], edges[1::2]
