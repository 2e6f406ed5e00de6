from __future__ import annotations

import numpy as np
import pytest
from families import texts
from hypothesis import given
from hypothesis import strategies as st

from onoma.characters import EXTENDS, KEPT, MARK, SILENT, SOLID, SPACE, WORD, Characters

BITS = (SPACE, SOLID, MARK, WORD, KEPT, EXTENDS, SILENT)


@given(texts, st.sampled_from(BITS))
def test_runs(text: str, bit: int) -> None:
    characters = Characters(text)
    has = [bool(flags & bit) for flags in characters.flags]
    at = np.arange(1, len(text) + 2)
    for position, end, begin in zip(at, characters.run_end(bit, at), characters.run_begin(bit, at), strict=True):
        assert begin <= position <= end
        assert all(has[begin:end]) and not has[end] and not has[begin - 1]


@given(texts)
def test_every_character_is_space_or_kept_or_silent(text: str) -> None:
    inner = Characters(text).flags[1:-1]
    kinds = [(inner & bit != 0).astype(int) for bit in (SPACE, KEPT, SILENT)]
    assert (sum(kinds) == 1).all()
    assert [bool(flags & SPACE) for flags in inner] == [char.isspace() for char in text]
    assert ((inner & SPACE != 0) ^ (inner & SOLID != 0)).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301x", 2),
        ("हिx", 2),
        ("👨\u200d👩x", 3),
        ("❤\ufe0f", 2),
        ("a\u200d b", 2),
        ("a\u200d\u200db", 4),
        ("ab", 1),
    ],
)
def test_grapheme(text: str, expected: int) -> None:
    """`expected` is where the grapheme of the first character ends."""
    assert Characters(text).run_end(EXTENDS, np.array([2]))[0] == expected + 1


def test_graphemes_end() -> None:
    characters = Characters("a\u0301\u0301\u0301")
    characters.end_graphemes(np.array([3]))
    assert characters.run_end(EXTENDS, np.array([2]))[0] == 3
