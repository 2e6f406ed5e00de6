"""Rows and what is written of them, for any text and any JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from onoma import Entity, Tagged
from onoma.bulk.job import Chunk, Job, Position
from onoma.bulk.render import colored, entities_of, masked, render
from onoma.bulk.rows import BadRow, Row, members, rows_of
from onoma.text import OffsetUnit

LABELS = ("PER", "ORG", "LOC")
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=4)


@st.composite
def tagged_texts(draw: st.DrawFn) -> tuple[str, Tagged]:
    """A text and entities in it, in order and apart."""
    text = draw(texts)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    entities = tuple(Entity(start, end, draw(st.sampled_from(LABELS)), 0.5) for start, end in spans)
    return text, Tagged(entities, 0.5, 1)


def spelled(content: dict[str, Any], **options: Any) -> bytes:
    return json.dumps(content, **options).encode()


@given(objects, st.booleans(), st.sampled_from([None, 1]))
def test_members_are_spelled_as_they_were(content: dict[str, Any], ascii: bool, indent: int | None) -> None:
    found = members(spelled(content, ensure_ascii=ascii, indent=indent))
    assert list(found) == list(content)
    assert {name: json.loads(value) for name, value in found.items()} == content


@given(objects.filter(lambda own: "entities" not in own), tagged_texts(), st.booleans())
def test_json_rows_round_trip(own: dict[str, Any], pair: tuple[str, Tagged], ascii: bool) -> None:
    text, tagged = pair
    job = Job(model="", kind="jsonl", form="jsonl", field="text")
    content = {**own, "text": text}
    chunk = Chunk("x", Position(), b" " + spelled(content, ensure_ascii=ascii) + b" \n", 0)
    [row] = rows_of(chunk, job)
    assert isinstance(row, Row)
    found = json.loads(render([(row, tagged)], chunk=chunk, job=job, labels=LABELS))
    assert row.text == text
    assert list(found) == [*content, "entities"]
    assert {name: found[name] for name in content} == content
    assert [entity["text"] for entity in found["entities"]] == [text[e.start : e.end] for e in tagged.entities]


@given(tagged_texts(), st.sampled_from(["codepoint", "utf16", "utf8"]))
def test_offsets_are_exact(pair: tuple[str, Tagged], unit: OffsetUnit) -> None:
    text, tagged = pair
    codec, width = {"codepoint": ("utf-32-le", 4), "utf16": ("utf-16-le", 2), "utf8": ("utf-8", 1)}[unit]
    encoded = text.encode(codec)
    job = Job(model="", kind="text", form="jsonl", offset_unit=unit)
    for entity in entities_of(text, tagged.entities, job):
        slice = encoded[entity["start"] * width : entity["end"] * width]
        assert slice.decode(codec) == entity["text"]


@given(tagged_texts())
def test_masks_leave_the_rest(pair: tuple[str, Tagged]) -> None:
    text, tagged = pair
    kept = "".join(char for at, char in enumerate(text) if not any(e.start <= at < e.end for e in tagged.entities))
    assert masked(text, tagged.entities, "") == kept
    assert masked(text, tagged.entities, "\1{label}").count("\1") >= len(tagged.entities)
    assert colored(text, (), LABELS) == text


def test_fields_nested_too_deep_to_be_masked_are_named() -> None:
    deep = b'{"text": "a", "x": ' + b"[" * 990 + b"]" * 990 + b"}"
    masking = Job(model="", kind="jsonl", form="jsonl", mask="*")
    found = [*rows_of(Chunk("x", Position(), deep, 0), Job(model="", kind="jsonl", form="jsonl"))]
    assert isinstance(found[0], Row) and found[0].raw == deep
    [bad] = rows_of(Chunk("x", Position(), deep, 0), masking)
    assert isinstance(bad, BadRow) and bad.reason == "nested too deep to be masked"
