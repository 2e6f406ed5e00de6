"""Runs that are killed, and gone on with: what comes out is what one run would have written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onoma.bulk.errors import BulkError
from onoma.bulk.job import Position
from onoma.bulk.journal import Entry, Partial

Tag = Callable[..., Any]

# Kills its process the hard way, half a write after the third chunk; every chunk before is in the journal.
KILLED = """
import os, signal, sys
from onoma.bulk import inputs, journal, local, parquet
from onoma.cli import Command
from onoma import commands
import argparse

inputs.CHUNK_BYTES = parquet.CHUNK_BYTES = 200
local.COMMIT_SECONDS = 0
written = []

def write(self, output, errors, entry, whole=journal.Partial.write):
    written.append(output)
    if len(written) == 4:
        self._files[0].write(output[:-3])
        self._files[0].flush()
        os.kill(os.getpid(), signal.SIGKILL)
    whole(self, output, errors, entry)

journal.Partial.write = write
parser = argparse.ArgumentParser()
commands.tag.add_arguments(parser)
commands.tag.run(parser.parse_args())
"""

# What runs in the background of a shell is started with SIGINT ignored, and then Python would leave it so.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from onoma.cli import main
sys.exit(main())
"""


def lines(count: int) -> str:
    return "".join(json.dumps({"id": number, "text": f"{number} Angela in Köln"}) + "\n" for number in range(count))


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
@pytest.mark.usefixtures("small_chunks")
def test_kill_and_resume(tag: Tag, tmp_path: Path, bundle: Path, name: str) -> None:
    (tmp_path / "in.jsonl").write_text(lines(50), encoding="utf-8")
    (tmp_path / "more.jsonl").write_text(lines(7), encoding="utf-8")
    files = [tmp_path / "in.jsonl", tmp_path / "more.jsonl"]
    assert tag(*files, "-o", tmp_path / f"once.{name}").status == 0
    output = tmp_path / name
    options = ["--model", str(bundle), "--processes", "1", "-o", str(output)]
    for _ in range(2):
        ran = subprocess.run([sys.executable, "-c", KILLED, *map(str, files), *options])
        assert ran.returncode == -signal.SIGKILL
        assert not output.exists()
    assert json.loads((tmp_path / f"{name}.journal").read_bytes())["entry"]["rows"] > 20
    assert tag(*files, "-o", output).err == f"57 rows in {output}\n"
    assert output.read_bytes() == (tmp_path / f"once.{name}").read_bytes()
    assert [path.name for path in tmp_path.glob(f"{name}*")] == [name]


def test_standard_input_is_resumed_where_it_was(tag: Tag, tmp_path: Path, bundle: Path) -> None:
    text = "".join(f"{number:06} Angela in Köln\n" for number in range(16000)).encode()
    options = ["--processes", "1", "--model", str(bundle), "-o", "out.jsonl"]
    command = [sys.executable, "-c", INTERRUPTIBLE, "tag", *options]
    journal = tmp_path / "out.jsonl.journal"
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdin
        process.stdin.write(text[:300_000])
        process.stdin.flush()
        # Two chunks and a bit: the run waits for more. Ctrl-C commits what is complete.
        while process.poll() is None and not (tmp_path / "out.jsonl.partial").exists():
            time.sleep(0.02)
        while process.poll() is None and (tmp_path / "out.jsonl.partial").stat().st_size < 1_000_000:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    before = json.loads(journal.read_bytes())["entry"]
    assert before["rows"] > 5000 and before["position"]["offset"] == before["stdin_before"][0]
    changed = tag("-o", tmp_path / "out.jsonl", stdin=b"x" + text[1:])
    assert "bytes of standard input are not what they were" in changed.err
    assert tag("-o", tmp_path / "out.jsonl", stdin=text).status == 0
    assert (tmp_path / "out.jsonl").read_bytes() == tag(stdin=text).out


@pytest.fixture
def begun(tag: Tag, tmp_path: Path) -> Path:
    """An output that stopped at a bad row."""
    (tmp_path / "in.jsonl").write_text('{"text": "Angela"}\n{"text": 1}\n', encoding="utf-8")
    assert tag(tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl").status == 1
    return tmp_path / "out.jsonl"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-score", "0.5"], "options min_score was 0.0, is 0.5"),
        (["--labels", "PER"], "options labels was None, is ['PER']"),
        (["--offset-unit", "utf8"], "options offset_unit was 'codepoint', is 'utf8'"),
    ],
)
def test_other_options_are_refused(tag: Tag, begun: Path, options: list[str], message: str) -> None:
    ran = tag(begun.parent / "in.jsonl", "-o", begun, *options)
    assert ran.status == 1 and message in ran.err and "--restart" in ran.err
    assert tag(begun.parent / "in.jsonl", "-o", begun, *options, "--restart", "--skip-errors").status == 0


def test_another_model_or_input_is_refused(tag: Tag, begun: Path) -> None:
    source = begun.parent / "in.jsonl"
    manifest = begun.parent / "student" / "bundle.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    os.utime(source, ns=(1, 1))
    message = tag(source, "-o", begun).err
    assert "model was" in message and "inputs 1 mtime_ns was" in message and "size" not in message
    source.write_bytes(source.read_bytes() + b"\n")
    assert "inputs 1 size was 31, is 32" in tag(source, "-o", begun).err


def test_an_output_is_never_written_over(tag: Tag, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("mine", encoding="utf-8")
    assert "out.jsonl exists already" in tag("-o", tmp_path / "out.jsonl", stdin=b"x").err
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == "mine"
    assert not list(tmp_path.glob("out.jsonl.*"))


def test_damage_is_seen(tag: Tag, begun: Path) -> None:
    begun.with_name("out.jsonl.partial").write_bytes(b"")
    message = tag(begun.parent / "in.jsonl", "-o", begun, "--skip-errors").err
    assert "out.jsonl.partial has 0 bytes, out.jsonl.journal counts" in message


def test_two_runs_at_one_output(tmp_path: Path) -> None:
    first = Partial(tmp_path / "out.jsonl", identity={})
    with pytest.raises(BulkError, match=r"another run is writing .*out\.jsonl\.partial"):
        Partial(tmp_path / "out.jsonl", identity={})
    first.write(b"row\n", b"", Entry(position=Position(0, 4, 2), rows=1))
    first.commit()
    first.close()
    second = Partial(tmp_path / "out.jsonl", identity={})
    assert second.entry == Entry(position=Position(0, 4, 2), rows=1, size=4)
    second.close()


@pytest.mark.parametrize("named", [False, True])
def test_killed_between_the_last_row_and_the_last_name(tag: Tag, tmp_path: Path, named: bool) -> None:
    (tmp_path / "in.txt").write_text("Angela\n", encoding="utf-8")
    whole = tag(tmp_path / "in.txt").out

    class Killed(BaseException):
        pass

    def kill(*_: Any) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        if named:
            patched.setattr(Partial, "finish", kill)
        else:
            patched.setattr("onoma.bulk.local.write_parquet", kill)
        tag(tmp_path / "in.txt", "-o", tmp_path / ("out.jsonl" if named else "out.parquet"))
    output = tmp_path / ("out.jsonl" if named else "out.parquet")
    assert output.exists() == named
    assert tag(tmp_path / "in.txt", "-o", output).status == 0
    assert [path.name for path in tmp_path.glob("out.*")] == [output.name]
    if named:
        assert output.read_bytes() == whole
