"""Label sets and spans: IOB2 tags, which transitions are legal, entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onoma.errors import LabelError


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
    """An ordered set of IOB2 tags; position is the model's output column.

    Exactly one tag is `O`; every type has both `B-` and `I-`.
    """

    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.tags)) != len(self.tags):
            raise LabelError(f"duplicate tags in {list(self.tags)}")
        if self.tags.count("O") != 1:
            raise LabelError(f"exactly one tag must be 'O', got {list(self.tags)}")
        for tag in self.tags:
            if tag == "O":
                continue
            if tag[:2] not in ("B-", "I-") or not tag[2:]:
                raise LabelError(f"tag {tag!r} is not IOB2: expected O, B-TYPE or I-TYPE")
            partner = ("I-" if tag[0] == "B" else "B-") + tag[2:]
            if partner not in self.tags:
                raise LabelError(f"tag {tag!r} has no partner {partner!r}")

    @classmethod
    def of_types(cls, types: Sequence[str]) -> LabelSet:
        """O, then B- and I- of each type in the order given."""
        return cls(("O", *(f"{prefix}-{name}" for name in types for prefix in "BI")))

    @cached_property
    def index(self) -> dict[str, int]:
        """Column of each tag."""
        return {tag: column for column, tag in enumerate(self.tags)}

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Entity types in column order of their `B-` tags."""
        return tuple(tag[2:] for tag in self.tags if tag.startswith("B-"))

    @cached_property
    def outside(self) -> int:
        """Column of `O`."""
        return self.tags.index("O")

    @cached_property
    def begins(self) -> NDArray[np.bool_]:
        """(C,) whether the tag begins an entity."""
        return np.array([tag.startswith("B-") for tag in self.tags])

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """(C,) whether the tag continues an entity."""
        return np.array([tag.startswith("I-") for tag in self.tags])

    @cached_property
    def legal(self) -> NDArray[np.bool_]:
        """(C, C) whether the column tag may follow the row tag between words (I-X only after B-X or I-X)."""
        return np.array([[not b.startswith("I-") or a[2:] == b[2:] for b in self.tags] for a in self.tags])

    @cached_property
    def legal_within(self) -> NDArray[np.bool_]:
        """(C, C) whether the column tag may follow the row tag inside one word: a word is wholly in or out."""
        return np.array(
            [[b == "O" if a == "O" else b == "I-" + a[2:] for b in self.tags] for a in self.tags]
        )

    @cached_property
    def legal_moves(self) -> NDArray[np.bool_]:
        """(2, C, C) `legal` and `legal_within`."""
        return np.stack([self.legal, self.legal_within])

    @cached_property
    def within(self) -> NDArray[np.int64]:
        """(C,) the tag of the next piece of the same word: the only one that `legal_within` leaves."""
        found: NDArray[np.int64] = self.legal_within.argmax(axis=1)
        return found

    @cached_property
    def legal_start(self) -> NDArray[np.bool_]:
        """(C,) whether a sequence may start with the tag."""
        return ~self.inside

    @cached_property
    def type_of(self) -> tuple[str, ...]:
        """Entity type of each column; empty for `O`."""
        return tuple(tag[2:] for tag in self.tags)
