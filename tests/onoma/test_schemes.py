"""Every scheme against its definition: all sequences of tags, legality, spans and the best legal sequence."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from enumerated import together
from hypothesis import given, settings
from hypothesis import strategies as st
from readings import SETS, entities_of, every_sequence, names, pieces_entities

from onoma.decode import Softmax, decode, illegal, spans_of
from onoma.encoding import Segment
from onoma.labels import PREFIXES, LabelSet

every_set = pytest.mark.parametrize("name", SETS)
few = settings(max_examples=25)  # of each set


def test_every_scheme_is_here() -> None:
    assert {labels.scheme for labels in SETS.values()} == set(PREFIXES)


def flags(length: int) -> list[np.ndarray]:
    """Every way in which pieces make words."""
    return [np.array([False, *own]) for own in itertools.product([False, True], repeat=length - 1)]


@every_set
def test_legality_and_spans_are_the_schemes(name: str) -> None:
    labels = SETS[name]
    sentences = [
        (tags, continues)
        for length in (1, 2, 3)
        for tags in every_sequence(length, labels)
        for continues in flags(length)
    ]
    tags = np.concatenate([own for own, _ in sentences])
    words = together([continues for _, continues in sentences])
    wanted = [pieces_entities(names(own, labels), continues, labels) for own, continues in sentences]
    wrong = illegal(tags, words, labels)
    assert (np.zeros(len(sentences), bool) if wrong is None else wrong).tolist() == [one is None for one in wanted]
    # All legal ones, one behind the other.
    legal = np.array([one is not None for one in wanted])
    kept, words = words.only(legal)
    begins, ends = spans_of(tags[kept], words, labels)
    found = [labels.type_of[column] for column in tags[kept][begins]]
    assert list(zip(begins.tolist(), ends.tolist(), found, strict=True)) == [
        (low + start, low + end, kind)
        for low, spans in zip(words.begins.tolist(), itertools.compress(wanted, legal), strict=True)
        for start, end, kind in spans or ()
    ]


def emissions_of(length: int, labels: LabelSet) -> st.SearchStrategy[np.ndarray]:
    return st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).normal(0, 3, (length, len(labels.tags))).astype(np.float32)
    )


@every_set
@few
@given(st.data())
def test_the_best_legal_sequence_of_pieces(name: str, data: st.DataObject) -> None:
    labels = SETS[name]
    length = data.draw(st.integers(1, 3 if len(labels.tags) > 7 else 4))
    rows, continues = data.draw(emissions_of(length, labels)), data.draw(st.sampled_from(flags(length)))
    scores = {
        tags: rows[range(length), tags].sum()
        for tags in every_sequence(length, labels)
        if pieces_entities(names(tags, labels), continues, labels) is not None
    }
    tags, _ = Softmax(labels).decode(rows, together([continues]))
    assert scores[tuple(tags.tolist())] == pytest.approx(max(scores.values()), abs=1e-4)


@every_set
@few
@given(st.data())
def test_the_first_piece_speaks_for_its_word(name: str, data: st.DataObject) -> None:
    """Entities of a text are those of the best legal sequence of its words; the other pieces say nothing."""
    labels = SETS[name]
    segments, emissions, wanted = [], [], []
    for _ in range(data.draw(st.integers(1, 3))):
        length = data.draw(st.integers(1, 4))
        rows, continues = data.draw(emissions_of(length, labels)), data.draw(st.sampled_from(flags(length)))
        at = 5 * np.arange(length)
        segments.append(Segment(ids=at, starts=at, ends=at + 3, continues=continues, windows=()))
        emissions.append(rows)
        first = np.flatnonzero(~continues)
        last = np.append(first[1:], length) - 1
        if len(labels.tags) ** len(first) > 1000:
            first, last = first[:3], np.append(last[:2], length - 1)
            continues[first[-1] + 1 :] = True
        legal = [
            (rows[first, list(tags)].sum(), spans)
            for tags in every_sequence(len(first), labels)
            if (spans := entities_of(names(tags, labels), labels)) is not None
        ]
        _, best = max(legal)
        wanted.append([(5 * int(first[start]), 5 * int(last[end - 1]) + 3, kind) for start, end, kind in best])
    found, confidences = decode(segments, emissions, decoder=Softmax(labels), labels=labels, pieces="first")
    assert [[(one.start, one.end, one.label) for one in own] for own in found] == wanted
    for own, rows, segment, confidence in zip(found, emissions, segments, confidences, strict=True):
        chances = np.exp(rows - np.logaddexp.reduce(rows, axis=1, keepdims=True))[~segment.continues]
        assert 0 < confidence <= chances.max(axis=1).min() + 1e-5  # of float32
        assert all(0 < one.score <= chances.max() + 1e-5 for one in own)


def test_scores_of_first_pieces() -> None:
    labels = SETS["bioes"]
    chances = np.full((4, 9), 1e-9, np.float32)
    for piece, (tag, chance) in enumerate([("B-PER", 0.8), ("O", 0.9), ("E-PER", 0.5), ("O", 0.9)]):
        chances[piece, labels.index[tag]] = chance
    at = 5 * np.arange(4)
    segment = Segment(ids=at, starts=at, ends=at + 3, continues=np.array([False, True, False, True]), windows=())
    rows = np.log(chances / chances.sum(axis=1, keepdims=True))
    [[entity]], [confidence] = decode([segment], [rows], decoder=Softmax(labels), labels=labels, pieces="first")
    assert (entity.start, entity.end, entity.label) == (0, 18, "PER")
    shares = chances.max(axis=1) / chances.sum(axis=1)
    assert entity.score == pytest.approx((shares[0] * shares[2]) ** 0.5, rel=1e-5)
    assert confidence == pytest.approx(min(shares[0], shares[2]), rel=1e-5)


@pytest.mark.parametrize("scale", [0.5, 4.0])
@every_set
def test_long_batches_are_legal_and_as_alone(name: str, scale: float) -> None:
    labels, source = SETS[name], np.random.default_rng(0)
    decoder = Softmax(labels)
    batch = []
    for length in source.integers(1, 60, size=12):
        continues = (source.random(length) < 0.4) & (np.arange(length) > 0)
        batch.append(((scale * source.normal(size=(length, len(labels.tags)))).astype(np.float32), continues))
    words = together([continues for _, continues in batch])
    tags, _ = decoder.decode(np.concatenate([rows for rows, _ in batch]), words)
    assert illegal(tags, words, labels) is None
    alone = [decoder.decode(rows, together([continues]))[0] for rows, continues in batch]
    assert tags.tolist() == np.concatenate(alone).tolist()
