"""A tokenizer with a table of whole words: many words of many languages, few of which need an embedding of their own.

The table says which embedding a word has; forms of one word share it, and so may a word and its translation. What the
table lacks is cut into the pieces of a tokenizer. A word costs the bytes of its letters in a compressed file, not a
vector. The dozens of forms of one are found by the beginning that they share, where the table has it.
"""

from __future__ import annotations

import io
import lzma
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from unicodedata import normalize

import numpy as np
from tokenizers import Tokenizer

from onoma.errors import BundleError

MARK, CONTINUES = "▁", "##"
WORDS_FILE = "words.xz"
LONGEST_HAN = 4  # signs of a word where words are not told apart by spaces
ANY_ENDING = "*"  # no word has signs among its letters
SHORTEST_STEM, SURE_STEM = 4, 5  # letters; so many tell a word even where another may end before it
INFLECTED, DERIVED = 3, 6  # letters by which a form, and a derived word, may be longer than the beginning
SHORTEST_PART, LONGEST_COMPOUND = 4, 64  # letters
_LOW_BITS, _HALF = 48, 2**15
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 4, "lp": 0, "pb": 0}]  # for text: bytes without alignment
_ACCENTS = re.compile("(?<=[a-z])[\u0300-\u036f]+")


class WordTable:
    """Pieces of a text: the words of a table, and for all others the pieces of a WordPiece tokenizer.

    A word that neither has whole is a form of one that the table has a beginning of; or a compound of words that it
    has; or it is cut into the longest pieces from the left, as WordPiece does (Schuster and Nakajima 2012). All three
    look at Latin letters without accents. A character that no piece has is unknown alone, not its word.

    :param tokenizer: splits a text into words that begin with `▁`; runs of Han characters are one word. Its pieces are
        `▁` and the beginning of a word, or `##` and what may follow.
    :param words: the id of each word, as the tokenizer's normaliser writes it, and of beginnings of words, which end
        with `*`. Ids below the tokenizer's number of pieces are of these, which may be the same words; others are the
        table's own.
    """

    def __init__(self, tokenizer: Tokenizer, words: Mapping[str, int] | PackedWords) -> None:
        self.tokenizer = tokenizer
        self.words = words
        self._normalizer, self._splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
        self._pieces: dict[str, int] = tokenizer.get_vocab(with_added_tokens=False)
        self._longest = max(map(len, self._pieces))
        self._unknown = tokenizer.token_to_id("<unk>")
        self.size = 1 + max(chain(self._pieces.values(), words.values()))

    def ids(self, text: str) -> list[int]:
        """The ids of a text."""
        found: list[int] = []
        for marked, _ in self._splitter.pre_tokenize_str(self._normalizer.normalize_str(text)):
            word = marked[1:]
            row = self._whole(word)
            if row is not None:
                found.append(row)
            elif word and is_han(word[0]):
                found += self._run(word)
            else:
                found += self._cut(word)
        return found

    def _cut(self, word: str) -> Sequence[int]:
        """What a word is that the table lacks: a form of one that it has, several in one, or pieces."""
        row = self._form(word, INFLECTED, SHORTEST_STEM)
        if row is not None:
            return [row]
        if parts := self._compound(word):
            return parts
        bare = without_accents(word)
        row = self._stem(bare, DERIVED, SHORTEST_STEM)
        return self._spell(bare) if row is None else [row]

    def _whole(self, word: str) -> int | None:
        row = self.words.get(word)
        return self._pieces.get(MARK + word) if row is None else row

    def _word(self, word: str) -> int | None:
        row = self._whole(word)
        return row if row is not None or word.isascii() else self._whole(without_accents(word))

    def _form(self, word: str, ending: int, shortest: int) -> int | None:
        row = self._word(word)
        return self._stem(without_accents(word), ending, shortest) if row is None else row

    def _stem(self, word: str, ending: int, shortest: int) -> int | None:
        """The row of the longest known beginning."""
        rows = map(self.words.get, stem_keys(word, ending, shortest))
        return next((row for row in rows if row is not None), None)

    def _compound(self, word: str) -> list[int]:
        """The words that a compound is made of, the first one as long as can be; none if it is no compound."""
        if len(word) > LONGEST_COMPOUND:
            return []
        longest: tuple[int, str] | None = None
        for end in range(len(word) - SHORTEST_PART, SHORTEST_PART - 1, -1):
            first = self._word(word[:end])
            if first is None:
                continue
            rest = word[end:]
            for second in (rest, rest[1:]) if rest[0] == "s" and len(rest) > SHORTEST_PART else (rest,):
                if (row := self._form(second, INFLECTED, SURE_STEM)) is not None:
                    return [first, row]
            longest = longest or (first, rest)
        if longest is not None and (parts := self._compound(longest[1])):  # no way back: the time stays linear
            return [longest[0], *parts]
        return []

    def _spell(self, word: str) -> list[int]:
        found = []
        at, mark = 0, MARK
        while at < len(word):
            for end in range(min(len(word), at + self._longest), at, -1):
                row = self._pieces.get(mark + word[at:end])
                if row is not None:
                    break
            else:
                end, row = at + 1, self._pieces.get(CONTINUES + word[at], self._unknown)
            found.append(row)
            at, mark = end, CONTINUES
        return found

    def _run(self, run: str) -> Iterator[int]:
        """A run of Han characters: the longest word at each place, or else the character."""
        at = 0
        while at < len(run):
            for size in range(min(LONGEST_HAN, len(run) - at), 0, -1):
                row = self._whole(run[at : at + size])
                if row is not None:
                    break
            yield self._unknown if row is None else row
            at += size

    def save(self, path: Path) -> None:
        """Write the words, those of an id on one line, compressed; whole or not at all.

        :raises TypeError: if they are packed, and so no longer there.
        """
        if isinstance(self.words, PackedWords):
            raise TypeError("packed words cannot be written")
        lines: list[list[str]] = [[] for _ in range(self.size)]
        for word, row in self.words.items():
            lines[row].append(word)
        text = "".join(" ".join(sorted(line)) + "\n" for line in lines)  # alike next to each other: 6 % smaller
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(lzma.compress(text.encode("utf-8"), filters=_FILTERS))
        temporary.replace(path)


class PackedWords:
    """The rows of words in a tenth of a dictionary's memory, for a process that only looks them up.

    A word is its 64-bit hash: that one of a million words is taken for another has the probability 1e-13 for each word
    looked up. Python's hash of a text differs from process to process, so these are not to be sent to another.
    """

    def __init__(self, words: Iterable[tuple[str, int]]) -> None:
        hashes, rows = array("q"), array("i")
        for word, row in words:
            hashes.append(hash(word))
            rows.append(row)
        every = np.array(hashes, dtype=np.int64)
        order = np.argsort(every)
        every = every[order]
        self._hashes = array("q", every.tobytes())
        self._rows = array("i", np.array(rows, dtype=np.int32)[order].tobytes())
        # Where hashes with each first 16 bits begin: a few remain to be searched.
        first = np.searchsorted(every >> _LOW_BITS, np.arange(-_HALF, _HALF + 1))
        self._starts = array("i", first.astype(np.int32).tobytes())

    def get(self, word: str) -> int | None:
        """The row of a word."""
        own = hash(word)
        bucket = (own >> _LOW_BITS) + _HALF
        end = self._starts[bucket + 1]
        at = bisect_left(self._hashes, own, self._starts[bucket], end)
        return self._rows[at] if at < end and self._hashes[at] == own else None

    def values(self) -> Iterable[int]:
        """All rows; one comes as often as it has words."""
        return self._rows

    def __len__(self) -> int:
        return len(self._rows)


def read_words(path: Path) -> dict[str, int]:
    """The words that `WordTable.save` wrote, with their ids.

    :raises BundleError: if the file is no such table.
    """
    return dict(_words_in(path))


def pack_words(path: Path) -> PackedWords:
    """The same, to be looked up only.

    :raises BundleError: if the file is no such table.
    """
    return PackedWords(_words_in(path))


def _words_in(path: Path) -> Iterator[tuple[str, int]]:
    try:
        lines = io.BytesIO(lzma.decompress(path.read_bytes()))
        for row, line in enumerate(lines):
            for word in line.decode("utf-8").rstrip("\n").split(" "):
                if word:
                    yield word, row
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is no table of words: {error}") from error


def without_accents(word: str) -> str:
    """A word in lower case whose Latin letters have no accents."""
    return word if word.isascii() else normalize("NFC", _ACCENTS.sub("", normalize("NFD", word)))


def stem_keys(word: str, ending: int, shortest: int = SHORTEST_STEM) -> Iterator[str]:
    """The beginnings of a word as a table writes them, from itself to those that are so many letters shorter."""
    for end in range(len(word), max(shortest, len(word) - ending) - 1, -1):
        yield word[:end] + ANY_ENDING


def is_han(sign: str) -> bool:
    """Whether it is a Han character, or one that stands for one."""
    code = ord(sign)
    return 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or code >= 0x20000 or sign in "々〇〆"
