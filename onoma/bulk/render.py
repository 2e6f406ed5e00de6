"""Rendering: tagged rows to the bytes that are written."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any

import orjson

from onoma.bulk.errors import BulkError, parquet_module
from onoma.bulk.job import Chunk, Compression, Job
from onoma.bulk.parquet import entity_type, stream_of, table_of
from onoma.bulk.rows import Row, members
from onoma.labels import Entity
from onoma.tagger import Tagged
from onoma.text import convert_offsets

Pair = tuple[Row, Tagged]

_COLORS = (34, 32, 35, 36, 33, 31)  # blue, green, magenta, cyan, yellow, red: for labels in their order


def kept(tagged: Tagged, job: Job) -> list[Entity]:
    """The entities that pass the filters."""
    return [
        entity
        for entity in tagged.entities
        if entity.score >= job.min_score and (job.labels is None or entity.label in job.labels)
    ]


def entities_of(text: str, entities: Sequence[Entity], job: Job) -> list[dict[str, Any]]:
    """Entities as POST /ner spells them, their offsets in the job's unit."""
    starts = convert_offsets(text, [entity.start for entity in entities], job.offset_unit)
    ends = convert_offsets(text, [entity.end for entity in entities], job.offset_unit)
    return [
        {
            "start": start,
            "end": end,
            "label": entity.label,
            "text": text[entity.start : entity.end],
            "score": round(entity.score, 6),
        }
        for entity, start, end in zip(entities, starts, ends, strict=True)
    ]


def replaced(text: str, entities: Sequence[Entity], instead: Callable[[Entity], str]) -> str:
    """The text with something else in place of each entity."""
    parts = []
    at = 0
    for entity in entities:
        parts += [text[at : entity.start], instead(entity)]
        at = entity.end
    return "".join([*parts, text[at:]])


def masked(text: str, entities: Sequence[Entity], template: str) -> str:
    """The text with the template in place of each entity."""
    return replaced(text, entities, lambda entity: template.replace("{label}", entity.label))


def colored(text: str, entities: Sequence[Entity], labels: Sequence[str]) -> str:
    """The text for a terminal: entities in bold colour, each with its label behind it."""

    def shown(entity: Entity) -> str:
        color = _COLORS[labels.index(entity.label) % len(_COLORS)]
        return f"\x1b[1;{color}m{text[entity.start : entity.end]}\x1b[0;{color}m {entity.label}\x1b[0m"

    return replaced(text, entities, shown)


def added_to(row: Row, tagged: Tagged, job: Job) -> dict[str, Any]:
    """The fields that a row gets, by name."""
    values = {"confidence": round(tagged.confidence, 6)}
    if job.mask is None:
        values[job.into] = entities_of(row.text, kept(tagged, job), job)  # type: ignore[assignment]
    return {name: values[name] for name in job.added}


def text_of(row: Row, tagged: Tagged, job: Job) -> str:
    """The row's text, masked if that is asked for."""
    return row.text if job.mask is None else masked(row.text, kept(tagged, job), job.mask)


def render(pairs: Sequence[Pair], *, chunk: Chunk, job: Job, labels: Sequence[str]) -> bytes:
    """The output of tagged rows.

    :param chunk: what they are from; of Parquet input, rows that are not in `pairs` are left out.
    :param labels: all labels of the model.
    :raises BulkError: if the rows do not fit the form.
    """
    if job.form == "parquet":
        return stream_of(_table(pairs, chunk.data, job))
    if job.form == "text":
        end = "" if job.kind == "whole" else "\n"
        output = "".join(text_of(row, tagged, job) + end for row, tagged in pairs).encode("utf-8")
    elif job.form == "color":
        lines = [colored(row.text, kept(tagged, job), labels) for row, tagged in pairs]
        output = "".join(line + "\n" for line in lines).encode("utf-8")
    else:
        output = b"".join(_json_line(row, tagged, job, chunk.name) for row, tagged in pairs)
    return compressed(output, job.compression)


def compressed(data: bytes, compression: Compression) -> bytes:
    """A member or frame of its own, equal for equal data: files of several are whole files."""
    if compression == "gz":
        return gzip.compress(data, compresslevel=6, mtime=0)
    if compression == "xz":
        return lzma.compress(data)
    if compression == "zst":
        return bytes(parquet_module("pyarrow").Codec("zstd").compress(data, asbytes=True))
    return data


def _json_line(row: Row, tagged: Tagged, job: Job, file: str) -> bytes:
    added = added_to(row, tagged, job)
    if row.raw and job.mask is None:
        # What the row says of itself stays as it is, to the byte.
        return row.raw[:-1].rstrip() + b"," + orjson.dumps(added)[1:] + b"\n"
    text = text_of(row, tagged, job)
    if row.raw:
        own: dict[str, Any] = {name: orjson.Fragment(value) for name, value in members(row.raw).items()}
        return orjson.dumps({**own, job.field: text, **added}, option=orjson.OPT_APPEND_NEWLINE)
    try:
        return orjson.dumps({**row.own, job.field: text, **added}, default=_plain, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError as error:
        raise BulkError(f"{file}:{row.line}: the row cannot be JSON, Parquet holds it: {error}") from error


def _plain(value: object) -> str:
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError  # orjson says which type


def _table(pairs: Sequence[Pair], data: bytes, job: Job) -> Any:
    pa = parquet_module("pyarrow")
    texts = pa.array([text_of(row, tagged, job) for row, tagged in pairs], pa.string())
    if job.kind == "parquet":
        own = table_of(data).take([row.offset for row, _ in pairs])
        if job.mask is not None:
            own = own.set_column(own.column_names.index(job.field), job.field, texts)
    elif job.kind == "jsonl":
        names = dict.fromkeys(name for row, _ in pairs for name in row.own)
        columns = {name: _column(name, [row.own.get(name) for row, _ in pairs]) for name in names}
        own = pa.table({**columns, job.field: texts})
    else:
        files = {"file": pa.array([row.own["file"] for row, _ in pairs])} if job.kind == "whole" else {}
        own = pa.table({**files, "text": texts})
    for name in job.added:
        values = [added_to(row, tagged, job)[name] for row, tagged in pairs]
        own = own.append_column(name, pa.array(values, pa.float64() if name == "confidence" else entity_type()))
    return own


def _column(name: str, values: list[Any]) -> Any:
    pa = parquet_module("pyarrow")
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        raise BulkError(f"field {name!r} does not fit a Parquet column, JSON lines hold it: {error}") from error
