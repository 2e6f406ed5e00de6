"""Shards: inputs cut into splits that are tagged each on its own, anywhere, each into a file of its own."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from onoma.bulk.inputs import Inputs, compression_of
from onoma.bulk.job import Chunk, Job, Outcome, Position
from onoma.bulk.parquet import open_parquet, write_parquet
from onoma.bulk.worker import Worker

SPLIT_BYTES = 1 << 26
SPLIT_ROWS = 1 << 17


@dataclass(frozen=True, slots=True)
class Split:
    """What becomes one shard: some files, or a part of one that begins and ends between rows.

    :param stop: where the part ends, in bytes or Parquet rows; None for the end of the file.
    :param size: how much it is, in bytes or Parquet rows as its files have them.
    """

    number: int
    paths: tuple[str, ...]
    start: int = 0
    stop: int | None = None
    size: int = 0


def splits_of(inputs: Inputs, *, most_bytes: int = SPLIT_BYTES, most_rows: int = SPLIT_ROWS) -> list[Split]:
    """The inputs in order, cut; whole and compressed files are not cut."""
    if inputs.kind == "whole":
        return [
            Split(number, group, size=sum(map(inputs.size, group)))
            for number, group in enumerate(_groups(inputs, most_bytes))
        ]
    splits: list[Split] = []
    for path in inputs.paths:
        if compression_of(path) and inputs.kind != "parquet":
            splits.append(Split(len(splits), (path,), size=inputs.size(path)))
            continue
        cuts = _row_cuts(path, most_rows) if inputs.kind == "parquet" else _line_cuts(path, most_bytes)
        for low, high in pairwise(cuts):
            splits.append(Split(len(splits), (path,), start=low, stop=high, size=high - low))
    return splits


def _groups(inputs: Inputs, most: int) -> Iterator[tuple[str, ...]]:
    group: list[str] = []
    size = 0
    for path in inputs.paths:
        group.append(path)
        size += inputs.size(path)
        if size >= most:
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)


def _line_cuts(path: str, most: int) -> list[int]:
    """Where lines begin, about `most` bytes apart, and the end."""
    size = Path(path).stat().st_size
    cuts = [0]
    with Path(path).open("rb") as file:
        while cuts[-1] + most < size:
            file.seek(cuts[-1] + most - 1)
            file.readline()
            cuts.append(file.tell())
    return [*dict.fromkeys([*cuts, size])]


def _row_cuts(path: str, most: int) -> list[int]:
    """Rows where row groups begin, at least `most` rows apart, and the end."""
    cuts = [0]
    row = 0
    with open_parquet(path) as file:
        for group in range(file.metadata.num_row_groups):
            row += file.metadata.row_group(group).num_rows
            if row - cuts[-1] >= most:
                cuts.append(row)
    return [*dict.fromkeys([*cuts, row])]


class ShardWriter:
    """Writes shards into a folder. Its model loads with the first one: it is sent to where it works without.

    :param schema: of Parquet shards.
    """

    def __init__(self, job: Job, folder: Path, schema: Any = None) -> None:
        self._job = job
        self._folder = folder
        self._schema = schema

    @cached_property
    def _worker(self) -> Worker:
        return Worker(self._job)

    def write(self, split: Split) -> dict[str, Any]:
        """Write a split's shard, which is there whole or not at all: how many rows it has, or why it is not there."""
        shard = shard_of(self._folder, split, self._job)
        partial = shard.with_name(f".{shard.name}.partial")
        inputs = Inputs(split.paths, self._job.kind, io.BytesIO(), field=self._job.field, stop=split.stop)
        start = Position(0, split.start, split.start + 1 if self._job.kind == "parquet" else 1)
        rows = bad = 0
        with partial.open("wb") as output, errors_of(self._folder, split).open("wb") as errors:
            for chunk in inputs.chunks(start):
                outcome = self._tagged(chunk, split)
                output.write(outcome.output)
                errors.write(outcome.errors)
                rows += outcome.rows
                bad += outcome.bad
                if outcome.failure is not None:
                    return {"number": split.number, "rows": rows, "bad": bad, "failure": outcome.failure}
            output.flush()
            os.fsync(output.fileno())
        if self._job.form == "parquet":
            write_parquet(partial, shard, self._schema)
            partial.unlink()
        else:
            partial.replace(shard)
        return {"number": split.number, "rows": rows, "bad": bad, "failure": ""}

    def _tagged(self, chunk: Chunk, split: Split) -> Outcome:
        outcome = self._worker(chunk)
        if split.start == 0 or self._job.kind == "parquet" or not (outcome.bad or outcome.failure):
            return outcome
        # A bad row is to be named by its line in the file, of which nobody has counted those before the split.
        line = chunk.start.line + lines_before(chunk.name, split.start)
        return self._worker(replace(chunk, start=replace(chunk.start, line=line)))


def lines_before(path: str, offset: int) -> int:
    """Line feeds in the first `offset` bytes of a file."""
    found = 0
    with Path(path).open("rb") as file:
        while offset > 0 and (data := file.read(min(offset, 1 << 20))):
            found += data.count(b"\n")
            offset -= len(data)
    return found


def shard_of(folder: Path, split: Split, job: Job) -> Path:
    """The file of a split's rows; in the order of their names shards are in the order of the inputs."""
    return folder / f"part-{split.number:06}.{'txt' if job.form == 'text' else job.form}"


def errors_of(folder: Path, split: Split) -> Path:
    """The file of a split's bad rows."""
    return folder / f".part-{split.number:06}.errors"
