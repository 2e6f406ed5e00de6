"""Mention replacement on sentences whose pieces tell where they come from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from distill.dataset import LABELS, NO_TAG, Packed
from distill.mentions import latin_pieces, replace_mentions

LATIN = np.ones(1 << 16, dtype=np.bool_)
COLUMNS = LABELS.index


def build(examples: list[tuple[int, list[tuple[int, str]]]]) -> Packed:
    """Packed of (language, [(piece, tag)])."""
    offsets = np.concatenate([[0], np.cumsum([len(pieces) for _, pieces in examples])]).astype(np.int64)
    flat = [entry for _, pieces in examples for entry in pieces]
    return Packed(
        np.array([piece for piece, _ in flat], dtype=np.uint16),
        np.array([NO_TAG if tag == "" else COLUMNS[tag] for _, tag in flat], dtype=np.int8),
        offsets,
        np.array([language for language, _ in examples], dtype=np.int16),
        ("de", "en", "ru"),
    )


def mentions(data: Packed, example: int) -> list[tuple[str, tuple[int, ...]]]:
    """(type, pieces) of the entities of one example."""
    found: list[tuple[str, list[int]]] = []
    for at in range(data.offsets[example], data.offsets[example + 1]):
        tag = LABELS.tags[data.tags[at]] if data.tags[at] >= 0 else "O"
        if tag.startswith("B-"):
            found.append((tag[2:], []))
        if tag != "O":
            found[-1][1].append(int(data.ids[at]))
    return [(label, tuple(pieces)) for label, pieces in found]


def rest(data: Packed, example: int) -> list[int]:
    low, high = data.offsets[example], data.offsets[example + 1]
    return [int(piece) for piece, tag in zip(data.ids[low:high], data.tags[low:high], strict=True) if tag <= 0]


# An example: words outside, and entities of one to three pieces.
part = st.one_of(
    st.tuples(st.just("O"), st.just(1)), st.tuples(st.sampled_from(["PER", "ORG", "LOC"]), st.integers(1, 3))
)
examples = st.lists(st.tuples(st.integers(0, 2), st.lists(part, max_size=6)), min_size=1, max_size=12)


@given(examples, st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 3))
def test_types_and_sentences_stay(drawn: list[tuple[int, list[tuple[str, int]]]], share: float, seed: int) -> None:
    number = 0
    made = []
    for language, parts in drawn:
        pieces: list[tuple[int, str]] = []
        for label, size in parts:
            for at in range(size):
                number += 1
                tag = "O" if label == "O" else ("B-" if at == 0 else "I-") + label
                pieces.append((number, tag))
        made.append((language, pieces))
    data = build(made)
    changed = replace_mentions(data, latin=LATIN, share=share, seed=seed)
    assert len(changed) == len(data) and (changed.language == data.language).all()
    everything = {mention for example in range(len(data)) for mention in mentions(data, example)}
    for example in range(len(data)):
        assert rest(changed, example) == rest(data, example)
        before, after = mentions(data, example), mentions(changed, example)
        assert [label for label, _ in after] == [label for label, _ in before]
        assert set(after) <= everything, "whole entities of the same type"
        if share == 0:
            assert after == before


def test_other_scripts_stay_in_their_language() -> None:
    latin = LATIN.copy()
    latin[100:] = False
    data = build([(1, [(1, "B-PER")])] * 40 + [(0, [(2, "B-PER")])] * 40 + [(2, [(100, "B-PER"), (101, "I-PER")])] * 40)
    changed = replace_mentions(data, latin=latin, share=1.0)
    found: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for example in range(len(changed)):
        found[int(changed.language[example])] |= {piece for _, own in mentions(changed, example) for piece in own}
    assert found == {0: {1, 2}, 1: {1, 2}, 2: {100, 101}}


def test_neighbouring_examples_and_entities_keep_their_borders() -> None:
    data = build(
        [(0, [(1, "B-PER"), (2, "I-PER")]), (0, [(3, "I-PER"), (4, "B-PER"), (5, "B-ORG")]), (0, [(6, ""), (7, "")])]
    )
    changed = replace_mentions(data, latin=LATIN, share=1.0, seed=5)
    first = mentions(changed, 0)
    assert first in ([("PER", (1, 2))], [("PER", (4,))]), "an entity ends with its example"
    assert changed.ids[-2:].tolist() == [6, 7] and changed.tags[-2:].tolist() == [NO_TAG, NO_TAG]


def test_a_very_long_mention_takes_no_other_place() -> None:
    long = [(10 + at, "B-ORG" if at == 0 else "I-ORG") for at in range(20)]
    data = build([(0, long)] + [(0, [(1, "B-ORG")])] * 30)
    changed = replace_mentions(data, latin=LATIN, share=1.0)
    assert changed.ids.tolist() == [1] * 31


def test_listed_names_join_in_where_their_type_and_script_fit() -> None:
    latin = LATIN.copy()
    latin[100:] = False
    names = build([(0, [(50, "B-ORG"), (51, "I-ORG")]), (0, [(52, "B-ORG")])])
    data = build(
        [(1, [(1, "B-ORG"), (9, "O")])] * 200 + [(1, [(2, "B-PER")])] * 50 + [(2, [(100, "B-ORG"), (9, "O")])] * 50
    )
    changed = replace_mentions(data, latin=latin, share=1.0, names=names)
    found = [mentions(changed, example)[0] for example in range(len(changed))]
    listed = [mention for mention in found if mention[1][0] >= 50 and mention[1][0] < 100]
    assert set(listed) == {("ORG", (50, 51)), ("ORG", (52,))}
    assert 25 <= len(listed) <= 75, "half of the half that comes from anywhere"
    assert all(mention == ("PER", (2,)) for mention in found[200:250])
    assert all(mention == ("ORG", (100,)) for mention in found[250:])
    assert [rest(changed, example) for example in range(200)] == [[9]] * 200
    nothing = build([])
    same = replace_mentions(data, latin=latin, share=1.0, names=nothing)
    assert {int(piece) for piece in same.ids} == {1, 2, 9, 100}


def test_without_entities_nothing_changes() -> None:
    data = build([(0, [(1, "O"), (2, "")])])
    assert replace_mentions(data, latin=LATIN, share=1.0) is data
    with pytest.raises(ValueError, match=r"share must be in 0\.\.1, got -1"):
        replace_mentions(data, latin=LATIN, share=-1)


def test_latin_pieces() -> None:
    vocabulary = [("<unk>", 0.0), ("▁Köln", -1.0), ("▁Москва", -1.0), ("東", -1.0), ("▁(", -1.0), ("aб", -1.0)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    found = latin_pieces(tokenizer)
    assert [bool(found[tokenizer.token_to_id(piece)]) for piece, _ in vocabulary] == [
        True, True, False, False, True, False
    ]
