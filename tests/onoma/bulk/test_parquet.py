"""Parquet in and out, with what JSON lines become in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

Tag = Callable[..., Any]


def table(rows: int) -> Any:
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int16()),
            "body": pa.array([f"{number} Angela" for number in range(rows)], pa.string()).dictionary_encode(),
            "day": pa.array([date(2026, 1, 1)] * rows),
            "price": pa.array([Decimal("1.10")] * rows),
            "tags": pa.array([[None, "x"]] * rows),
        }
    )


@pytest.mark.usefixtures("small_chunks")
def test_rows_keep_their_columns(tag: Tag, tmp_path: Path) -> None:
    given = table(100)
    pq.write_table(given, tmp_path / "in.parquet", row_group_size=33)
    ran = tag(tmp_path / "in.parquet", "--column", "body", "--confidence", "-o", tmp_path / "out.parquet")
    assert (ran.status, ran.err) == (0, f"100 rows in {tmp_path}/out.parquet\n")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == [*given.column_names, "entities", "confidence"]
    assert found.select(given.column_names).equals(given)
    assert found.column("entities")[99].as_py()[0] | {"score": 0} == {
        "start": 3, "end": 9, "label": "PER", "text": "Angela", "score": 0,
    }  # fmt: skip
    as_json = tag(tmp_path / "in.parquet", "--column", "body").rows
    assert as_json[0]["day"] == "2026-01-01" and as_json[0]["price"] == "1.10"
    assert [row["entities"] for row in as_json] == found.column("entities").to_pylist()


def test_bad_rows_are_named_or_left_out(tag: Tag, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["Angela", None, "Köln"], "n": [1, 2, 3]}), tmp_path / "in.parquet")
    assert "in.parquet:2: text must be a string, got null" in tag(tmp_path / "in.parquet").err
    tag(tmp_path / "in.parquet", "--skip-errors", "--mask", "***", "-o", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [{"text": "***", "n": 1}, {"text": "***", "n": 3}]
    [error] = (tmp_path / "out.parquet.errors.jsonl").read_bytes().splitlines()
    assert orjson.loads(error)["line"] == 2


def test_json_rows_agree_on_a_schema_at_the_end(tag: Tag, tmp_path: Path, small_chunks: None) -> None:
    rows = [{"text": "Angela", "n": 1, "x": None}] * 20 + [{"text": "Köln", "n": 2.5, "x": {"a": ["y"]}}] * 20
    (tmp_path / "in.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    assert tag(tmp_path / "in.jsonl", "-o", tmp_path / "out.parquet").status == 0
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [{name: row[name] for name in ("text", "n", "x")} for row in found] == rows
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "a", "n": 1}\n' * 20 + b'{"text": "a", "n": "1"}\n' * 20)
    ran = tag(tmp_path / "in.jsonl", "-o", tmp_path / "other.parquet")
    assert ran.status == 1 and "the rows do not fit one Parquet schema" in ran.err


def test_no_rows_make_a_file_all_the_same(tag: Tag, tmp_path: Path) -> None:
    pq.write_table(table(0), tmp_path / "in.parquet")
    assert tag(tmp_path / "in.parquet", "--field", "body", "-o", tmp_path / "out.parquet").status == 0
    assert pq.read_table(tmp_path / "out.parquet").column_names == [*table(0).column_names, "entities"]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"body": ["x"]}, [], "has no column 'text', only body"),
        ({"text": [1]}, [], "is of type int64, not string"),
        ({"text": ["x"], "entities": [1]}, [], "already has a column 'entities'"),
        (
            {"text": ["x"], "b": [b"x"]},
            ["--format", "jsonl"],
            "in.parquet:1: the row cannot be JSON, Parquet holds it: Type is not JSON serializable: bytes",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    tag: Tag, tmp_path: Path, columns: dict[str, Any], options: list[str], message: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    ran = tag(tmp_path / "in.parquet", "-o", tmp_path / "out.parquet", *options)
    assert ran.status == 1 and message in ran.err


def test_files_of_other_schemas_are_refused(tag: Tag, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["x"], "n": [1]}), tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert "b.parquet has another schema than" in tag(*files, "-o", tmp_path / "out.parquet").err
    assert "c.parquet is no Parquet file" in tag(tmp_path / "c.parquet", "-o", tmp_path / "out.parquet").err


def test_without_pyarrow_the_extra_is_named(tag: Tag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(table(1), tmp_path / "in.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    ran = tag(tmp_path / "in.parquet")
    assert (ran.status, ran.err.count("\n")) == (2, 1) and "pip install 'onoma[bulk]'" in ran.err
