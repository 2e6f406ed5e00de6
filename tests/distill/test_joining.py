"""Joined examples: every piece kept, one language each, within the limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from distill.dataset import Packed, concatenate, pack, training_encoder
from distill.joining import join_examples


def packed(lengths: list[int], languages: list[int]) -> Packed:
    """Piece ids count up, so that every piece is its own."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(offsets[-1], dtype=np.uint16)
    return Packed(ids, (ids % 7).astype(np.int8), offsets, np.array(languages, dtype=np.int16), ("de", "en", "th"))


examples = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=60)


@given(examples, st.sampled_from([0.0, 0.3, 1.0]), st.integers(2, 5), st.integers(1, 90))
def test_nothing_is_lost_and_limits_hold(
    drawn: list[tuple[int, int]], share: float, most: int, longest: int
) -> None:
    lengths, languages = [length for length, _ in drawn], [language for _, language in drawn]
    data = packed(lengths, languages)
    joined = join_examples(data, share=share, most=most, longest=longest, seed=3)
    assert sorted(joined.ids.tolist()) == data.ids.tolist()
    assert (joined.tags == joined.ids % 7).all()
    assert joined.offsets[0] == 0 and joined.offsets[-1] == data.pieces and (joined.lengths >= 0).all()
    assert len(joined.offsets) == len(joined.language) + 1
    owner = np.repeat(np.arange(len(data)), data.lengths)
    for number, language in enumerate(joined.language):
        own = owner[joined.ids[joined.offsets[number] : joined.offsets[number + 1]]]
        sources = list(dict.fromkeys(own.tolist()))
        assert all(languages[source] == language for source in sources)
        assert len(sources) <= most
        assert len(sources) <= 1 or len(own) <= longest
        # Each example is there whole and in its own order.
        assert own.tolist() == [source for source in sources for _ in range(lengths[source])]


def test_all_examples_of_a_language_are_joined_when_asked() -> None:
    data = packed([5] * 90, [0] * 30 + [1] * 30 + [2] * 30)
    joined = join_examples(data, share=1.0, most=3)
    # Only the last group of a language can be left with one example.
    assert (joined.lengths == 5).sum() <= 3
    assert set(joined.lengths.tolist()) <= {5, 10, 15}
    assert len(join_examples(data, share=0.0)) == 90


def test_the_same_seed_draws_the_same() -> None:
    data = packed([3] * 50, [1] * 50)
    one, two = join_examples(data, share=0.5, seed=1), join_examples(data, share=0.5, seed=1)
    assert (one.ids == two.ids).all() and (one.offsets == two.offsets).all()
    assert (join_examples(data, share=0.5, seed=2).ids != one.ids).any()


def test_texts_are_joined_like_their_pieces(tokenizer: Tokenizer) -> None:
    words = ["Ada works.", "東京", "Tove, of Sira", "река", "nie.", "Omar ...", "“Igor”", "1805"] * 3
    parts = [
        pack(((word, None) for word in words), tokenizer=tokenizer, language=language, keep_texts=True)
        for language in ("de", "en")
    ]
    joined = join_examples(concatenate(parts), share=0.7, most=3)
    assert joined.texts is not None and len(joined.texts) == len(joined) < 2 * len(words)
    assert sorted(" ".join(joined.texts).split()) == sorted(" ".join(words * 2).split())
    encoded = training_encoder(tokenizer).encode(joined.texts)
    for number, one in enumerate(encoded):
        low, high = joined.offsets[number], joined.offsets[number + 1]
        assert np.concatenate(one.inputs).tolist() == joined.ids[low:high].tolist()


def test_no_examples_with_texts() -> None:
    none = replace(packed([], []), texts=())
    assert join_examples(none, share=0.5).texts == () and len(join_examples(none, share=0.5)) == 0


def test_wrong_settings_are_named() -> None:
    data = packed([3], [0])
    with pytest.raises(ValueError, match=r"share must be in 0\.\.1, got 1\.5"):
        join_examples(data, share=1.5)
    with pytest.raises(ValueError, match="most must be at least 2, got 1"):
        join_examples(data, share=0.5, most=1)
