"""A tokenizer with a table of whole words: many words of many languages, few of which need an embedding of their own.

The table says which embedding a word has; forms of one word share it, and so may a word and its translation. What the
table lacks is cut into the pieces of a tokenizer. A word costs the bytes of its letters in a compressed file, not a
vector, and is found whole or not at all: never as the beginning of another word.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from onoma.errors import BundleError

MARK = "▁"
WORDS_FILE = "words.xz"
LONGEST_HAN = 4  # signs of a word where words are not told apart by spaces


class WordTable:
    """Pieces of a text: the words of a table, and a tokenizer's pieces of all others.

    :param tokenizer: splits a text into words that begin with `▁`; runs of Han characters are one word.
    :param words: the id of each word, as the tokenizer's normaliser writes it. Ids below the tokenizer's number of
        pieces are of these, which may be the same words; others are the table's own.
    """

    def __init__(self, tokenizer: Tokenizer, words: Mapping[str, int]) -> None:
        self.tokenizer = tokenizer
        self.words = words
        self._normalizer, self._splitter, self._model = tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.model
        self._unknown = tokenizer.token_to_id("<unk>")
        self.size = 1 + max([tokenizer.get_vocab_size() - 1, *words.values()])

    def ids(self, text: str) -> list[int]:
        """The ids of a text."""
        found: list[int] = []
        for marked, _ in self._splitter.pre_tokenize_str(self._normalizer.normalize_str(text)):
            word = marked[1:]
            row = self.words.get(word)
            if row is not None:
                found.append(row)
            elif word and is_han(word[0]):
                found += self._run(word)
            else:
                found += [token.id for token in self._model.tokenize(marked)]
        return found

    def _run(self, run: str) -> Iterator[int]:
        """A run of Han characters: the longest word at each place, or else the character."""
        at = 0
        while at < len(run):
            for size in range(min(LONGEST_HAN, len(run) - at), 0, -1):
                row = self.words.get(run[at : at + size])
                if row is not None:
                    break
            else:
                row = self.tokenizer.token_to_id(MARK + run[at])
                row = self._unknown if row is None else row
            yield row
            at += size

    def save(self, path: Path) -> None:
        """Write the words, those of an id on one line, compressed; whole or not at all."""
        lines: list[list[str]] = [[] for _ in range(self.size)]
        for word, row in self.words.items():
            lines[row].append(word)
        text = "".join(" ".join(line) + "\n" for line in lines)
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(lzma.compress(text.encode("utf-8"), preset=9))
        temporary.replace(path)


def read_words(path: Path) -> dict[str, int]:
    """The words that `WordTable.save` wrote, with their ids.

    :raises BundleError: if the file is no such table.
    """
    try:
        lines: Sequence[str] = lzma.decompress(path.read_bytes()).decode("utf-8").split("\n")
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is no table of words: {error}") from error
    return {word: row for row, line in enumerate(lines) for word in line.split(" ") if word}


def is_han(sign: str) -> bool:
    """Whether it is a Han character, or one that stands for one."""
    code = ord(sign)
    return 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or code >= 0x20000 or sign in "々〇〆"
