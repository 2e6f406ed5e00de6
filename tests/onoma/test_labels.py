from __future__ import annotations

import pytest

from onoma import Entity, LabelError, LabelSet
from onoma.labels import Scheme


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
    starts = labels.legal_start.tolist()
    assert labels.legal_moves.tolist() == [[*labels.legal.tolist(), starts], [*labels.legal_within.tolist(), starts]]


@pytest.mark.parametrize(
    ("scheme", "tags", "message"),
    [
        ("iob2", ("O", "O"), "duplicate"),
        ("iob2", ("O", "X"), "'X' is not of scheme iob2: expected O, B-TYPE or I-TYPE"),
        ("iob2", ("O", "B-"), "'B-' is not of scheme iob2"),
        ("iob2", ("O", "S-X"), "'S-X' is not of scheme iob2"),
        ("io", ("O", "B-X"), "'B-X' is not of scheme io: expected O, I-TYPE"),
        ("bioes", ("O", "L-X"), "'L-X' is not of scheme bioes"),
        ("bioes", ("B-X", "E-X"), "no tag fits a sentence of one word"),
        ("plain", ("", "X"), "a tag is empty"),
        ("iob3", ("O",), "scheme must be one of iob2, iob1, io, bioes, plain, got 'iob3'"),
    ],
)
def test_refused(scheme: Scheme, tags: tuple[str, ...], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        LabelSet(tags, scheme)


def test_a_set_without_o() -> None:
    with pytest.raises(LabelError, match="no tag is 'O'"):
        print(LabelSet(("NOUN", "VERB"), "plain").outside)


def test_types_of_every_scheme() -> None:
    assert LabelSet(("I-B", "O", "B-A", "I-A", "B-B")).types == ("A", "B")
    assert LabelSet(("I-B", "O", "I-A"), "io").types == ("B", "A")
    assert LabelSet(("E-B", "S-A", "B-B", "O"), "bioes").types == ("A", "B")
    assert LabelSet(("B-A", "O", "person name", "組織"), "plain").types == ("B-A", "person name", "組織")


def test_types_without_a_tag_inside_a_word() -> None:
    labels = LabelSet(("O", "B-X", "E-X", "B-Y", "I-Y", "E-Y", "S-Z"), "bioes")
    assert labels.single_pieces == ("X",)
    assert LabelSet.of_types(["X"]).single_pieces == ()


def test_shifted() -> None:
    assert Entity(1, 2, "PER", 0.5).shifted(3) == Entity(4, 5, "PER", 0.5)
