"""The command as a person meets it: options, messages, what stands on standard output."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from onoma import commands

Tag = Callable[..., Any]
TEXT = "😀 Köln"


def test_lines_of_standard_input(tag: Tag) -> None:
    ran = tag("--confidence", stdin="😀 Köln\r\n\nAngela\u2028x".encode())
    assert (ran.status, ran.err) == (0, "")
    assert [row["text"] for row in ran.rows] == ["😀 Köln", "", "Angela\u2028x"]
    [entity] = ran.rows[0]["entities"]
    assert (entity["start"], entity["end"], entity["label"], entity["text"]) == (2, 6, "LOC", "Köln")
    assert 0 < entity["score"] <= 1
    assert ran.rows[1] == {"text": "", "entities": [], "confidence": 1.0}


@pytest.mark.parametrize(("unit", "span"), [("codepoint", (2, 6)), ("utf16", (3, 7)), ("utf8", (5, 10))])
def test_offset_units(tag: Tag, unit: str, span: tuple[int, int]) -> None:
    [row] = tag("--offset-unit", unit, stdin=TEXT.encode()).rows
    assert [(entity["start"], entity["end"]) for entity in row["entities"]] == [span]


def test_files_in_order(tag: Tag, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Angela\n" * 600, encoding="utf-8")
    (tmp_path / "b.txt").write_text("Köln\u2028Angela", encoding="utf-8")
    ran = tag(tmp_path / "a.txt", "-", tmp_path / "b.txt", stdin=b"x\n")
    assert [len(row["entities"]) for row in ran.rows] == [1] * 600 + [0, 2]


def test_filters(tag: Tag) -> None:
    text = "Angela in Köln".encode()
    [by_label] = tag("--labels", "LOC,ORG", stdin=text).rows
    [by_score] = tag("--min-score", "0.97", stdin=text).rows
    assert [entity["label"] for entity in by_label["entities"]] == ["LOC"]
    assert [entity["label"] for entity in by_score["entities"]] == ["PER"]


def test_whole_files(tag: Tag, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"Angela\r\nin\n")
    (tmp_path / "b.txt").write_bytes(b"")
    first, second = tag("--whole", tmp_path / "a.txt", tmp_path / "b.txt").rows
    assert (first["file"], first["text"], len(first["entities"])) == (str(tmp_path / "a.txt"), "Angela\r\nin\n", 1)
    assert (second["text"], second["entities"]) == ("", [])


def test_json_rows_keep_their_fields_to_the_byte(tag: Tag) -> None:
    own = b'{"id": 1e2, "big":123456789012345678901234567890 , "text": "Angela", "x": {"\\u00e9": 1.10}'
    ran = tag("--input-format", "jsonl", "--into", "names", stdin=own + b" } \r\n  \n")
    assert ran.out.startswith(own + b',"names":[{"start":0,')
    assert len(ran.rows) == 1


def test_masked_text(tag: Tag) -> None:
    assert tag("--mask", "[{label}]", stdin="Angela in Köln\nx".encode()).out == b"[PER] in [LOC]\nx\n"


def test_masked_json_has_nothing_of_the_entities(tag: Tag) -> None:
    given = '{"n": 1.10, "text": "x", "big": 123456789012345678901234567890, "text": "Angela {label}"}'
    ran = tag("--input-format", "jsonl", "--mask", "<{label}>", stdin=given.encode())
    assert ran.out == b'{"n":1.10,"text":"<PER> {label}","big":123456789012345678901234567890}\n'


def test_colors(tag: Tag) -> None:
    out = tag("--format", "color", stdin="in Köln.".encode()).out.decode()
    assert out == "in \x1b[1;35mKöln\x1b[0;35m LOC\x1b[0m.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "PER,GPE"], "no label 'GPE', only PER, ORG, LOC"),
        (["--min-score", "2"], "--min-score must be in 0..1, got 2.0"),
        (["--processes", "0"], "--processes must be at least 1, got 0"),
        (["no/such/file"], "no/such/file: no such file"),
        (["."], ". is a folder"),
        (["-", "-"], "can be read once"),
        (["--model", "no/such/bundle"], "no bundle at no/such/bundle"),
        (["--format", "parquet"], "--format parquet needs --output"),
        (["--format", "text"], "it needs --mask"),
        (["--into", "text"], "--into must be a name that rows do not have yet, got 'text'"),
        (["--engine", "ray"], "--engine ray needs --output"),
        (["--input-format", "parquet"], "cannot come from standard input"),
    ],
)
def test_wrong_arguments(tag: Tag, arguments: Sequence[str], message: str) -> None:
    ran = tag(*arguments, stdin=b"x")
    assert (ran.status, ran.out) == (1, b"")
    assert message in ran.err and ran.err.count("\n") == 1


BAD_LINES = [
    ("text", b"Angela \xff", "not UTF-8: 0xff at byte 7"),
    ("text", b"a\0b", "the text has a NUL character at character 1"),
    ("jsonl", b'{"text": "\xed\xa0\x80"}', "not JSON: str is not valid UTF-8"),
    ("jsonl", b'{"text": "\\ud800"}', "not JSON: "),
    ("jsonl", b'{"text": "a"', "not JSON: "),
    ("jsonl", b'["text"]', "must be a JSON object, got list"),
    ("jsonl", b'{"body": "a"}', "has no field 'text'"),
    ("jsonl", b'{"text": null}', "text must be a string, got null"),
    ("jsonl", b'{"text": "a\\u0000"}', "text has a NUL character at character 1"),
    ("jsonl", b'{"text": "a", "entities": 1}', "already has a field 'entities'"),
]


@pytest.mark.parametrize(("kind", "bad", "message"), BAD_LINES)
def test_a_bad_line_is_named_and_the_lines_before_it_are_written(
    tag: Tag, tmp_path: Path, kind: str, bad: bytes, message: str
) -> None:
    good = b'{"text": "Angela"}' if kind == "jsonl" else b"Angela"
    file = tmp_path / f"in.{kind}"
    file.write_bytes(b"\n".join([good, good, bad, good]) + b"\n")
    ran = tag(file)
    assert (ran.status, len(ran.rows)) == (1, 2)
    assert f"{file}:3: {message}" in ran.err
    skipped = tag(file, "--skip-errors")
    assert (skipped.status, len(skipped.rows)) == (0, 3)
    assert '"line":3' in skipped.err and message.split(":")[0] in skipped.err


def test_bad_rows_are_put_aside(tag: Tag, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "Angela"}\n\n{"text": 1, "id": "\xc3\xa9"}\n{"text": "x"}')
    stopped = tag(tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert stopped.status == 1 and "in.jsonl:3: text must be a string, got int" in stopped.err
    assert not (tmp_path / "out.jsonl").exists()
    gone_on = tag(tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl", "--skip-errors")
    assert gone_on.err == f"2 rows in {tmp_path}/out.jsonl; 1 bad rows are in {tmp_path}/out.jsonl.errors.jsonl\n"
    errors = (tmp_path / "out.jsonl.errors.jsonl").read_text(encoding="utf-8")
    assert '"line":3,"error":"text must be a string, got int","row":"{\\"text\\": 1, \\"id\\": \\"é\\"}"}' in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.jsonl",
        "out.jsonl",
        "out.jsonl.errors.jsonl",
        "student",
    ]


def test_inputs_of_two_kinds(tag: Tag, tmp_path: Path) -> None:
    for name in ("a.txt", "b.jsonl"):
        (tmp_path / name).write_text('{"text": "Angela"}', encoding="utf-8")
    assert "must be of one kind" in tag(tmp_path / "a.txt", tmp_path / "b.jsonl").err
    assert len(tag(tmp_path / "a.txt", tmp_path / "b.jsonl", "--input-format", "jsonl").rows) == 2


def test_every_option_is_documented() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    commands.tag.add_arguments(parser)
    documented = (Path(__file__).parents[3] / "docs" / "bulk.md").read_text(encoding="utf-8")
    options = [name for action in parser._actions for name in action.option_strings]
    assert [name for name in options if f"`{name}" not in documented] == []
    assert len(options) > 15


def test_someone_who_types_is_answered_line_by_line(bundle: Path) -> None:
    command = [sys.executable, "-m", "onoma", "tag", "--model", str(bundle)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        for line in (b"Angela\n", b"in\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline().startswith(b'{"text":"' + line.strip())
        process.stdin.close()
    assert process.returncode == 0


def test_a_reader_that_has_seen_enough_is_no_error(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("Angela\n" * 20000, encoding="utf-8")
    command = f"{sys.executable} -m onoma tag --processes 1 --model {bundle} {tmp_path}/in.txt | head -n 1"
    ran = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
