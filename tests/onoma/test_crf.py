"""The chain against its definition: every legal sequence of short sentences, textbook recursions for long ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from enumerated import Potentials, enumerated, legal_by_definition, recursions, together
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onoma.crf import Chain
from onoma.labels import LabelSet

LABELS = LabelSet.of_types(["PER", "LOC"])
SHUFFLED = LabelSet(("I-LOC", "B-PER", "O", "B-LOC", "I-PER"))
C = len(LABELS.tags)

Sentence = tuple[np.ndarray, np.ndarray]


def sentence_of(length: int, most: float) -> st.SearchStrategy[Sentence]:
    flags = hnp.arrays(np.bool_, (length,), elements=st.booleans()).map(lambda found: found & (np.arange(length) > 0))
    return st.tuples(hnp.arrays(np.float32, (length, C), elements=st.floats(-most, most, width=32)), flags)


def batches(most: float) -> st.SearchStrategy[list[Sentence]]:
    one = st.integers(1, 5).flatmap(lambda length: sentence_of(length, most))
    return st.lists(one, min_size=1, max_size=3)


potentials = st.builds(
    Potentials.random,
    st.just(C),
    st.integers(0, 99),
    scale=st.sampled_from([0.0, 1.0, 4.0]),
    temperature=st.sampled_from([1.0, 0.4, 2.5]),
)


def check(
    batch: list[Sentence],
    given: Potentials,
    labels: LabelSet = LABELS,
    *,
    by: Callable[..., tuple[float, np.ndarray]] = enumerated,
) -> None:
    """Best sequences, marginals and the scores of the decided tags are those of `by`."""
    emissions, words = np.concatenate([rows for rows, _ in batch]), together([flags for _, flags in batch])
    chain = given.chain(labels)
    tags, logs = chain.decode(emissions, words)
    marginals = np.exp(chain.log_probabilities(emissions, words))
    low = 0
    for rows, continues in batch:
        part = slice(low, low + len(rows))
        low = part.stop
        best, expected = by(rows, continues, labels, given)
        near = 1e-12 * float(np.abs(rows).sum()) / given.temperature
        for found in (tags, chain.best(emissions, words)):
            assert legal_by_definition(tuple(found[part]), continues, labels)
            assert given.score(rows, found[part]) == pytest.approx(best, abs=1e-9 + near)
        np.testing.assert_allclose(marginals[part], expected, atol=1e-9)
        np.testing.assert_allclose(np.exp(logs[part]), expected[range(len(rows)), tags[part]], atol=1e-9)


@given(batches(6.0), potentials, st.sampled_from([LABELS, SHUFFLED]))
def test_short_sentences(batch: list[Sentence], given: Potentials, labels: LabelSet) -> None:
    check(batch, given, labels)


@given(batches(1e4), potentials)
def test_extreme_logits(batch: list[Sentence], given: Potentials) -> None:
    check(batch, given)


@given(st.integers(0, 10_000), st.sampled_from([1.0, 5.0, 20.0, 1e4]), potentials)
def test_long_sentences(seed: int, scale: float, given: Potentials) -> None:
    source = np.random.default_rng(seed)
    batch = []
    for length in source.permutation([1, 90, int(source.integers(2, 60))]):
        continues = source.random(length) < source.choice([0.0, 0.3, 0.9])
        emissions = (scale * source.normal(size=(length, C))).astype(np.float32)
        batch.append((emissions, continues & (np.arange(length) > 0)))
    check(batch, given, by=recursions)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the chain took each of its ways."""
    counts = dict.fromkeys(("_multiplied", "_added", "_improve", "_search"), 0)
    for name in counts:
        original = getattr(Chain, name)

        def counted(*given: object, name: str = name, original: Callable[..., object] = original) -> object:
            counts[name] += 1
            return original(*given)

        monkeypatch.setattr(Chain, name, counted)
    return counts


@pytest.mark.parametrize(("scale", "added"), [(0.0, 0), (3.0, 0), (40.0, 2)])
def test_very_long_sentence(scale: float, added: int, calls: dict[str, int]) -> None:
    source = np.random.default_rng(5)
    continues = source.random(3000) < 0.3
    continues[0] = False
    emissions = (scale * source.normal(size=(3000, C))).astype(np.float32)
    check([(emissions, continues)], Potentials.random(C, 3), by=recursions)
    assert calls["_added"] == added


def test_of_a_long_sentence_only_what_is_unsure_is_searched(calls: dict[str, int]) -> None:
    rows = np.zeros((200, C), dtype=np.float32)
    rows[:, LABELS.outside] = 12
    rows[::40, LABELS.index["B-PER"]] = 12.1
    given, words = Potentials.random(C, 2), together([np.zeros(200, dtype=np.bool_)])
    given.chain(LABELS).decode(rows, words)
    assert 0 < calls["_search"] <= 6  # around the five names
    check([(rows, words.continues)], given, by=recursions)


def random_batch(scale: float, *, sentences: int = 30, seed: int = 0) -> list[Sentence]:
    source = np.random.default_rng(seed)
    found = []
    for length in source.integers(1, 6, size=sentences):
        rows = source.normal(size=(length, C))
        rows[:, LABELS.outside] += 2
        continues = (source.random(length) < 0.3) & (np.arange(length) > 0)
        found.append(((scale * rows).astype(np.float32), continues))
    return found


def test_sure_sentences_need_no_search(calls: dict[str, int]) -> None:
    sure = [(rows, continues) for rows, continues in random_batch(0.0)]
    for rows, _ in sure:
        rows[:, LABELS.outside] = 9
    given = Potentials.random(C, 1, scale=0.5)
    given.chain(LABELS).decode(np.concatenate([rows for rows, _ in sure]), together([flags for _, flags in sure]))
    assert calls == {"_multiplied": 1, "_added": 0, "_improve": 1, "_search": 0}


def test_only_doubtful_sentences_are_searched(calls: dict[str, int]) -> None:
    batch = random_batch(3.0)
    given = Potentials.random(C, 1, scale=0.5)
    given.chain(LABELS).decode(np.concatenate([rows for rows, _ in batch]), together([flags for _, flags in batch]))
    assert calls["_multiplied"] == 1 and calls["_added"] == 0 and calls["_improve"] == 1
    assert 0 < calls["_search"] < len(batch)
    check(batch, given)


def test_logarithms_where_a_float_does_not_do(calls: dict[str, int]) -> None:
    batch = random_batch(1e4)
    given = Potentials.random(C, 1)
    given.chain(LABELS).decode(np.concatenate([rows for rows, _ in batch]), together([flags for _, flags in batch]))
    assert calls["_multiplied"] == calls["_added"] == 1
    check(batch, given)


def test_what_products_lose_is_noticed(calls: dict[str, int]) -> None:
    # The best sequence begins and ends with what a float cannot hold beside the likeliest tag, so that neither
    # direction sees it; what both see becomes worse by little and little, which scaling hides.
    rows = np.full((80, C), -2000, dtype=np.float32)
    rows[0, [LABELS.index["B-LOC"], LABELS.index["B-PER"]]] = 0, -800
    rows[1:, [LABELS.index["I-LOC"], LABELS.index["I-PER"]]] = -40, 0
    rows[-1, [LABELS.index["I-LOC"], LABELS.index["I-PER"]]] = 0, -800
    continues = np.zeros(80, dtype=np.bool_)
    tags, _ = Potentials.random(C, 2).chain(LABELS).decode(rows, together([continues]))
    assert tags.tolist() == [LABELS.index["B-PER"]] + [LABELS.index["I-PER"]] * 79
    assert calls["_added"] == 1
    check([(rows, continues)], Potentials.random(C, 2), by=recursions)


def test_equal_sequences(calls: dict[str, int]) -> None:
    rows = np.zeros((4, C), dtype=np.float32)
    check([(rows, np.array([False, True, False, False]))], Potentials.random(C, 0, scale=0.0))
    assert calls["_search"] > 0


def test_a_sentence_has_the_same_answer_in_any_batch() -> None:
    batch = random_batch(3.0, seed=1) + [
        ((2 * np.random.default_rng(length).normal(size=(length, C))).astype(np.float32), np.zeros(length, np.bool_))
        for length in (33, 200)
    ]
    chain = Potentials.random(C, 4).chain(LABELS)
    tags, logs = chain.decode(np.concatenate([rows for rows, _ in batch]), together([flags for _, flags in batch]))
    low = 0
    for rows, continues in batch:
        own_tags, own_logs = chain.decode(rows, together([continues]))
        part = slice(low, low + len(rows))
        low = part.stop
        assert own_tags.tolist() == tags[part].tolist()
        np.testing.assert_allclose(np.exp(own_logs), np.exp(logs[part]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_that_are_none_end_in_some_answer(bad: float) -> None:
    rows = np.zeros((5, C), dtype=np.float32)
    rows[2, 1] = bad
    tags, _ = Potentials.random(C, 4).chain(LABELS).decode(rows, together([np.zeros(5, dtype=np.bool_)]))
    assert len(tags) == 5
