from __future__ import annotations

import numpy as np
import pytest
from enumerated import Potentials, enumerated, legal_by_definition, together
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onoma.crf import Chain
from onoma.decode import Decoder, Softmax, decode, illegal, spans_of
from onoma.encoding import Segment
from onoma.labels import Entity, LabelSet

LABELS = LabelSet.of_types(["PER", "LOC"])
C = len(LABELS.tags)
SOFTMAX = Softmax(LABELS)
CRF = Potentials.random(C, 1, scale=0.5).chain(LABELS)


def sentence_of(length: int) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    flags = hnp.arrays(np.bool_, (length,), elements=st.booleans()).map(lambda found: found & (np.arange(length) > 0))
    return st.tuples(hnp.arrays(np.float32, (length, C), elements=st.floats(-8, 8, width=32)), flags)


cases = st.integers(1, 5).flatmap(sentence_of)
long_cases = st.integers(1, 40).flatmap(sentence_of)


def segment(continues: np.ndarray) -> Segment:
    """Pieces of three characters, two apart."""
    at = 5 * np.arange(len(continues))
    return Segment(ids=at, starts=at, ends=at + 3, continues=continues, windows=())


def decode_one(
    emissions: np.ndarray, continues: np.ndarray, *, decoder: Decoder = SOFTMAX
) -> tuple[list[Entity], float]:
    [entities], [confidence] = decode([segment(continues)], [emissions], decoder=decoder, labels=LABELS)
    return entities, confidence


@given(cases)
def test_softmax_decides_for_the_best_legal_sequence(case: tuple[np.ndarray, np.ndarray]) -> None:
    emissions, continues = case
    nothing = Potentials.random(C, 0, scale=0.0)
    best, _ = enumerated(emissions, continues, LABELS, nothing)
    tags, logs = SOFTMAX.decode(emissions, together([continues]))
    assert legal_by_definition(tuple(tags), continues, LABELS)
    assert nothing.score(emissions, tags) == pytest.approx(best, abs=1e-6)
    every = SOFTMAX.log_probabilities(emissions, together([continues]))
    assert logs.tolist() == every[range(len(tags)), tags].tolist()


@given(st.lists(long_cases, min_size=1, max_size=3), st.sampled_from([SOFTMAX, CRF]))
def test_decoded_is_legal_and_spans_are_ordered(batch: list[tuple[np.ndarray, np.ndarray]], decoder: Decoder) -> None:
    words = together([continues for _, continues in batch])
    tags, _ = decoder.decode(np.concatenate([emissions for emissions, _ in batch]), words)
    assert illegal(tags, words, LABELS) is None
    begins, ends = spans_of(tags, words, LABELS)
    assert (begins < ends).all() and (ends[:-1] <= begins[1:]).all()
    # A word is wholly in or out, and so is a sentence.
    continues = np.append(words.continues, False)
    assert not continues[begins].any() and not continues[ends].any()
    for first in words.begins:
        assert not ((begins < first) & (first < ends)).any()


@given(st.lists(st.lists(st.integers(0, C - 1), min_size=1, max_size=5), min_size=1, max_size=3), st.data())
def test_illegal_matches_the_definition(sentences: list[list[int]], data: st.DataObject) -> None:
    continues = [
        np.array([False, *data.draw(st.lists(st.booleans(), min_size=len(tags) - 1, max_size=len(tags) - 1))])
        for tags in sentences
    ]
    expected = [
        not legal_by_definition(tuple(tags), own, LABELS) for tags, own in zip(sentences, continues, strict=True)
    ]
    found = illegal(np.concatenate(sentences), together(continues), LABELS)
    assert (found is None and not any(expected)) or (found is not None and found.tolist() == expected)


def test_softmax_scores() -> None:
    emissions = np.log(
        np.array([[0.2, 0.8, 1e-9, 1e-9, 1e-9], [0.5, 1e-9, 0.5, 1e-9, 1e-9], [0.9, 0.1, 1e-9, 1e-9, 1e-9]], np.float32)
    )
    entities, confidence = decode_one(emissions, np.array([False, True, False]))
    assert [(entity.start, entity.end, entity.label) for entity in entities] == [(0, 8, "PER")]
    assert entities[0].score == pytest.approx((0.8 * 0.5) ** 0.5, rel=1e-4)
    assert confidence == pytest.approx(0.5, rel=1e-4)


@given(cases)
def test_crf_scores_are_marginals(case: tuple[np.ndarray, np.ndarray]) -> None:
    emissions, continues = case
    entities, confidence = decode_one(emissions, continues, decoder=CRF)
    tags, _ = CRF.decode(emissions, together([continues]))
    _, marginals = enumerated(emissions, continues, LABELS, Potentials.random(C, 1, scale=0.5))
    decided = marginals[range(len(tags)), tags]
    assert confidence == pytest.approx(decided.min(), abs=1e-9)
    places = spans_of(tags, together([continues]), LABELS)
    spans = list(zip(*(found.tolist() for found in places), strict=True))
    assert [(entity.start, entity.end) for entity in entities] == [(5 * a, 5 * b - 2) for a, b in spans]
    for entity, (first, last) in zip(entities, spans, strict=True):
        assert entity.score == pytest.approx(decided[first:last].prod() ** (1 / (last - first)), abs=1e-9)


@pytest.mark.parametrize("decoder", [SOFTMAX, CRF])
def test_segments_together_are_as_alone(decoder: Softmax | Chain) -> None:
    source = np.random.default_rng(0)
    lengths = [1, 2, 700, 1, 30, 5000, 3, *source.integers(1, 40, size=300)]  # more than are decoded together
    emissions = [source.normal(size=(length, C)).astype(np.float32) for length in lengths]
    segments = [segment((source.random(length) < 0.3) & (np.arange(length) > 0)) for length in lengths]
    entities, confidences = decode(segments, emissions, decoder=decoder, labels=LABELS)
    for own, rows, found, confidence in zip(segments, emissions, entities, confidences, strict=True):
        alone, sure = decode_one(rows, own.continues, decoder=decoder)
        assert [(e.start, e.end, e.label) for e in found] == [(e.start, e.end, e.label) for e in alone]
        assert [e.score for e in found] == pytest.approx([e.score for e in alone], abs=1e-9)
        assert confidence == pytest.approx(sure, abs=1e-9)


@pytest.mark.parametrize("decoder", [SOFTMAX, CRF])
def test_decode_nothing(decoder: Decoder) -> None:
    assert decode([], [], decoder=decoder, labels=LABELS) == ([], [])


@given(long_cases, st.floats(0.1, 10))
def test_probabilities_sum_to_one(case: tuple[np.ndarray, np.ndarray], temperature: float) -> None:
    emissions, continues = case
    words = together([continues])
    chain = Potentials.random(C, 2, temperature=temperature).chain(LABELS)
    for decoder in (Softmax(LABELS, temperature=temperature), chain):
        sums = np.exp(decoder.log_probabilities(emissions, words)).sum(axis=-1)
        assert np.allclose(sums, 1, atol=1e-4)
