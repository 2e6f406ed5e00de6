from __future__ import annotations

import numpy as np
from enumerated import together
from hypothesis import given
from hypothesis import strategies as st

from onoma.words import Packing, Words

sentences = st.lists(
    st.lists(st.booleans(), min_size=1, max_size=12).map(lambda flags: np.array([False, *flags[1:]])),
    min_size=1,
    max_size=6,
)


def test_words_by_hand() -> None:
    words = Words(np.array([False, True, True, False, False, False, True]), np.array([0, 4]))
    assert words.first_pieces.tolist() == [0, 3, 4, 5]
    assert words.first_words.tolist() == [0, 2]
    assert words.lengths.tolist() == [2, 2]
    assert words.several.tolist() == [1, 0, 0, 1]
    assert words.of_piece.tolist() == [0, 0, 0, 1, 2, 3, 3]
    pieces, second = words.only(np.array([False, True]))
    assert pieces.tolist() == [False] * 4 + [True] * 3
    assert second.continues.tolist() == [False, False, True] and second.begins.tolist() == [0]


@given(sentences)
def test_a_packing_reads_every_sentence_in_both_directions(continues: list[np.ndarray]) -> None:
    words = together(continues)
    packing = Packing.of(words)
    numbers = np.arange(len(words.first_pieces))
    forward, backward = numbers[packing.forward], numbers[packing.backward]
    assert sorted(forward) == sorted(backward) == numbers.tolist()
    assert (backward[packing.turned] == forward).all()
    order = np.arange(len(continues))[packing.sentences]
    for rank, sentence in enumerate(order):
        own = [int(forward[low + rank]) for low, count in packing.steps if rank < count]
        first = int(words.first_words[sentence])
        assert own == list(range(first, first + int(words.lengths[sentence])))
        assert own[::-1] == [int(backward[low + rank]) for low, count in packing.steps if rank < count]
        assert forward[packing.lasts][rank] == own[-1]
    assert sum(count for _, count in packing.steps) == len(numbers)
