"""Sentences as words, and the order in which a loop over positions meets the words of many sentences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Words:
    """N pieces of B sentences, one sentence behind the other, and the W words they make.

    :param continues: (N,) whether a piece continues the word of the piece before; false where a sentence begins.
    :param begins: (B,) the first piece of each sentence; every sentence has one.
    """

    def __init__(self, continues: Bools, begins: Ints) -> None:
        self.continues = continues
        self.begins = begins

    @cached_property
    def first_pieces(self) -> Ints:
        """(W,) the first piece of each word."""
        found: Ints = (~self.continues).nonzero()[0]
        return found

    @cached_property
    def last_pieces(self) -> Ints:
        """(W,) the last piece of each word."""
        found: Ints = np.append(self.first_pieces[1:], len(self.continues)) - 1
        return found

    @cached_property
    def last_of_sentences(self) -> Ints:
        """(B,) the last piece of each sentence."""
        found: Ints = np.append(self.begins[1:], len(self.continues)) - 1
        return found

    @cached_property
    def first_words(self) -> Ints:
        """(B,) the first word of each sentence."""
        found: Ints = self.first_pieces.searchsorted(self.begins)
        return found

    @cached_property
    def last_words(self) -> Ints:
        """(B,) the last word of each sentence."""
        return self.first_words + self.lengths - 1

    @cached_property
    def lengths(self) -> Ints:
        """(B,) words of each sentence."""
        return _lengths(self.first_words, len(self.first_pieces))

    @cached_property
    def several(self) -> NDArray[np.int8]:
        """(W,) 1 for a word of several pieces, else 0."""
        followed = np.zeros(len(self.continues), dtype=np.int8)
        followed[:-1] = self.continues[1:]
        return followed[self.first_pieces]

    @cached_property
    def of_piece(self) -> Ints:
        """(N,) the word of each piece."""
        found: Ints = (~self.continues).cumsum()
        found -= 1
        return found

    def as_pieces(self) -> Words:
        """The same sentences as if each word were a single piece."""
        return Words(np.zeros(len(self.first_pieces), dtype=np.bool_), self.first_words)

    def only(self, chosen: Bools) -> tuple[Bools | slice, Words]:
        """Some of the sentences (B,): which pieces (N,) are theirs, and the words of these alone."""
        if len(chosen) == 1 and chosen[0]:
            return slice(None), self
        lengths = _lengths(self.begins, len(self.continues))
        pieces = chosen.repeat(lengths)
        kept = lengths[chosen]
        return pieces, Words(self.continues[pieces], kept.cumsum() - kept)


def _lengths(begins: Ints, end: int) -> Ints:
    found = np.empty_like(begins)
    found[:-1] = begins[1:]
    found[-1] = end
    found -= begins
    return found


@dataclass(frozen=True, slots=True)
class Packing:
    """The W words of B sentences by position: step t holds the t-th word of each sentence that has one.

    The longest sentence comes first, so that the sentences of a step are the first ones of the step before and nothing
    is padded. Each row stands for two words, the t-th from the beginning of its sentence and the t-th from its end.

    :param forward: (W,) the word of each row, counted from the beginning; `backward` from the end.
    :param turned: (W,) the row that has as its backward word what each row has as its forward one.
    :param sentences: (B,) the sentences, longest first; `lasts` (B,) is the last row of each.
    :param steps: the first row of each step, and the number of its rows.
    """

    forward: Ints | slice
    backward: Ints | slice
    turned: Ints | slice
    sentences: Ints | slice
    lasts: Ints | slice
    steps: list[tuple[int, int]]

    @classmethod
    def of(cls, words: Words) -> Packing:
        """The order of all words of at least one sentence."""
        lengths = words.lengths
        if len(lengths) == 1:  # most requests: one text, one sentence
            total = int(lengths[0])
            every, turned = slice(None), slice(None, None, -1)
            return cls(every, turned, turned, every, slice(total - 1, None), [(at, 1) for at in range(total)])
        sentences = np.argsort(-lengths, kind="stable")
        lengths = lengths[sentences]
        counts = len(lengths) - lengths[::-1].searchsorted(np.arange(lengths[0]), side="right")
        lows = counts.cumsum() - counts
        step = np.arange(len(counts)).repeat(counts)
        rank = np.arange(len(step)) - lows[step]
        first, left = words.first_words[sentences][rank], lengths[rank] - 1 - step
        return cls(
            forward=first + step,
            backward=first + left,
            turned=lows[left] + rank,
            sentences=sentences,
            lasts=lows[lengths - 1] + np.arange(len(lengths)),
            steps=list(zip(lows.tolist(), counts.tolist(), strict=True)),
        )
