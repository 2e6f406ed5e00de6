"""Inputs: compressions, and chunks that are whole lines."""

from __future__ import annotations

import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onoma.bulk.errors import BulkError
from onoma.bulk.inputs import Inputs, common_kind, kind_of
from onoma.bulk.job import Position
from onoma.bulk.progress import Progress, line_of
from onoma.bulk.rows import lines_of
from onoma.bulk.shards import splits_of

Tag = Callable[..., Any]


def zst(data: bytes) -> bytes:
    pa = pytest.importorskip("pyarrow")
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("xz", lzma.compress), ("zst", zst)])
def test_compressed_inputs_and_outputs(
    tag: Tag, tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], small_chunks: None
) -> None:
    lines = [f'{{"text":"{number} Angela"}}\n'.encode() for number in range(60)]
    source, target = tmp_path / f"in.jsonl.{suffix}", tmp_path / f"out.jsonl.{suffix}"
    source.write_bytes(pack(b"".join(lines[:20])) + pack(b"".join(lines[20:])))
    (tmp_path / "plain.jsonl").write_bytes(b"".join(lines))
    assert tag(source, "-o", target).status == 0
    assert tag(target, "--into", "again").out.count(b'"again":[{') == 60
    assert tag(source).out == tag(tmp_path / "plain.jsonl").out


def test_a_damaged_archive_is_named(tag: Tag, tmp_path: Path) -> None:
    (tmp_path / "in.txt.gz").write_bytes(gzip.compress(b"Angela\n" * 1000)[:-9])
    ran = tag(tmp_path / "in.txt.gz")
    assert ran.status == 1 and f"{tmp_path}/in.txt.gz cannot be read: Compressed file ended" in ran.err


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", "text"),
        ("a", "text"),
        ("a.gz", "text"),
        ("a.JSONL.gz", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.parquet", "parquet"),
    ],
)
def test_kinds(name: str, kind: str) -> None:
    assert kind_of(name) == common_kind([name, "-"]) == kind


@given(st.binary().map(lambda data: data.replace(b"\0", b"\n")))
def test_lines_are_the_whole(data: bytes) -> None:
    lines = lines_of(data)
    assert b"".join(lines) == data
    assert lines == io.BytesIO(data).readlines()


@given(st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=30), st.integers(1, 60))
def test_chunks_and_splits(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], most: int) -> None:
    file = tmp_path_factory.getbasetemp() / "lines.txt"
    file.write_bytes(b"\n".join(lines))
    inputs = Inputs((str(file),), "text", io.BytesIO())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("onoma.bulk.inputs.CHUNK_BYTES", most)
        chunks = list(inputs.chunks(Position()))
        assert b"".join(chunk.data for chunk in chunks) == file.read_bytes()
        for at, chunk in enumerate(chunks):
            assert chunk.data.endswith(b"\n") or at == len(chunks) - 1
            assert chunk.start.line == 1 + file.read_bytes()[: chunk.start.offset].count(b"\n")
            assert list(inputs.chunks(chunk.start)) == chunks[at:]
        found = []
        for split in splits_of(inputs, most_bytes=most):
            part = Inputs(split.paths, "text", io.BytesIO(), stop=split.stop)
            found += [chunk.data for chunk in part.chunks(Position(0, split.start))]
            assert split.start == 0 or found[-1] and file.read_bytes()[split.start - 1 : split.start] == b"\n"
    assert b"".join(found) == file.read_bytes()


def test_standard_input_must_be_the_same() -> None:
    data = b"a\nb\nc\n"
    [chunk] = Inputs(("-",), "text", io.BytesIO(data)).chunks(Position())
    again = Inputs(("-",), "text", io.BytesIO(data + b"d\n"))
    [rest] = again.chunks(Position(0, 6, 4), stdin_before=(6, chunk.stdin_hash))
    assert (rest.data, rest.start.line) == (b"d\n", 4)
    with pytest.raises(BulkError, match="first 6 bytes"):
        list(
            Inputs(("-",), "text", io.BytesIO(b"A" + data)).chunks(
                Position(0, 6, 4), stdin_before=(6, chunk.stdin_hash)
            )
        )


def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now = iter([0.0, 1.0, 1.1, 2.0])
    monkeypatch.setattr("onoma.bulk.progress.time.monotonic", lambda: next(now))
    shown = Terminal()
    progress = Progress(shown, total=10, unit="rows")
    for read in (2, 3, 4):
        progress.show(read, read)
    progress.end()
    assert shown.getvalue().split("\r\x1b[K") == [
        "",
        " 20% 2 rows of 10 rows, 2 rows, 0:00:01",
        " 40% 4 rows of 10 rows, 4 rows, 0:00:02, 0:00:06 left",
        "",
    ]
    monkeypatch.undo()
    silent = io.StringIO()
    Progress(silent, total=10, unit="rows").show(5, 5)
    assert silent.getvalue() == ""


def test_progress_line() -> None:
    assert (
        line_of(2_500_000, 10_000_000, "bytes", 7, 1, seconds=60, begun=500_000)
        == " 25% 2.5 MB of 10.0 MB, 7 rows, 1 bad, 0:01:00, 0:03:45 left"
    )
    assert line_of(3, None, "rows", 3, 0, seconds=1.5) == "3 rows, 0:00:01"
