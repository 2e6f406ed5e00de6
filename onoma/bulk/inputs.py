"""Inputs: checking, identifying and opening files, and cutting them into chunks that are the same in every run."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from onoma.bulk.errors import BulkError, parquet_module
from onoma.bulk.job import CHUNK_BYTES, Chunk, Compression, Kind, Position
from onoma.bulk.parquet import parquet_chunks, parquet_rows

STDIN = "-"
HEAD_BYTES = 1 << 16
_COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".xz": "xz", ".zst": "zst"}
_KINDS: dict[str, Kind] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def compression_of(path: str) -> Compression:
    """By the name's last suffix."""
    return _COMPRESSIONS.get(Path(path).suffix.lower(), "")


def kind_of(path: str) -> Kind:
    """By the name's suffix, before that of a compression; whatever it does not tell is text."""
    name = Path(path)
    return _KINDS.get((Path(name.stem) if compression_of(path) else name).suffix.lower(), "text")


def common_kind(paths: Sequence[str]) -> Kind:
    """What the files are, by their names; standard input is whatever the others are, alone it is text.

    :raises BulkError: if they differ.
    """
    kinds = {kind_of(path): path for path in paths if path != STDIN}
    if len(kinds) > 1:
        found = ", ".join(f"{path} is {kind}" for kind, path in kinds.items())
        raise BulkError(f"the inputs of a run must be of one kind, but {found}; --input-format says what they are")
    return next(iter(kinds), "text")


def check_files(paths: Sequence[str]) -> None:
    """Refuse what cannot be read, before anything is.

    :raises FileNotFoundError: names the file.
    :raises BulkError: for a folder, or if standard input is asked for twice.
    """
    for path in paths:
        if path != STDIN and not Path(path).exists():
            raise FileNotFoundError(f"{path}: no such file")
        if path != STDIN and Path(path).is_dir():
            raise BulkError(f"{path} is a folder: name the files in it")
    if paths.count(STDIN) > 1:
        raise BulkError("standard input (-) can be read once only")


def identify(path: str) -> dict[str, Any]:
    """What tells a file from another, and from itself after a change: size, time of change, hash of its head."""
    if path == STDIN:
        return {"path": path}
    file = Path(path).resolve()
    status = file.stat()
    with file.open("rb") as source:
        head = hashlib.sha256(source.read(HEAD_BYTES)).hexdigest()
    return {"path": str(file), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256 of its head": head}


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of a run, in order.

    :param field: column of Parquet files that holds the text.
    :param stdin: what `-` is.
    :param live: hand on what standard input has, without waiting for a full chunk.
    :param stop: where the only file ends, in bytes (of a Parquet file rows); None where it does.
    """

    paths: tuple[str, ...]
    kind: Kind
    stdin: BinaryIO
    field: str = "text"
    live: bool = False
    stop: int | None = None

    def size(self, path: str) -> int:
        """Bytes of a file, of a Parquet file rows; 0 for standard input."""
        if path == STDIN:
            return 0
        return parquet_rows(path) if self.kind == "parquet" else Path(path).stat().st_size

    def chunks(self, start: Position, *, stdin_before: tuple[int, str] = (0, "")) -> Generator[Chunk]:
        """Chunks from `start` on. From a position where a chunk began, the same chunks come in every run.

        :param stdin_before: a number of bytes and the hash of as many that standard input must begin with, if it is
            resumed.
        :raises BulkError: if a file is damaged, or standard input is another than it was.
        """
        read = 0
        for number, path in enumerate(self.paths):
            if number >= start.file:
                first = start if number == start.file else Position(number)
                yield from self._chunks_of(path, first, read, stdin_before)
            read += self.size(path)

    def _chunks_of(self, path: str, start: Position, read: int, stdin_before: tuple[int, str]) -> Generator[Chunk]:
        if self.kind == "parquet":
            yield from parquet_chunks(path, start, field=self.field, read=read, stop=self.stop)
        elif path == STDIN:
            yield from self._stdin_chunks(start, read, stdin_before)
        else:
            with Path(path).open("rb") as raw, closing(plain(raw, compression_of(path))) as file:
                if file is raw:
                    file.seek(start.offset)
                else:
                    _skip(file, start.offset, path)
                for chunk in self._cut(file, path, start):
                    yield Chunk(path, chunk.start, chunk.data, read + raw.tell())

    def _stdin_chunks(self, start: Position, read: int, before: tuple[int, str]) -> Generator[Chunk]:
        size, expected = before
        head = _skip(self.stdin, size, "stdin")
        if size and head.hexdigest() != expected:
            raise BulkError(f"cannot resume: the first {size} bytes of standard input are not what they were")
        for data in _blocks(self.stdin, start.offset - size):
            head.update(data)
        for chunk in self._cut(self.stdin, "stdin", start):
            head.update(chunk.data)
            yield Chunk("stdin", chunk.start, chunk.data, read + chunk.start.offset, head.hexdigest())

    def _cut(self, file: BinaryIO, name: str, start: Position) -> Generator[Chunk]:
        """Whole lines of about CHUNK_BYTES, or the rest of the file as one chunk."""
        if self.kind == "whole":
            yield Chunk(name, start, _read(file, -1, name), 0)
            return
        offset, line = start.offset, start.line
        while data := _read(file, self._most(offset), name, live=self.live):
            if not data.endswith(b"\n"):
                data += file.readline()
            yield Chunk(name, Position(start.file, offset, line), data, 0)
            offset += len(data)
            line += data.count(b"\n")

    def _most(self, offset: int) -> int:
        return CHUNK_BYTES if self.stop is None else min(CHUNK_BYTES, self.stop - offset)


def plain(raw: BinaryIO, compression: Compression) -> BinaryIO:
    """The decompressed content of an open file; several members or frames in a file are one content.

    :raises ModuleNotFoundError: for zst without pyarrow.
    """
    if compression == "gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw, mode="rb"))
    if compression == "xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if compression == "zst":
        return cast(BinaryIO, io.BufferedReader(parquet_module("pyarrow").CompressedInputStream(raw, "zstd")))
    return raw


def _read(file: BinaryIO, size: int, name: str, *, live: bool = False) -> bytes:
    try:
        return cast(io.BufferedReader, file).read1(size) if live else file.read(size)
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise BulkError(f"{name} cannot be read: {error}") from error


def _blocks(file: BinaryIO, size: int, name: str = "stdin") -> Iterator[bytes]:
    """The next `size` bytes, in blocks."""
    while size > 0 and (data := _read(file, min(size, 1 << 20), name)):
        size -= len(data)
        yield data


def _skip(file: BinaryIO, size: int, name: str) -> hashlib._Hash:
    """Read `size` bytes; their hash."""
    head = hashlib.sha256()
    for data in _blocks(file, size, name):
        head.update(data)
    return head
