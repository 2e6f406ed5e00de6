"""The local engine: one machine, a process per core, to a file or to standard output."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

from onoma import __version__
from onoma.bulk.errors import BulkError
from onoma.bulk.inputs import Inputs, identify
from onoma.bulk.job import Chunk, Job, Outcome
from onoma.bulk.journal import Entry, Partial
from onoma.bulk.parquet import output_schema, own_schema, write_parquet
from onoma.bulk.pool import Pool
from onoma.bulk.progress import Progress
from onoma.bulk.worker import Worker
from onoma.bundle import MANIFEST, sha256
from onoma.errors import LabelError

COMMIT_SECONDS = 1.0


def load_worker(job: Job) -> Worker:
    """A worker of this process, which also says whether the options fit its model.

    :raises LabelError: for a label that the model lacks.
    """
    worker = Worker(job)
    for label in job.labels or ():
        if label not in worker.labels:
            raise LabelError(f"--labels: the model has no label {label!r}, only {', '.join(worker.labels)}")
    return worker


def identity_of(job: Job, inputs: Inputs) -> dict[str, Any]:
    """What must be the same for a run to be gone on with: inputs, model, options, version.

    Skipping errors is not: the rows before the first error are the same either way.
    """
    options = {name: value for name, value in asdict(job).items() if name not in ("model", "skip_errors")}
    return {
        "onoma": __version__,
        "model": sha256(Path(job.model) / MANIFEST),
        "options": options,
        "inputs": [identify(path) for path in inputs.paths],
    }


def outcomes(chunks: Generator[Chunk], worker: Worker, job: Job, processes: int) -> Generator[tuple[Chunk, Outcome]]:
    """The outcomes of chunks, in their order. The first chunk needs no process: few rows are answered at once."""
    for chunk in chunks:
        yield chunk, worker(chunk)
        if processes > 1:
            break
    if processes > 1:
        yield from Pool(job, processes).map(chunks)


def tag_to_stream(
    job: Job, inputs: Inputs, out: BinaryIO, *, processes: int, progress: Progress, report: Callable[[bytes], None]
) -> Entry:
    """Write rows as they are ready; what an interrupted run has written stays written.

    :param report: told of the bad rows that are skipped.
    :raises BulkError: at a bad row, if they are not skipped; the rows before it are written.
    """
    worker = load_worker(job)
    entry = Entry()
    found = outcomes(inputs.chunks(entry.position), worker, job, processes)
    try:
        for chunk, outcome in found:
            out.write(outcome.output)
            out.flush()
            report(outcome.errors)
            entry = replace(entry, rows=entry.rows + outcome.rows, bad=entry.bad + outcome.bad)
            if outcome.failure is not None:
                raise BulkError(f"{outcome.failure} (--skip-errors leaves such rows out)")
            progress.show(chunk.read, entry.rows, bad=entry.bad)
    finally:
        progress.end()
        found.close()
    return entry


def tag_to_file(
    job: Job, inputs: Inputs, output: Path, *, processes: int, progress: Progress, restart: bool = False
) -> Entry:
    """Write a file that is there whole or not at all; a run that was interrupted is gone on with.

    :raises BulkError: at a bad row, if they are not skipped; or if what an interrupted run left is of another run.
    """
    worker = load_worker(job)
    schema = output_schema(own_schema(job, inputs.paths), job) if job.form == "parquet" else None
    partial = Partial(output, identity=identity_of(job, inputs), restart=restart)
    try:
        if not partial.entry.done:
            _fill(partial, outcomes(_from(inputs, partial.entry), worker, job, processes), progress)
        if schema is None and partial.partial.exists():
            partial.partial.replace(output)
        elif partial.partial.exists():
            write_parquet(partial.partial, output, schema)
        partial.finish()
    finally:
        partial.close()
    return partial.entry


def _from(inputs: Inputs, entry: Entry) -> Generator[Chunk]:
    return inputs.chunks(entry.position, stdin_before=entry.stdin_before)


def _fill(partial: Partial, found: Generator[tuple[Chunk, Outcome]], progress: Progress) -> None:
    committed = time.monotonic()
    try:
        for chunk, outcome in found:
            entry = replace(
                partial.entry,
                position=outcome.next,
                rows=partial.entry.rows + outcome.rows,
                bad=partial.entry.bad + outcome.bad,
            )
            if chunk.stdin_hash and outcome.failure is None:
                entry = replace(entry, stdin_before=(outcome.next.offset, chunk.stdin_hash))
            partial.write(outcome.output, outcome.errors, entry)
            if outcome.failure is not None:
                raise BulkError(
                    f"{outcome.failure} ({entry.rows} rows before it are kept; the same command with --skip-errors "
                    f"leaves such rows out and goes on)"
                )
            progress.show(chunk.read, entry.rows, bad=entry.bad)
            if time.monotonic() - committed >= COMMIT_SECONDS:
                partial.commit()
                committed = time.monotonic()
        partial.entry = replace(partial.entry, done=True)
    finally:
        progress.end()
        found.close()
        partial.commit()
