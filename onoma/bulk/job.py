"""What a bulk run does, and what its workers are given and give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onoma.text import OffsetUnit

Kind = Literal["text", "whole", "jsonl", "parquet"]
"""What a row of the input is: a line, a file, a JSON object, a row of a table."""

Form = Literal["jsonl", "parquet", "text", "color"]
"""What a row becomes; `text` is masked text alone, `color` is for eyes at a terminal."""

Compression = Literal["", "gz", "xz", "zst"]

CHUNK_BYTES = 1 << 17  # about a thousand sentences: windows of like length abound, and a chunk takes a second or so
CHUNK_ROWS = 1024  # of a Parquet file


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The options that decide what comes out.

    :param field: JSON key or Parquet column that holds the text.
    :param labels: only these labels; None for all.
    :param mask: what replaces an entity in the text, `{label}` standing for its label; None leaves the text alone.
    :param into: key or column that gets the entities.
    :param confidence: whether rows get the field `confidence`.
    :param skip_errors: whether a bad row is put aside instead of ending the run.
    """

    model: str
    kind: Kind
    form: Form
    compression: Compression = ""
    field: str = "text"
    labels: tuple[str, ...] | None = None
    min_score: float = 0.0
    offset_unit: OffsetUnit = "codepoint"
    mask: str | None = None
    into: str = "entities"
    confidence: bool = False
    skip_errors: bool = False

    @property
    def added(self) -> tuple[str, ...]:
        """Fields that a row gets: entities only where the text keeps what they say."""
        entities = () if self.mask is not None else (self.into,)
        return (*entities, "confidence") if self.confidence else entities


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the inputs a row begins.

    :param file: index of the file.
    :param offset: bytes of its (decompressed) content before the row; in Parquet, rows.
    :param line: the row's number in the file, from 1.
    """

    file: int = 0
    offset: int = 0
    line: int = 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that are tagged together.

    :param name: of the file, for messages.
    :param start: of the first row.
    :param data: lines, a whole file, or an Arrow IPC stream.
    :param read: how much of all inputs is read with it, for the progress line: bytes, of Parquet rows.
    :param stdin_hash: of all that standard input has held, up to the chunk's end; empty for files.
    """

    name: str
    start: Position
    data: bytes
    read: int
    stdin_hash: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a chunk.

    :param output: bytes to append to the output.
    :param errors: bytes to append to the file of errors: a JSON object per line.
    :param next: where the run goes on.
    :param rows: rows in `output`; `bad` those in `errors`.
    :param failure: why the row at `next` ends the run; None to go on.
    """

    output: bytes
    errors: bytes
    next: Position
    rows: int
    bad: int
    failure: str | None = None
