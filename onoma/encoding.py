"""Encoding: text to pieces with exact code-point offsets, cut into windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from onoma.bundle import TokenizerFacts
from onoma.characters import EXTENDS, KEPT, MARK, SILENT, SOLID, SPACE, WORD, Characters
from onoma.literal import Literal
from onoma.ordinary import ordinary_word
from onoma.windows import Window, segments, windows
from onoma.word_cache import Cut, WordCache, keeps_words_apart

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

WORD_MARKS = ("▁", "Ġ")  # what a space becomes before a word, in SentencePiece and in byte-level tokenizers

_ONE_BY_ONE = 8  # sentences


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
    continues: Bools
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
        self._literal = Literal(tokenizer)
        self._tokenizer = tokenizer
        self._words = WordCache(self._learn) if keeps_words_apart(tokenizer) else None
        self._marks = [mark for name in WORD_MARKS if (mark := tokenizer.token_to_id(name)) is not None]
        self.facts = facts
        self.limit = limit
        self.overlap = overlap

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode texts; every non-space character of a text is covered by its pieces, in order.

        Uncovered may stay only what the tokenizer drops: control and invisible format characters (U+200B), and a token
        that its normalizer empties (a lone accent, for BERT). No entity can begin or end there.
        """
        # Without the space before it, which byte-level tokenizers make a part of its first word: so a sentence has the
        # same pieces alone as in a long text.
        cuts = [
            (number, high - len(text[low:high].lstrip()), high)
            for number, text in enumerate(texts)
            for low, high in segments(text)
        ]
        found: dict[int, Segment] = {}  # by the number of its cut; without pieces there is none
        left: Sequence[int] = range(len(cuts))
        if self._words is not None:
            left = self._remembered(self._words, texts, cuts, found)
        if left:
            own = [cuts[at] for at in left]
            encodings = self._encodings([self._literal(texts[number][low:high]) for number, low, high in own])
            for at, segment in self._segments(texts, own, encodings):
                found[left[at]] = segment
        built: list[list[Segment]] = [[] for _ in texts]
        for at, (number, _, _) in enumerate(cuts):
            if at in found:
                built[number].append(found[at])
        return [Encoded(text, tuple(own)) for text, own in zip(texts, built, strict=True)]

    def _remembered(
        self, words: WordCache, texts: Sequence[str], cuts: Sequence[Cut], found: dict[int, Segment]
    ) -> list[int]:
        """Fill in the segments whose words are remembered; which cuts are left."""
        (ids, starts, ends, continues), edges, left = words.look_up(texts, cuts)
        same_word = continues.astype(np.bool_)
        for at, (first, last) in enumerate(pairwise(edges)):
            if first < last:
                found[at] = Segment(
                    ids=ids[first:last],
                    starts=starts[first:last],
                    ends=ends[first:last],
                    continues=same_word[first:last],
                    windows=tuple(windows(last - first, self.limit, self.overlap)),
                )
        return left

    def _learn(self, words: Sequence[str]) -> list[Ints]:
        """Ids, starts, ends and continues (4, T) of the pieces of each word, as of a text of its own."""
        encodings = self._encodings([self._literal(word) for word in words])
        learned = list(map(ordinary_word, words, encodings))
        left = [at for at, own in enumerate(learned) if own is None]
        if left:
            cuts = [(at, 0, len(words[at])) for at in left]
            for place, own in self._segments(words, cuts, [encodings[at] for at in left]):
                learned[left[place]] = np.stack([own.ids, own.starts, own.ends, own.continues])
        return [np.empty((4, 0), dtype=np.int64) if own is None else own for own in learned]

    def _encodings(self, sentences: Sequence[str]) -> Sequence[Encoding]:
        # A batch goes to threads of its own, whose waking takes longer than the tokenizer for a few sentences.
        if len(sentences) <= _ONE_BY_ONE:
            return [self._tokenizer.encode(sentence, add_special_tokens=False) for sentence in sentences]
        together: list[Encoding] = self._tokenizer.encode_batch(sentences, add_special_tokens=False)
        return together

    def _segments(
        self, texts: Sequence[str], cuts: Sequence[Cut], encodings: Sequence[Encoding]
    ) -> Iterator[tuple[int, Segment]]:
        """The segments that have pieces, each with the place of its cut.

        All are made together, at positions in one array that holds every text.

        :param cuts: text number and span of each segment, in order.
        """
        characters = Characters("\n".join(texts))
        shifts = list(accumulate((len(text) + 1 for text in texts), initial=1))  # from offsets in a text to positions
        spans = np.array([(shifts[number] + low, shifts[number] + high) for number, low, high in cuts], dtype=np.int64)
        characters.end_graphemes(spans[:, 0])
        counts = [len(encoding) for encoding in encodings]
        edges = [0, *accumulate(counts)]  # the first piece of each segment, and the number of pieces
        ids = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int64, edges[-1])
        offsets = np.fromiter(chain.from_iterable(chain.from_iterable(e.offsets for e in encodings)), np.int64)
        begins = spans[:, 0].repeat(counts)
        starts, ends = offsets[::2] + begins, offsets[1::2] + begins
        # Byte-level tokenizers count the space before a word as part of its first piece.
        starts = np.minimum(characters.run_end(SPACE, starts), ends)
        ends = np.maximum(characters.run_begin(SPACE, ends), starts)
        # Pieces of nothing but space can hold no entity and say nothing that the model should depend on. But the mark
        # of a word, where it is a piece of its own, is the word's first piece: the one that had its label in training.
        full = starts < ends
        if np.count_nonzero(full) < len(full):
            touching = ~full[:-1] & full[1:] & (ends[:-1] == starts[1:]) & np.isin(ids[:-1], self._marks)
            marks = np.setdiff1d(touching.nonzero()[0], np.array(edges[1:]) - 1)
            starts[marks], ends[marks], full[marks] = starts[marks + 1], starts[marks + 1] + 1, True
            ids, starts, ends = ids[full], starts[full], ends[full]
            edges = np.append(0, np.cumsum(full))[edges].tolist()
        filled = [(at, first, last) for at, (first, last) in enumerate(pairwise(edges)) if first < last]
        if not filled:
            return
        rows, firsts, lasts = np.array(filled, dtype=np.int64).T
        starts, ends, continues = _cover(characters, starts, ends, firsts=firsts, lasts=lasts, spans=spans[rows])
        for at, first, last in filled:
            number = cuts[at][0]
            segment = Segment(
                ids=ids[first:last],
                starts=starts[first:last] - shifts[number],
                ends=ends[first:last] - shifts[number],
                continues=continues[first:last],
                windows=tuple(windows(last - first, self.limit, self.overlap)),
            )
            yield at, segment


def _cover(
    characters: Characters, starts: Ints, ends: Ints, *, firsts: Ints, lasts: Ints, spans: Ints
) -> tuple[Ints, Ints, Bools]:
    """Widen pieces until they cover all that is not dropped; new starts and ends, and which pieces continue a word.

    Normalizers compose and drop characters (jamo, accents): what they leave in a gap belongs to a neighbour, to the
    piece before it if there is one.

    :param firsts: (K,) the first piece of each segment; `lasts` is past its last.
    :param spans: (K, 2) positions of each segment.
    """
    flags = characters.flags
    following = np.empty_like(starts)
    following[:-1] = starts[1:]
    following[lasts - 1] = spans[:, 1]
    ends = characters.run_end(EXTENDS, ends)
    # The empty place 0 stands in for a piece without a gap.
    gap = ends * (ends < following)
    ends = np.maximum(ends, np.minimum(characters.run_end(KEPT, gap), following))
    np.maximum.accumulate(ends, out=ends)
    done = np.empty_like(ends)  # every character of the segment before it is covered, or never will be
    done[1:] = ends[:-1]
    done[firsts] = spans[:, 0]
    gap = starts * (starts > done)
    starts = np.maximum(characters.run_begin(KEPT, gap), np.minimum(starts, done))

    near = starts <= done  # no space since the piece before
    if characters.present & SILENT:
        near |= characters.run_begin(SOLID, starts) <= done
    here = flags[starts]
    base = flags[characters.run_begin(MARK, done) - 1]  # what the marks at the end of the piece before stand on
    same_word = (here & MARK) | (here & base & WORD)
    # Two pieces of one character, or of one grapheme, overlap.
    continues: Bools = (starts < done) | (near & (same_word != 0))
    continues[firsts] = False
    return starts, ends, continues
