from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import orjson
import pytest

from onoma import cli


@dataclass(frozen=True)
class Ran:
    status: int
    out: bytes
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.out.splitlines()]


Tag = Callable[..., Ran]


@pytest.fixture
def tag(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], bundle: Path) -> Tag:
    """Run `onoma tag` with the tiny bundle, in this process unless told otherwise."""

    def run(*arguments: str | Path, stdin: bytes = b"", model: Path = bundle, processes: int = 1) -> Ran:
        with monkeypatch.context() as patched:
            found = [EntryPoint("tag", "onoma.commands:tag", "onoma.commands")]
            patched.setattr(cli, "entry_points", lambda group: found)
            patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            fixed: Sequence[str] = ["tag", "--model", str(model), "--processes", str(processes)]
            status = cli.main([*fixed, *map(str, arguments)])
        out, err = capfdbinary.readouterr()
        return Ran(status, out, err.decode())

    return run


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few rows, so that a small file has many."""
    monkeypatch.setattr("onoma.bulk.inputs.CHUNK_BYTES", 200)
    monkeypatch.setattr("onoma.bulk.parquet.CHUNK_BYTES", 200)
