"""Scored sentences made by hand."""

from __future__ import annotations

from distill.dev_examples import Example, Scored
from onoma.encoding import Encoded

SPAN = (0, 1, "PER")


def scored(
    confidence: float, *, right: bool, language: str = "de", characters: int = 10, milliseconds: float = 1.0
) -> Scored:
    """A sentence of one entity, found or not."""
    example = Example(language, (SPAN,), Encoded("x" * characters, ()), [], milliseconds / 1000)
    return Scored(example, (SPAN,) if right else (), confidence)
