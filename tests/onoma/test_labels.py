from __future__ import annotations

import pytest

from onoma import Entity, LabelError, LabelSet


def test_of_types() -> None:
    labels = LabelSet.of_types(["PER", "LOC"])
    assert labels.tags == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    assert labels.types == ("PER", "LOC")
    assert labels.outside == 0
    assert labels.type_of == ("", "PER", "PER", "LOC", "LOC")
    assert labels.index["I-LOC"] == 4


def test_order_is_the_models_own() -> None:
    labels = LabelSet(("I-X", "O", "B-X"))
    assert labels.outside == 1
    assert labels.legal.tolist() == [[True, True, True], [False, True, True], [True, True, True]]
    assert labels.legal_within.tolist() == [[True, False, False], [False, True, False], [True, False, False]]
    assert labels.legal_start.tolist() == [False, True, True]
    assert labels.within.tolist() == [0, 1, 0]
    assert labels.legal_moves.tolist() == [labels.legal.tolist(), labels.legal_within.tolist()]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (("O", "O"), "duplicate"),
        (("B-X", "I-X"), "exactly one tag must be 'O'"),
        (("O", "X"), "not IOB2"),
        (("O", "B-"), "not IOB2"),
        (("O", "B-X"), "no partner 'I-X'"),
        (("O", "I-X"), "no partner 'B-X'"),
    ],
)
def test_refused(tags: tuple[str, ...], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        LabelSet(tags)


def test_shifted() -> None:
    assert Entity(1, 2, "PER", 0.5).shifted(3) == Entity(4, 5, "PER", 0.5)
