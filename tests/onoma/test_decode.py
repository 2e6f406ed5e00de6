from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onoma.decode import decode, is_legal, log_softmax, spans_of, viterbi
from onoma.labels import LabelSet

LABELS = LabelSet.of_types(["PER", "LOC"])
C = len(LABELS.tags)


def emissions_of(length: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, (length, C), elements=st.floats(-8, 8, width=32))


cases = st.integers(1, 5).flatmap(
    lambda length: st.tuples(emissions_of(length), hnp.arrays(np.bool_, (length,), elements=st.booleans()))
)
long_cases = st.integers(1, 40).flatmap(
    lambda length: st.tuples(emissions_of(length), hnp.arrays(np.bool_, (length,), elements=st.booleans()))
)


def legal_by_definition(tags: tuple[int, ...], continues: np.ndarray) -> bool:
    """IOB2 and whole words, spelled out without the tables of LabelSet."""
    names = [LABELS.tags[tag] for tag in tags]
    for at, name in enumerate(names):
        before = names[at - 1] if at else "O"
        if name.startswith("I-") and before[2:] != name[2:]:
            return False
        if at and continues[at] and name != ("O" if before == "O" else "I-" + before[2:]):
            return False
    return True


@given(cases)
def test_viterbi_is_the_best_legal_sequence(case: tuple[np.ndarray, np.ndarray]) -> None:
    emissions, continues = case
    rows = np.arange(len(emissions))
    legal = [
        tags for tags in itertools.product(range(C), repeat=len(emissions)) if legal_by_definition(tags, continues)
    ]
    best = max(float(emissions[rows, list(tags)].sum(dtype=np.float64)) for tags in legal)
    found = viterbi(emissions, continues, LABELS)
    assert legal_by_definition(tuple(found), continues)
    assert float(emissions[rows, found].sum(dtype=np.float64)) == pytest.approx(best, abs=1e-3)


@given(long_cases)
def test_decoded_is_legal_and_spans_are_ordered(case: tuple[np.ndarray, np.ndarray]) -> None:
    emissions, continues = case
    tags = viterbi(emissions, continues, LABELS)
    assert is_legal(tags, continues, LABELS) and legal_by_definition(tuple(tags), continues)
    spans = spans_of(tags, LABELS)
    assert all(first < last for first, last, _ in spans)
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    # A word is wholly in or out.
    for first, last, _ in spans:
        assert not continues[first] or first == 0
        assert last == len(tags) or not continues[last]


@given(st.lists(st.integers(0, C - 1), min_size=1, max_size=5), st.data())
def test_is_legal_matches_the_definition(tags: list[int], data: st.DataObject) -> None:
    continues = np.array(data.draw(st.lists(st.booleans(), min_size=len(tags), max_size=len(tags))))
    assert is_legal(np.array(tags), continues, LABELS) == legal_by_definition(tuple(tags), continues)


def test_decode_scores() -> None:
    emissions = np.log(
        np.array([[0.2, 0.8, 1e-9, 1e-9, 1e-9], [0.5, 1e-9, 0.5, 1e-9, 1e-9], [0.9, 0.1, 1e-9, 1e-9, 1e-9]], np.float32)
    )
    at = np.array([0, 3, 7])
    entities, confidence = decode(
        emissions, starts=at, ends=at + 3, continues=np.array([False, True, False]), labels=LABELS
    )
    assert [(entity.start, entity.end, entity.label) for entity in entities] == [(0, 6, "PER")]
    assert entities[0].score == pytest.approx((0.8 * 0.5) ** 0.5, rel=1e-4)
    assert confidence == pytest.approx(0.5, rel=1e-4)


def test_decode_nothing() -> None:
    none = np.empty(0, dtype=np.int64)
    assert decode(
        np.empty((0, C), np.float32), starts=none, ends=none, continues=np.empty(0, np.bool_), labels=LABELS
    ) == ([], 1.0)


@given(long_cases, st.floats(0.1, 10))
def test_log_softmax_sums_to_one(case: tuple[np.ndarray, np.ndarray], temperature: float) -> None:
    assert np.allclose(np.exp(log_softmax(case[0], temperature)).sum(axis=-1), 1, atol=1e-4)
