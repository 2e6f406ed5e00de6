"""Rows: what a chunk holds, each with its text, or why it has none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from onoma.bulk.job import Chunk, Job
from onoma.bulk.parquet import table_of
from onoma.errors import TextError
from onoma.tagger import check_text

_SPACE = re.compile(r"[ \t\r\n]*")
# Numbers stay the strings they are: only where a value ends is asked.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, strict=False)


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be tagged.

    :param line: its number in the file, from 1.
    :param offset: bytes (of Parquet rows) before it in its chunk.
    :param raw: the JSON object as it stands in the file, without space around it; empty for other inputs.
    :param own: its fields; of a JSON object only where the output needs them.
    """

    line: int
    offset: int
    text: str
    raw: bytes = b""
    own: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot; `raw` is what stands in the file, where that is a line."""

    line: int
    offset: int
    reason: str
    raw: bytes = b""


def rows_of(chunk: Chunk, job: Job) -> Iterator[Row | BadRow]:
    """All rows of a chunk, in order. Line feeds alone end a line: offsets stay exact; blank lines of JSON are none."""
    if job.kind == "whole":
        yield _text_row(chunk.data, chunk.start.line, 0, {"file": chunk.name})
    elif job.kind == "parquet":
        for number, own in enumerate(table_of(chunk.data).to_pylist()):
            yield _checked(own.get(job.field), Row(chunk.start.line + number, number, "", own=own), job.field)
    else:
        offset = 0
        for number, raw in enumerate(lines_of(chunk.data), start=chunk.start.line):
            if job.kind == "text":
                yield _text_row(raw, number, offset, {})
            elif raw.strip():
                yield _json_row(raw.strip(), number, offset, job)
            offset += len(raw)


def lines_of(data: bytes) -> list[bytes]:
    """Lines with their line feeds; the last may have none."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _text_row(raw: bytes, line: int, offset: int, own: dict[str, Any]) -> Row | BadRow:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"0x{raw[error.start]:02x} at byte {error.start}"
        return BadRow(line, offset, f"not UTF-8: {found}", b"" if own else raw)
    if not own:
        text = text.removesuffix("\n").removesuffix("\r")
    return _checked(text, Row(line, offset, text, own=own), "the text", b"" if own else raw)


def _json_row(raw: bytes, line: int, offset: int, job: Job) -> Row | BadRow:
    try:
        given = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return BadRow(line, offset, f"not JSON: {error.msg} at column {error.colno}", raw)
    if not isinstance(given, dict):
        return BadRow(line, offset, f"must be a JSON object, got {type(given).__name__}", raw)
    if job.field not in given:
        return BadRow(line, offset, f"has no field {job.field!r} (--field names the one with the text)", raw)
    for name in job.added:
        if name in given:
            return BadRow(line, offset, f"already has a field {name!r} (--into names another for the entities)", raw)
    if job.mask is not None and not _can_be_taken_apart(raw):
        return BadRow(line, offset, "nested too deep to be masked", raw)
    own = given if job.form == "parquet" else {}
    return _checked(given[job.field], Row(line, offset, "", raw, own), job.field, raw)


def _checked(text: object, row: Row, name: str, raw: bytes = b"") -> Row | BadRow:
    if not isinstance(text, str):
        found = "null" if text is None else type(text).__name__
        return BadRow(row.line, row.offset, f"{name} must be a string, got {found}", raw)
    try:
        check_text(text, field=name)
    except TextError as error:
        return BadRow(row.line, row.offset, str(error), raw)
    return Row(row.line, row.offset, text, row.raw, row.own)


def members(raw: bytes) -> dict[str, str]:
    """The fields of a valid JSON object, each value as it is spelled there: no number is rounded, no order lost.

    :raises RecursionError: if a value is nested too deep.
    """
    text = raw.decode("utf-8")
    found: dict[str, str] = {}
    at = _past_space(text, 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        low = _past_space(text, _past_space(text, at) + 1)
        _, high = _DECODER.raw_decode(text, low)
        found[key] = text[low:high]
        at = _past_space(text, high)
        if text[at] == ",":
            at = _past_space(text, at + 1)
    return found


def _can_be_taken_apart(raw: bytes) -> bool:
    try:
        members(raw)
    except RecursionError:
        return False
    return True


def _past_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
