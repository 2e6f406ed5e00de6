"""What foreign label names mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onoma.errors import LabelError
from onoma.labels import LabelSet, Scheme
from onoma.schemes import read_names

# Names by column, then scheme and tags; a name with the tag "" belongs to a piece that is no word's.
READ: dict[str, tuple[dict[str, str], Scheme]] = {
    "iob2": ({"O": "O", "B-PER": "B-PER", "I-PER": "I-PER"}, "iob2"),
    "lower case and underscores": ({"o": "O", "b_per": "B-per", "i_per": "I-per"}, "iob2"),
    "suffixes": ({"PER-B": "B-PER", "PER-I": "I-PER", "OUTSIDE": "O"}, "iob2"),
    "suffixes with slashes": ({"O": "O", "person name/B": "B-person name", "person name/I": "I-person name"}, "iob2"),
    "separators in types": ({"B-Sign_symptom": "B-Sign_symptom", "I-Sign_symptom": "I-Sign_symptom", "O": "O"}, "iob2"),
    "types like prefixes": ({"B-I": "B-I", "I-I": "I-I", "B-B": "B-B", "O": "O"}, "iob2"),
    "no I": ({"O": "O", "B-PER": "B-PER", "B-LOC": "B-LOC", "I-LOC": "I-LOC"}, "iob2"),
    "some lack B, some lack I": ({"O": "O", "B-PER": "B-PER", "I-LOC": "I-LOC"}, "iob2"),
    "no O": ({"B-W": "B-W", "I-W": "I-W"}, "iob2"),
    "prefixes alone": ({"B": "B-ENTITY", "I": "I-ENTITY", "O": "O"}, "iob2"),
    "special labels": (
        {"[PAD]": "", "O": "O", "B-PER": "B-PER", "X": "", "I-PER": "I-PER", "[CLS]": "", "[SEP]": "", "<pad>": ""},
        "iob2",
    ),
    "PAD": ({"PAD": "", "O": "O", "B-PER": "B-PER", "I-PER": "I-PER"}, "iob2"),
    "iob1 by what is missing": ({"B-LOC": "B-LOC", "I-LOC": "I-LOC", "I-PER": "I-PER", "O": "O"}, "iob1"),
    "io": ({"O": "O", "I-PER": "I-PER", "I-LOC": "I-LOC"}, "io"),
    "bare types": ({"O": "O", "PER": "I-PER", "組織": "I-組織"}, "io"),
    "types with hyphens": ({"O": "O", "E-MAIL": "I-E-MAIL", "NAME": "I-NAME", "X": "I-X"}, "io"),
    "zero is outside": ({"0": "O", ".": "I-.", ",": "I-,", "-": "I--"}, "io"),
    "bioes": ({"S-A": "S-A", "B-A": "B-A", "I-A": "I-A", "E-A": "E-A", "O": "O"}, "bioes"),
    "bilou": ({"O": "O", "B-A": "B-A", "I-A": "I-A", "L-A": "E-A", "U-A": "S-A"}, "bioes"),
    "bmes": ({"O": "O", "A_B": "B-A", "A_M": "I-A", "A_E": "E-A", "A_S": "S-A"}, "bioes"),
    "bioes without E": ({"O": "O", "B-A": "B-A", "I-A": "I-A", "S-A": "S-A"}, "bioes"),
    "ioe": ({"O": "O", "I-A": "I-A", "E-A": "E-A"}, "bioes"),
    "bilou prefixes alone": ({"b": "B-ENTITY", "i": "I-ENTITY", "l": "E-ENTITY", "u": "S-ENTITY", "o": "O"}, "bioes"),
    "parts of speech": ({"NOUN": "NOUN", "X": "X", "ADJ|Case=Nom": "ADJ|Case=Nom", "[PAD]": ""}, "plain"),
    "parts of speech over words": ({"ADJ": "S-ADJ", "B-ADJ": "B-ADJ", "I-ADJ": "I-ADJ", "X": "S-X"}, "bioes"),
}


@pytest.mark.parametrize("name", READ)
def test_read(name: str) -> None:
    names, scheme = READ[name]
    found = read_names(list(names))
    assert found.labels.scheme == scheme
    assert found.labels.tags == tuple(tag for tag in names.values() if tag)
    assert found.columns == tuple(column for column, tag in enumerate(names.values()) if tag)


@pytest.mark.parametrize(
    ("names", "scheme", "tags"),
    [
        (("O", "B-PER", "I-PER"), "iob1", ("O", "B-PER", "I-PER")),
        (("O", "B-LOC", "I-LOC", "I-PER"), "iob2", ("O", "B-LOC", "I-LOC", "I-PER")),
        (("O", "B-PER", "I-PER"), "bioes", ("O", "B-PER", "I-PER")),
        (("NOUN", "VERB"), "io", ("I-NOUN", "I-VERB")),
        (("o", ".", ","), "plain", ("O", ".", ",")),
        (("O", "B-PER", "I-PER", "[SEP]"), "plain", ("O", "B-PER", "I-PER")),
    ],
)
def test_the_scheme_may_be_given(names: tuple[str, ...], scheme: Scheme, tags: tuple[str, ...]) -> None:
    assert read_names(names, scheme=scheme).labels == LabelSet(tags, scheme)


@pytest.mark.parametrize(
    ("names", "scheme", "message"),
    [
        (("LABEL_0", "LABEL_1"), None, r"labels without a meaning: \['LABEL_0', 'LABEL_1'\]"),
        (("O", "LABEL_1"), None, "labels without a meaning"),
        (("0", "1", "2"), None, "labels without a meaning"),
        (("O", "B-X", "B-X"), None, r"duplicate labels: \['B-X'\]"),
        (("O", "0", "B-X"), None, r"several labels mean 'O': \['O', '0'\]"),
        (("O", "B-X", "b-X"), None, r"several labels mean 'B-X': \['B-X', 'b-X'\]"),
        (("O", "B-X", "I-X", "E-X", "L-X"), None, r"several labels mean 'E-X': \['E-X', 'L-X'\]"),
        (("O", "[PAD]"), None, "no label is a type"),
        (("O", "B-X", "I-X", "MISC"), None, r"labels \['MISC'\] have no prefix, unlike 'B-X'"),
        (("O", "B-X", "I_X"), None, r"labels \['I_X'\] have no prefix"),
        (("O", "B-X", "I-X"), "io", "'B-X' is not of scheme io"),
        (("O", "S-X", "B-X", "I-X"), "iob2", "'S-X' is not of scheme iob2"),
        (("O", "X", "Y"), "iob2", r"labels are not of scheme iob2, they have no prefixes: \['X', 'Y'\]"),
    ],
)
def test_refused(names: tuple[str, ...], scheme: Scheme | None, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        read_names(names, scheme=scheme)


kinds = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8).filter(
    lambda kind: not kind.isspace() and kind.casefold() not in ("o", "x")
)


@given(
    st.lists(kinds, min_size=1, max_size=5, unique=True),
    st.sampled_from(["BI", "BIES", "BILU", "BMES"]),
    st.sampled_from("-_/"),
    st.booleans(),
    st.booleans(),
)
def test_types_survive_every_spelling(types: list[str], letters: str, separator: str, last: bool, lower: bool) -> None:
    roles = {"M": "I", "L": "E", "U": "S"}
    tags = {}
    for kind in types:
        for letter in letters:
            own = letter.lower() if lower else letter
            name = f"{kind}{separator}{own}" if last else f"{own}{separator}{kind}"
            tags[name] = f"{roles.get(letter, letter)}-{kind}"
    if last and any(name[1:2] in "-_/" and name[0].upper() in "BIESLUMW" for name in tags):
        return  # could be read either way
    found = read_names(["O", *tags])
    assert found.labels.tags == ("O", *tags.values())
    assert set(found.labels.types) == set(types)
