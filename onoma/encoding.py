"""Encoding: text to pieces with exact code-point offsets, cut into windows."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from onoma.bundle import TokenizerFacts
from onoma.text import extend_to_grapheme, is_unspaced
from onoma.windows import Window, segments, windows

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Segment:
    """The pieces of one sentence.

    :param ids: (T,) piece ids, without prefix and suffix.
    :param starts: (T,) code-point offset of each piece in the whole text; `ends` is exclusive.
    :param continues: (T,) whether the piece continues the word of the piece before.
    :param windows: how the pieces are spread over model inputs.
    """

    ids: Ints
    starts: Ints
    ends: Ints
    continues: NDArray[np.bool_]
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text, its segments, and the model inputs they make, in order."""

    text: str
    segments: tuple[Segment, ...]

    @property
    def inputs(self) -> list[Ints]:
        """Piece ids of every window of every segment, in order, without prefix and suffix."""
        return [segment.ids[w.low : w.high] for segment in self.segments for w in segment.windows]

    @property
    def window_count(self) -> int:
        """Number of model inputs."""
        return sum(len(segment.windows) for segment in self.segments)


def _is_word_character(char: str) -> bool:
    return (char.isalnum() or char in "_\u200c\u200d") and not is_unspaced(char)


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"


def _is_dropped(char: str) -> bool:
    """Whether a character that the tokenizer dropped stays outside every piece: spaces, controls, invisible formats."""
    return char.isspace() or unicodedata.category(char) in ("Cc", "Cf")


def _continues(text: str, *, start: int, before: int) -> bool:
    """Whether a piece that starts at `start` belongs to the word of the piece before, which ends at `before`."""
    if start < before:  # two pieces of one character, or of one grapheme
        return True
    if any(char.isspace() for char in text[before:start]):
        return False
    if _is_mark(text[start]):
        return True
    if not _is_word_character(text[start]):
        return False
    base = before - 1
    while base > 0 and _is_mark(text[base]):
        base -= 1
    return _is_word_character(text[base])


class Encoder:
    """Turns texts into pieces, for any tokenizer of the tokenizers library.

    :param limit: most pieces in a window, without prefix and suffix.
    :param overlap: fewest pieces that neighbouring windows of one segment share.
    """

    def __init__(self, tokenizer: Tokenizer, *, facts: TokenizerFacts, limit: int, overlap: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # A request that spells `<pad>` or `[SEP]` means those characters, not the special token.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self.facts = facts
        self.limit = limit
        self.overlap = overlap

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode texts; every non-space character of a text is covered by its pieces, in order.

        Uncovered may stay only what the tokenizer drops: control and invisible format characters (U+200B), and a token
        that its normalizer empties (a lone accent, for BERT). No entity can begin or end there.
        """
        spans = [segments(text) for text in texts]
        pieces = [text[low:high] for text, cut in zip(texts, spans, strict=True) for low, high in cut]
        encodings = iter(self._tokenizer.encode_batch(pieces, add_special_tokens=False))
        encoded = []
        for text, cut in zip(texts, spans, strict=True):
            built = [self._segment(text, low, high, next(encodings)) for low, high in cut]
            encoded.append(Encoded(text, tuple(segment for segment in built if len(segment.ids))))
        return encoded

    def _segment(self, text: str, low: int, high: int, encoding: Encoding) -> Segment:
        ids: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        for piece, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            start, end = start + low, end + low
            # Byte-level tokenizers count the space before a word as part of its first piece.
            while start < end and text[start].isspace():
                start += 1
            while end > start and text[end - 1].isspace():
                end -= 1
            # Pieces of nothing but space can hold no entity and say nothing that the model should depend on.
            if start < end:
                ids.append(piece)
                starts.append(start)
                ends.append(end)
        continues = [False] * len(ids)
        done = low  # every character before it is covered, or never will be
        for at in range(len(ids)):
            # Normalizers compose and drop characters (jamo, accents): what they leave in a gap belongs to a neighbour.
            while starts[at] > done and not _is_dropped(text[starts[at] - 1]):
                starts[at] -= 1
            continues[at] = at > 0 and _continues(text, start=starts[at], before=done)
            end = extend_to_grapheme(text, ends[at], high)
            following = starts[at + 1] if at + 1 < len(ids) else high
            while end < following and not _is_dropped(text[end]):
                end += 1
            ends[at] = done = max(done, end)
        return Segment(
            ids=np.array(ids, dtype=np.int64),
            starts=np.array(starts, dtype=np.int64),
            ends=np.array(ends, dtype=np.int64),
            continues=np.array(continues, dtype=np.bool_),
            windows=tuple(windows(len(ids), self.limit, self.overlap)) if ids else (),
        )
