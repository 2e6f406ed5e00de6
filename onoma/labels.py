"""Label sets and spans: the tags of every scheme, which of them may follow which, entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onoma.errors import LabelError

Scheme = Literal["iob2", "iob1", "io", "bioes", "plain"]
PREFIXES: dict[Scheme, str] = {"iob2": "BI", "iob1": "BI", "io": "I", "bioes": "BIES", "plain": ""}
"""What may stand before a type in the tags of each scheme."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A named entity: half-open code-point offsets into the text, its type, and a score in 0..1."""

    start: int
    end: int
    label: str
    score: float

    def shifted(self, by: int) -> Entity:
        """The same entity in a text that has `by` more characters before it."""
        return replace(self, start=self.start + by, end=self.end + by)


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of tags; position is the model's output column.

    `O` is outside of every entity; there may be a set without it. Any other tag is a prefix, a hyphen and a type:

    - iob2: B-X begins an entity, I-X goes on in it.
    - iob1: I-X goes on in an entity or, where there is none of X to go on in, begins one; B-X always begins one.
    - io: I-X alone; neighbours of the same type are one entity.
    - bioes: B-X begins, I-X goes on in and E-X ends an entity of several words, S-X is one of a single word.
    - plain: tags are types without a prefix, and every word that has one is an entity: parts of speech.

    A set may lack tags. A type without B-X begins with whatever it has; without E-X it may end anywhere.
    """

    tags: tuple[str, ...]
    scheme: Scheme = "iob2"

    def __post_init__(self) -> None:
        if self.scheme not in PREFIXES:
            raise LabelError(f"scheme must be one of {', '.join(PREFIXES)}, got {self.scheme!r}")
        if len(set(self.tags)) != len(self.tags):
            raise LabelError(f"duplicate tags in {list(self.tags)}")
        prefixes = PREFIXES[self.scheme]
        for tag in self.tags:
            if not tag:
                raise LabelError(f"a tag is empty in {list(self.tags)}")
            if prefixes and tag != "O" and (tag[0] not in prefixes or tag[1:2] != "-" or not tag[2:]):
                forms = " or ".join(f"{prefix}-TYPE" for prefix in prefixes)
                raise LabelError(f"tag {tag!r} is not of scheme {self.scheme}: expected O, {forms}")
        if not (self.legal_start & self.legal_end).any():
            raise LabelError(f"no tag fits a sentence of one word: O is missing, and S-TYPE, in {list(self.tags)}")

    @classmethod
    def of_types(cls, types: Sequence[str]) -> LabelSet:
        """IOB2: O, then B- and I- of each type in the order given."""
        return cls(("O", *(f"{prefix}-{name}" for name in types for prefix in "BI")))

    @cached_property
    def index(self) -> dict[str, int]:
        """Column of each tag."""
        return {tag: column for column, tag in enumerate(self.tags)}

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Entity types, in column order of the tags that begin them."""
        order = sorted(range(len(self.tags)), key=lambda column: not self.begins[column])
        return tuple(dict.fromkeys(self.type_of[column] for column in order if self.type_of[column]))

    @cached_property
    def type_of(self) -> tuple[str, ...]:
        """Entity type of each column; empty for `O`."""
        cut = 2 if PREFIXES[self.scheme] else 0
        return tuple("" if tag == "O" else tag[cut:] for tag in self.tags)

    @cached_property
    def outside(self) -> int:
        """Column of `O`.

        :raises LabelError: if there is none.
        """
        if "O" not in self.index:
            raise LabelError(f"no tag is 'O' in {list(self.tags)}")
        return self.index["O"]

    @cached_property
    def is_outside(self) -> NDArray[np.bool_]:
        """(C,) whether the tag is `O`."""
        return self._has("O")

    @cached_property
    def begins(self) -> NDArray[np.bool_]:
        """(C,) whether the tag begins an entity wherever it stands."""
        return self._has("BS")

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """(C,) whether the tag goes on in an entity, if there is one of its type to go on in."""
        return self._has("IE")

    @cached_property
    def contextual(self) -> bool:
        """Whether a tag alone does not tell if it begins an entity, but what is before it, or its place in a word."""
        return bool((self.inside & self._may_begin).any() or (self.begins & self.legal_within.diagonal()).any())

    @cached_property
    def legal(self) -> NDArray[np.bool_]:
        """(C, C) whether the column tag may follow the row tag between words."""
        anew = ~self._must_go_on[:, None] & self.legal_start
        return self._goes_on | anew

    @cached_property
    def legal_within(self) -> NDArray[np.bool_]:
        """(C, C) whether the column tag may follow the row tag inside one word: a word is wholly in or out.

        In bioes the pieces of a word are tagged as words are, from B to E; S is for words of one piece.
        """
        found = self._goes_on & self._has("E")
        found[np.arange(len(self.tags)), self.within] = True
        found[self._has("E") | self._has("S") & self._types_with("B")] = False
        return found

    @cached_property
    def single_pieces(self) -> tuple[str, ...]:
        """Types whose words must have a single piece: without I-X there is nothing between the first and E-X."""
        found = self._has("E") & ~self._types_with("I")
        return tuple(dict.fromkeys(name for name, own in zip(self.type_of, found, strict=True) if own))

    @cached_property
    def legal_moves(self) -> NDArray[np.bool_]:
        """(2, C + 1, C) `legal` and `legal_within`; the last row is for a sentence's first tag."""
        return np.stack([np.vstack([moves, self.legal_start]) for moves in (self.legal, self.legal_within)])

    @cached_property
    def within(self) -> NDArray[np.int64]:
        """(C,) the tag of a word's further pieces, by that of its first one: I-X after B-X, else the same.

        The last piece may end the entity instead, if the scheme has a tag for that.
        """
        return np.array(
            [
                self.index.get("I-" + name, column) if self._roles[column] == "B" else column
                for column, name in enumerate(self.type_of)
            ]
        )

    @cached_property
    def legal_start(self) -> NDArray[np.bool_]:
        """(C,) whether a sentence may start with the tag."""
        return self._may_begin | self.is_outside

    @cached_property
    def legal_end(self) -> NDArray[np.bool_]:
        """(C,) whether a sentence may end with the tag."""
        return ~self._must_go_on

    @cached_property
    def ends_anywhere(self) -> bool:
        """Whether a sentence may end with any tag."""
        return bool(self.legal_end.all())

    @cached_property
    def begins_after(self) -> NDArray[np.bool_]:
        """(C + 1, C) whether the column tag begins an entity after the row tag; the last row begins a sentence."""
        return np.vstack([~self.is_outside & ~self._goes_on, ~self.is_outside])

    @cached_property
    def _roles(self) -> tuple[str, ...]:
        other = "S" if self.scheme == "plain" else ""
        return tuple("O" if tag == "O" else other or tag[0] for tag in self.tags)

    def _has(self, roles: str) -> NDArray[np.bool_]:
        return np.array([role in roles for role in self._roles])

    def _types_with(self, role: str) -> NDArray[np.bool_]:
        """(C,) whether the tag's type has a tag of this role."""
        found = {name for name, own in zip(self.type_of, self._roles, strict=True) if own == role}
        return np.array([name in found for name in self.type_of])

    @cached_property
    def _goes_on(self) -> NDArray[np.bool_]:
        """(C, C) whether the column tag goes on in the entity of the row tag."""
        same = np.array([self.types.index(name) if name else -1 for name in self.type_of])
        found: NDArray[np.bool_] = same[:, None] == same
        return found & self._has("BI")[:, None] & self._has("IE")

    @cached_property
    def _must_go_on(self) -> NDArray[np.bool_]:
        """(C,) whether the entity of the tag cannot end with it."""
        return self._has("BI") & self._types_with("E")

    @cached_property
    def _may_begin(self) -> NDArray[np.bool_]:
        """(C,) whether the tag may begin an entity."""
        if self.scheme in ("iob1", "io"):
            return ~self.is_outside
        return self._has("BS") | self._has("IE") & ~self._types_with("B")
