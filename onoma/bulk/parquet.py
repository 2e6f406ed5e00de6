"""Parquet: reading in chunks; writing through a spool of Arrow streams, which can be cut off and gone on with.

pyarrow is imported where it is used: the base install lacks it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from onoma.bulk.errors import BulkError, parquet_module
from onoma.bulk.job import CHUNK_BYTES, CHUNK_ROWS, Chunk, Job, Position

GROUP_ROWS = 1 << 16  # of the files that are written
GROUP_BYTES = 1 << 26


def open_parquet(path: str) -> Any:
    """A pyarrow ParquetFile that reads column chunks in pieces.

    :raises BulkError: if it is none.
    """
    pa, pq = parquet_module("pyarrow"), parquet_module("pyarrow.parquet")
    if path == "-":
        raise BulkError("Parquet cannot come from standard input: its end must be read first")
    try:
        return pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise BulkError(f"{path} is no Parquet file: {error}") from error


def parquet_rows(path: str) -> int:
    """Rows of a file, by its footer."""
    with open_parquet(path) as file:
        return int(file.metadata.num_rows)


def input_schema(paths: Sequence[str], job: Job) -> Any:
    """The schema that all files have.

    :raises BulkError: if they differ, lack the text column, or have a column that the output adds.
    """
    first: Any = None
    for path in paths:
        with open_parquet(path) as file:
            schema = file.schema_arrow
        if first is not None and not schema.equals(first):
            raise BulkError(f"{path} has another schema than {paths[0]}: {schema.to_string()}")
        first = schema
    if job.field not in first.names:
        raise BulkError(f"--column: {paths[0]} has no column {job.field!r}, only {', '.join(first.names)}")
    if not _is_text(first.field(job.field).type):
        raise BulkError(f"--column: {job.field!r} of {paths[0]} is of type {first.field(job.field).type}, not string")
    for name in job.added:
        if name in first.names:
            raise BulkError(f"{paths[0]} already has a column {name!r}; --into names another for the entities")
    return first


def _is_text(kind: Any) -> bool:
    types = parquet_module("pyarrow.types")
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def parquet_chunks(path: str, start: Position, *, field: str, read: int, stop: int | None = None) -> Iterator[Chunk]:
    """Rows from `start` on, each chunk in one row group and of bounded size, as an Arrow stream.

    :param stop: row where a row group begins, which is not read any more; None to read to the end.
    """
    with open_parquet(path) as file:
        row = 0
        for group in range(file.metadata.num_row_groups):
            if stop is not None and row >= stop:
                return
            size = file.metadata.row_group(group).num_rows
            if row + size <= start.offset:
                row += size
                continue
            for batch in file.iter_batches(batch_size=CHUNK_ROWS, row_groups=[group]):
                low = max(0, start.offset - row)
                while low < batch.num_rows:
                    rows = _fitting(batch.column(field), low)
                    at = Position(start.file, row + low, row + low + 1)
                    low += rows
                    yield Chunk(path, at, stream_of(batch.slice(low - rows, rows)), read + row + low)
                row += batch.num_rows


def _fitting(texts: Any, low: int) -> int:
    """How many rows from `low` on have CHUNK_BYTES together, or a row more."""
    lengths = parquet_module("pyarrow.compute").binary_length(texts.slice(low).cast("string")).to_pylist()
    total = 0
    for count, length in enumerate(lengths, start=1):
        total += length or 0
        if total >= CHUNK_BYTES:
            return count
    return len(lengths)


def stream_of(batch: Any) -> bytes:
    """A record batch or table as an Arrow IPC stream of its own, schema and dictionaries included."""
    pa, ipc = parquet_module("pyarrow"), parquet_module("pyarrow.ipc")
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema, options=ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write(batch)
    return bytes(sink.getvalue())


def table_of(data: bytes) -> Any:
    """The table in an Arrow IPC stream."""
    with parquet_module("pyarrow.ipc").open_stream(data) as reader:
        return reader.read_all()


def entity_type() -> Any:
    """Arrow type of the entities of a row."""
    pa = parquet_module("pyarrow")
    names = {"start": pa.int64(), "end": pa.int64(), "label": pa.string(), "text": pa.string(), "score": pa.float64()}
    return pa.list_(pa.struct(list(names.items())))


def output_schema(own: Any, job: Job) -> Any:
    """The schema of the rows that come out, of that of the rows that go in."""
    pa = parquet_module("pyarrow")
    schema = own
    if job.mask is not None:
        schema = schema.set(schema.get_field_index(job.field), pa.field(job.field, pa.string()))
    for name in job.added:
        schema = schema.append(pa.field(name, pa.float64() if name == "confidence" else entity_type()))
    return schema


def own_schema(job: Job, paths: Sequence[str]) -> Any:
    """The schema of input rows as far as it is known before they are read: of JSON objects, the text."""
    pa = parquet_module("pyarrow")
    if job.kind == "parquet":
        return input_schema(paths, job)
    names = ["file", "text"] if job.kind == "whole" else [job.field if job.kind == "jsonl" else "text"]
    return pa.schema([(name, pa.string()) for name in names])


def write_parquet(spool: Path, target: Path, schema: Any) -> None:
    """Turn a spool (Arrow streams one after the other) into a Parquet file, which is there whole or not at all.

    :param schema: columns that the file has at least.
    :raises BulkError: if a column has values of types that do not go together; the spool stays.
    """
    pa = parquet_module("pyarrow")
    temporary = target.with_name(target.name + ".tmp")
    try:
        _write_groups(spool, temporary, schema)
    except pa.ArrowException as error:
        raise BulkError(f"the rows do not fit one Parquet schema, JSON lines hold them: {error}") from error
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)


def _write_groups(spool: Path, target: Path, schema: Any) -> None:
    pa, pq = parquet_module("pyarrow"), parquet_module("pyarrow.parquet")
    schemas = list(dict.fromkeys(table.schema for table in _spooled(spool)))
    whole = pa.unify_schemas([*schemas, schema], promote_options="permissive").with_metadata(schema.metadata)
    with pq.ParquetWriter(target, whole, compression="zstd") as writer:
        group: list[Any] = []
        for table in _spooled(spool):
            group.append(table)
            if sum(part.num_rows for part in group) >= GROUP_ROWS or sum(part.nbytes for part in group) >= GROUP_BYTES:
                writer.write_table(_joined(group, whole), row_group_size=GROUP_ROWS)
                group = []
        if group:
            writer.write_table(_joined(group, whole), row_group_size=GROUP_ROWS)


def _spooled(spool: Path) -> Iterator[Any]:
    pa, ipc = parquet_module("pyarrow"), parquet_module("pyarrow.ipc")
    size = spool.stat().st_size
    with pa.OSFile(str(spool)) as file:
        while file.tell() < size:
            yield ipc.open_stream(file).read_all()


def _joined(tables: Sequence[Any], schema: Any) -> Any:
    pa = parquet_module("pyarrow")
    joined = pa.concat_tables([schema.empty_table(), *tables], promote_options="permissive")
    return joined.select(schema.names).cast(schema)
