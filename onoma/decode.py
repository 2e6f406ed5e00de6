"""Decoding: emissions to tags under the constraints of a scheme, and tags to scored spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from onoma.bundle import Pieces, Transitions
from onoma.crf import Chain
from onoma.encoding import Segment
from onoma.labels import Entity, LabelSet
from onoma.words import Words

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
_Kind = TypeVar("_Kind", np.float32, np.int64, np.bool_)

_TOGETHER = 4096  # most pieces that are decoded together: what fits a processor's cache


class Decoder(Protocol):
    """Decides the tags of sentences."""

    def decode(self, emissions: Floats, words: Words) -> tuple[Ints, Floats | Doubles]:
        """The best legal sequence of each sentence, and the log probability of each of its tags.

        :param emissions: (N, C) logits of the pieces of `words`.
        :return: (N,) columns, (N,) log probabilities at the decoder's temperature.
        """
        ...

    def log_probabilities(self, emissions: Floats, words: Words) -> Floats | Doubles:
        """(N, C) log probability of every tag of each piece, from logits (N, C)."""
        ...


class Softmax:
    """Each piece has probabilities of its own; the constraints count only for the decision."""

    def __init__(self, labels: LabelSet, *, temperature: float = 1.0) -> None:
        self._labels = labels
        self._temperature = temperature

    @cached_property
    def _chain(self) -> Chain:
        return Chain(self._labels)  # a large matrix for parts of speech, which never need it

    def decode(self, emissions: Floats, words: Words) -> tuple[Ints, Floats]:
        """As `Decoder` says."""
        tags: Ints = emissions.argmax(axis=1)
        # A legal argmax is already the optimum.
        wrong = illegal(tags, words, self._labels)
        if wrong is not None:
            pieces, some = words.only(wrong)
            tags[pieces] = self._chain.best(emissions[pieces], some)
        return tags, self.log_probabilities(emissions, words)[np.arange(len(tags)), tags]

    def log_probabilities(self, emissions: Floats, words: Words) -> Floats:
        """As `Decoder` says."""
        scaled = emissions / np.float32(self._temperature)
        shifted = scaled - scaled.max(axis=-1, keepdims=True)
        result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return result


def build_decoder(labels: LabelSet, *, transitions: Transitions | None, temperature: float = 1.0) -> Decoder:
    """The decoder of a bundle: a CRF if it has transitions, else a softmax."""
    if transitions is None:
        return Softmax(labels, temperature=temperature)
    return Chain(
        labels,
        transitions=transitions.transitions,
        start=transitions.start,
        end=transitions.end,
        temperature=temperature,
    )


def illegal(tags: Ints, words: Words, labels: LabelSet) -> Bools | None:
    """(B,) the sentences whose tags (N,) are not of the scheme, or leave a part of a word outside; None if none are."""
    legal = labels.legal_moves[words.continues.view(np.int8), _before(tags, words, labels), tags]
    if not labels.ends_anywhere:
        last = words.last_of_sentences
        legal[last] &= labels.legal_end[tags[last]]
    if legal.all():
        return None
    found: Bools = ~np.logical_and.reduceat(legal, words.begins)
    return found


def _before(tags: Ints, words: Words, labels: LabelSet) -> Ints:
    """(N,) the tag before each, C where a sentence begins."""
    before = np.empty_like(tags)
    before[1:] = tags[:-1]
    before[words.begins] = len(labels.tags)
    return before


def spans_of(tags: Ints, words: Words, labels: LabelSet) -> tuple[Ints, Ints]:
    """Entities in the legal tags (N,) of sentences: (E,) their first pieces, (E,) the pieces past their last."""
    stops = np.ones(len(tags) + 1, dtype=np.bool_)
    if labels.contextual:
        new = labels.begins_after[_before(tags, words, labels), tags]
        new &= ~words.continues
        begins = new.nonzero()[0]
        np.logical_or(new, labels.is_outside[tags], out=stops[:-1])
    else:
        begins = labels.begins[tags].nonzero()[0]
        if not len(begins):
            return begins, begins
        np.logical_not(labels.inside[tags], out=stops[:-1])
    places = stops.nonzero()[0]
    return begins, places[places.searchsorted(begins, side="right")]


def span_scores(logs: Floats | Doubles, begins: Ints, ends: Ints) -> Doubles:
    """(E,) geometric mean of the probabilities of each span's pieces, from log probabilities (N,)."""
    edges = np.empty(2 * len(begins), dtype=np.int64)
    edges[::2], edges[1::2] = begins, ends
    if len(edges) and edges[-1] == len(logs):
        edges = edges[:-1]
    sums = np.add.reduceat(logs, edges, dtype=np.float64)[::2] if len(edges) else np.empty(0)
    scores: Doubles = np.exp(sums / (ends - begins))
    return scores


def decode(
    segments: Sequence[Segment],
    emissions: Sequence[Floats],
    *,
    decoder: Decoder,
    labels: LabelSet,
    pieces: Pieces = "all",
) -> tuple[list[list[Entity]], list[float]]:
    """Entities of each segment with scores, and the raw confidence of each.

    An entity's score is the geometric mean of the calibrated probabilities of its pieces' tags. The raw confidence is
    the least probability of any decided tag: one doubtful piece makes the segment doubtful.

    :param segments: of one text or of several; every one has pieces.
    :param emissions: (T, C) logits of each.
    :param pieces: which of a word's pieces have a say in its tag; "first": a word counts as one piece everywhere.
    """
    entities: list[list[Entity]] = []
    confidences: list[float] = []
    for low, high in _together([len(rows) for rows in emissions]):
        part = segments[low:high]
        edges = np.array([0, *accumulate(len(rows) for rows in emissions[low:high])])
        words = Words(joined([segment.continues for segment in part]), edges[:-1])
        rows = joined(emissions[low:high])
        starts, finishes = joined([segment.starts for segment in part]), joined([segment.ends for segment in part])
        if pieces == "first" and words.continues.any():
            first = words.first_pieces
            rows, starts, finishes, words = rows[first], starts[first], finishes[words.last_pieces], words.as_pieces()
            edges = np.append(words.begins, len(first))
        tags, logs = decoder.decode(rows, words)
        confidences += np.exp(np.minimum.reduceat(logs, words.begins)).tolist()
        begins, ends = spans_of(tags, words, labels)
        found = map(
            Entity,
            starts[begins].tolist(),
            finishes[ends - 1].tolist(),
            [labels.type_of[column] for column in tags[begins].tolist()],
            span_scores(logs, begins, ends).tolist(),
        )
        every = list(found)
        entities += [every[first:last] for first, last in pairwise(begins.searchsorted(edges).tolist())]
    return entities, confidences


def _together(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of segments with few enough pieces to be decoded together."""
    low = total = 0
    for at, length in enumerate(lengths):
        if at > low and total + length > _TOGETHER:
            yield low, at
            low, total = at, 0
        total += length
    if low < len(lengths):
        yield low, len(lengths)


def joined(parts: Sequence[NDArray[_Kind]]) -> NDArray[_Kind]:
    """Arrays one behind the other; a lone one as it is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
