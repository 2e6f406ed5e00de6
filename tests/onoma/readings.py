"""What tags mean, by the definition of each scheme, one word after the other; without the tables of LabelSet."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from onoma.labels import LabelSet

Span = tuple[int, int, str]

SETS: dict[str, LabelSet] = {
    "iob2": LabelSet(("O", "B-PER", "I-PER", "B-LOC", "I-LOC")),
    "iob2 in another order": LabelSet(("I-LOC", "B-PER", "O", "B-LOC", "I-PER")),
    "iob2 without an I": LabelSet(("O", "B-PER", "B-LOC", "I-LOC")),
    "iob2 without a B": LabelSet(("O", "I-PER", "B-LOC", "I-LOC")),
    "iob2 without O": LabelSet(("B-PER", "I-PER")),
    "iob1": LabelSet(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"), "iob1"),
    "iob1 without a B": LabelSet(("B-LOC", "I-LOC", "I-PER", "O"), "iob1"),
    "io": LabelSet(("I-LOC", "O", "I-PER"), "io"),
    "bioes": LabelSet(("O", "B-PER", "I-PER", "E-PER", "S-PER", "S-LOC", "E-LOC", "I-LOC", "B-LOC"), "bioes"),
    "bioes without E": LabelSet(("O", "B-PER", "I-PER", "S-PER", "B-LOC", "I-LOC", "S-LOC"), "bioes"),
    "bioes without S": LabelSet(("O", "B-PER", "I-PER", "E-PER", "S-LOC"), "bioes"),
    "bioes without I": LabelSet(("O", "B-PER", "E-PER", "S-PER"), "bioes"),
    "bioes without B": LabelSet(("O", "I-PER", "E-PER", "E-LOC", "S-LOC"), "bioes"),
    "bioes without O": LabelSet(("B-PER", "I-PER", "E-PER", "S-PER", "S-LOC"), "bioes"),
    "plain": LabelSet(("NOUN", "X", "B-ADJ"), "plain"),
    "plain with O": LabelSet(("NOUN", "O", "VERB"), "plain"),
}


def parts(tag: str, labels: LabelSet) -> tuple[str, str]:
    """Prefix and type; S for types that stand alone."""
    if tag == "O":
        return "O", ""
    return ("S", tag) if labels.scheme == "plain" else (tag[0], tag[2:])


def entities_of(tags: Sequence[str], labels: LabelSet) -> list[Span] | None:
    """The entities of words with these tags; None where the scheme forbids them."""
    found: list[Span] = []
    start, kind = -1, ""  # of the entity that is under way, if there is one
    for at, tag in enumerate([*tags, "O"]):
        prefix, own = parts(tag, labels)
        goes_on = start >= 0 and kind == own and prefix in "IE"
        if start >= 0 and not goes_on:
            if f"E-{kind}" in labels.tags:
                return None  # its last word has another tag
            found.append((start, at, kind))
        if prefix in "IE" and not goes_on and labels.scheme in ("iob2", "bioes") and f"B-{own}" in labels.tags:
            return None  # there is nothing that it could go on in
        start, kind = (-1, "") if prefix == "O" else (start if goes_on else at, own)
        if prefix in "ES":
            found.append((start, at + 1, kind))
            start = -1
    return found


def pieces_entities(tags: Sequence[str], continues: Sequence[bool], labels: LabelSet) -> list[Span] | None:
    """The entities of pieces with these tags; None too where one begins or ends inside a word."""
    kept: list[int] = []
    for at, tag in enumerate(tags):
        prefix, kind = parts(tag, labels)
        # A type that has no tag for the inside of a word repeats the one it begins with.
        missing = {"B": "I", "S": "B"}.get(prefix, "")
        repeats = missing and f"{missing}-{kind}" not in labels.tags
        if not (continues[at] and tag == tags[at - 1] and repeats):
            kept.append(at)
    found = entities_of([tags[at] for at in kept], labels)
    if found is None:
        return None
    places = [*kept, len(tags)]
    spans = [(places[start], places[end], kind) for start, end, kind in found]
    edges = {edge for start, end, _ in spans for edge in (start, end)}
    return None if any(goes_on and at in edges for at, goes_on in enumerate(continues)) else spans


def every_sequence(length: int, labels: LabelSet) -> list[tuple[int, ...]]:
    """All sequences of columns."""
    return list(itertools.product(range(len(labels.tags)), repeat=length))


def names(columns: Sequence[int] | np.ndarray, labels: LabelSet) -> list[str]:
    """Tags of columns."""
    return [labels.tags[column] for column in columns]
