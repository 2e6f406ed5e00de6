"""A worker: one model, which turns chunks into output."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from onoma.bulk.job import Chunk, Job, Outcome, Position
from onoma.bulk.parquet import table_of
from onoma.bulk.render import Pair, render
from onoma.bulk.rows import BadRow, Row, lines_of, rows_of
from onoma.tagger import Tagger


class Worker:
    """Tags chunks with one thread, so that as many workers as cores have a core each.

    :raises BundleError: if the job's model does not load.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._tagger = Tagger.load(job.model, threads=1)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels of the model."""
        return self._tagger.labels.types

    def __call__(self, chunk: Chunk) -> Outcome:
        """Tag the rows of a chunk, up to the first bad one unless bad ones are skipped.

        :raises BulkError: if rows do not fit the output's form.
        """
        good: list[Row] = []
        bad: list[BadRow] = []
        failed: BadRow | None = None
        for row in rows_of(chunk, self._job):
            if isinstance(row, Row):
                good.append(row)
            elif self._job.skip_errors:
                bad.append(row)
            else:
                failed = row
                break
        tagged = self._tagger.tag_batch([row.text for row in good])
        pairs: list[Pair] = list(zip(good, tagged, strict=True))
        start = chunk.start
        return Outcome(
            output=render(pairs, chunk=chunk, job=self._job, labels=self.labels) if pairs else b"",
            errors=error_lines(bad, chunk.name),
            next=self._end(chunk) if not failed else Position(start.file, start.offset + failed.offset, failed.line),
            rows=len(good),
            bad=len(bad),
            failure=f"{chunk.name}:{failed.line}: {failed.reason}" if failed else None,
        )

    def _end(self, chunk: Chunk) -> Position:
        start = chunk.start
        if self._job.kind == "whole":
            return Position(start.file + 1)
        if self._job.kind == "parquet":
            rows = table_of(chunk.data).num_rows
            return Position(start.file, start.offset + rows, start.line + rows)
        return Position(start.file, start.offset + len(chunk.data), start.line + len(lines_of(chunk.data)))


def error_lines(bad: Sequence[BadRow], name: str) -> bytes:
    """A JSON object per bad row: where it is, what is wrong, and the row itself if it is a line."""
    return b"".join(
        orjson.dumps(
            {"file": name, "line": row.line, "error": row.reason, **_raw(row)}, option=orjson.OPT_APPEND_NEWLINE
        )
        for row in bad
    )


def _raw(row: BadRow) -> dict[str, str]:
    return {"row": row.raw.decode("utf-8", errors="backslashreplace").rstrip("\r\n")} if row.raw else {}
