from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from onoma import cli
from onoma.commands import Line, batches

Onoma = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def onoma(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Onoma:
    """Run the command line with `tag` and one command whose module is missing; status, output lines, stderr."""
    found = [
        EntryPoint("tag", "onoma.commands:tag", "onoma.commands"),
        EntryPoint("absent", "no_such_package.commands:command", "onoma.commands"),
    ]

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, list[dict[str, Any]], str]:
        with monkeypatch.context() as patched:
            patched.setattr(cli, "entry_points", lambda group: found)
            patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            status = cli.main(arguments)
        out, err = capfdbinary.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err.decode()

    return run


def test_stdin(onoma: Onoma, bundle: Path) -> None:
    status, lines, err = onoma("tag", "--model", str(bundle), "--with-text", stdin="😀 Köln\r\n\nAngela".encode())
    assert (status, err) == (0, "")
    assert [line["text"] for line in lines] == ["😀 Köln", "", "Angela"]
    [entity] = lines[0]["entities"]
    assert (entity["start"], entity["end"], entity["label"], entity["text"]) == (2, 6, "LOC", "Köln")
    assert 0 < entity["score"] <= 1
    assert lines[1] == {"text": "", "entities": [], "confidence": 1.0}


@pytest.mark.parametrize(("unit", "span"), [("codepoint", (2, 6)), ("utf16", (3, 7)), ("utf8", (5, 10))])
def test_offset_units(onoma: Onoma, bundle: Path, unit: str, span: tuple[int, int]) -> None:
    _, [line], _ = onoma("tag", "--model", str(bundle), "--offset-unit", unit, stdin="😀 Köln".encode())
    assert [(e["start"], e["end"]) for e in line["entities"]] == [span]


def test_files_in_order(onoma: Onoma, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Angela\n" * 600, encoding="utf-8")
    (tmp_path / "b.txt").write_text("Köln\u2028Angela", encoding="utf-8")
    status, lines, _ = onoma(
        "tag", "--model", str(bundle), str(tmp_path / "a.txt"), "-", str(tmp_path / "b.txt"), stdin=b"x\n"
    )
    assert status == 0
    assert [len(line["entities"]) for line in lines] == [1] * 600 + [0, 2]


def test_filters(onoma: Onoma, bundle: Path) -> None:
    text = "Angela in Köln".encode()
    assert [
        e["label"] for e in onoma("tag", "--model", str(bundle), "--labels", "LOC,ORG", stdin=text)[1][0]["entities"]
    ] == ["LOC"]
    assert [
        e["label"] for e in onoma("tag", "--model", str(bundle), "--min-score", "0.97", stdin=text)[1][0]["entities"]
    ] == ["PER"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "PER,GPE"], "no label 'GPE', only PER, ORG, LOC"),
        (["--min-score", "2"], "--min-score must be in 0..1"),
        (["no/such/file"], "no/such/file: no such file"),
        (["--model", "no/such/bundle"], "no bundle at no/such/bundle"),
    ],
)
def test_wrong_arguments(onoma: Onoma, bundle: Path, arguments: Sequence[str], message: str) -> None:
    status, lines, err = onoma("tag", "--model", str(bundle), *arguments, stdin=b"x")
    assert (status, lines) == (1, [])
    assert message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"Angela \xff", "{}:3: the line is not UTF-8: 0xff at byte 7"),
        (b"a\0b", "{}:3: the line has a NUL character at character 1"),
        (b"\xed\xa0\x80", "{}:3: the line is not UTF-8: 0xed at byte 0"),
    ],
)
def test_a_bad_line_is_named_and_the_lines_before_it_answered(
    onoma: Onoma, bundle: Path, tmp_path: Path, bad: bytes, message: str
) -> None:
    (tmp_path / "in.txt").write_bytes(b"Angela\n\n" + bad + b"\nAngela\n")
    status, lines, err = onoma("tag", "--model", str(bundle), str(tmp_path / "in.txt"))
    assert (status, len(lines)) == (1, 2)
    assert message.format(tmp_path / "in.txt") in err


def test_batches_are_bounded() -> None:
    lines = [Line("x:1", "a" * length) for length in (1, 1, 1, 50, 1, 200)]
    sizes = [[len(line.text) for line in batch] for batch in batches(lines, most_lines=3, most_characters=51)]
    assert sizes == [[1, 1, 1], [50, 1], [200]]


def test_a_missing_command_is_listed(onoma: Onoma) -> None:
    status, _, err = onoma("absent", "--any", "thing", "--help")
    assert status == 2
    assert "onoma absent: (not available) No module named 'no_such_package'" in err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError(name="ray"), "onoma absent: ray is not installed; see the extras in README.md\n"),
        (ModuleNotFoundError("the ray engine needs Ray"), "onoma absent: the ray engine needs Ray\n"),
    ],
)
def test_a_missing_library_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, message: str
) -> None:
    def run(_: argparse.Namespace) -> int:
        raise error

    parser = argparse.ArgumentParser()
    parser.set_defaults(command="absent", run=run)
    monkeypatch.setattr(cli, "build_parser", lambda: parser)
    assert cli.main([]) == 2
    assert capsys.readouterr().err == message


def test_needs_names_the_extra() -> None:
    class Metadata:
        def get_all(self, name: str, default: list[str]) -> list[str]:
            return ["distill", "export"] if name == "Provides-Extra" else default

    class Distribution:
        metadata = Metadata()

    entry = EntryPoint("train-teacher", "distill.commands:train_teacher", "onoma.commands")
    vars(entry)["dist"] = Distribution()
    assert cli._needs(entry) == "(needs extra distill: pip install 'onoma[distill]')"


def test_help_lists_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [EntryPoint(name, f"{name}_nowhere:command", "onoma.commands") for name in ("serve", "export")]
    found.append(EntryPoint("tag", "onoma.commands:tag", "onoma.commands"))
    monkeypatch.setattr(cli, "entry_points", lambda group: found)
    shown = cli.build_parser().format_help()
    assert "tag lines of text" in shown
    assert shown.count("(not available)") == 2
