"""docs/any-model.md names all that the code accepts."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest

from export.commands import export
from onoma import schemes
from onoma.bundle import Pieces
from onoma.labels import PREFIXES
from onoma.schemes import read_names

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "any-model.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.+)$", TEXT, flags=re.MULTILINE))


def test_every_scheme_has_a_row() -> None:
    assert ROWS.keys() >= set(PREFIXES)
    for scheme, prefixes in PREFIXES.items():
        labels = ROWS[scheme].split("|")[0]
        assert {f"{prefix}-X" for prefix in prefixes} <= set(re.findall(r"`([^`]+)`", labels))


def test_the_table_is_what_is_told_from_the_names() -> None:
    for names, scheme in (
        (("B-X", "I-X", "O"), "iob2"),
        (("B-X", "I-X", "I-Y", "O"), "iob1"),
        (("I-X", "O"), "io"),
        (("X", "O"), "io"),
        (("B-X", "I-X", "E-X", "S-X", "O"), "bioes"),
        (("X", "Y"), "plain"),
    ):
        assert read_names(names).labels.scheme == scheme


@pytest.mark.parametrize(
    "words",
    [schemes.SEPARATORS, schemes.ROLES, schemes.OUTSIDE, (schemes.UNNAMED, schemes.CONTINUES), get_args(Pieces)],
)
def test_every_spelling_is_named(words: Iterable[str]) -> None:
    assert {word for word in words if f"`{word}" not in TEXT and f"`{word.upper()}`" not in TEXT} == set()


def test_every_option_of_its_own_is_named() -> None:
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    [kinds] = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    options = {name: {option for option in sub._option_string_actions} for name, sub in kinds.choices.items()}
    own = options["hf"] - options["student"]
    assert own == {"--labels", "--scheme", "--pieces", "--role"}
    assert {option for option in own if f"| `{option} " not in TEXT} == set()
