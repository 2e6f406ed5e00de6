from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from onoma import cli

Onoma = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def onoma(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Onoma:
    """Run the command line with one command whose module is missing; status, output lines, stderr."""
    found = [
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
    assert "tag text, JSON lines or Parquet" in shown
    assert shown.count("(not available)") == 2
