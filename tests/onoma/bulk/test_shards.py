"""Shards, as Ray's actors write them, without Ray; and with it, if it is asked for."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from onoma.bulk import ray_engine
from onoma.bulk.inputs import Inputs
from onoma.bulk.job import Job, Kind
from onoma.bulk.parquet import output_schema, own_schema
from onoma.bulk.shards import ShardWriter, Split, splits_of

Tag = Callable[..., Any]


def inputs_of(*paths: Path, kind: Kind) -> Inputs:
    return Inputs(tuple(map(str, paths)), kind, io.BytesIO())


def test_shards_are_the_rows_in_order(tag: Tag, tmp_path: Path, bundle: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("".join(f'{{"id": {n}, "text": "{n} Angela"}}\n' for n in range(100)), encoding="utf-8")
    splits = splits_of(inputs_of(file, file, kind="jsonl"), most_bytes=1000)
    assert len(splits) > 4
    writer = ShardWriter(Job(model=str(bundle), kind="jsonl", form="jsonl"), tmp_path)
    assert sum(writer.write(split)["rows"] for split in reversed(splits)) == 200
    shards = sorted(tmp_path.glob("part-*.jsonl"))
    assert b"".join(shard.read_bytes() for shard in shards) == tag(file, file).out


def test_bad_rows_are_named_by_their_line_in_the_file(tmp_path: Path, bundle: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"text": "Angela"}\n' * 100 + '{"text": 1}\n{"text": "x"}\n', encoding="utf-8")
    last = splits_of(inputs_of(file, kind="jsonl"), most_bytes=500)[-1]
    stopped = ShardWriter(Job(model=str(bundle), kind="jsonl", form="jsonl"), tmp_path).write(last)
    assert stopped["failure"] == f"{file}:101: text must be a string, got int"
    assert not list(tmp_path.glob("part-*.jsonl"))
    writer = ShardWriter(Job(model=str(bundle), kind="jsonl", form="jsonl", skip_errors=True), tmp_path)
    assert writer.write(last)["bad"] == 1
    assert json.loads((tmp_path / f".part-{last.number:06}.errors").read_bytes())["line"] == 101


def test_parquet_is_cut_between_row_groups(tag: Tag, tmp_path: Path, bundle: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": [f"{n} Angela" for n in range(100)]}), file, row_group_size=15)
    job = Job(model=str(bundle), kind="parquet", form="parquet")
    splits = splits_of(inputs_of(file, kind="parquet"), most_rows=30)
    assert [(split.start, split.stop) for split in splits] == [(0, 30), (30, 60), (60, 90), (90, 100)]
    writer = ShardWriter(job, tmp_path, output_schema(own_schema(job, [str(file)]), job))
    for split in splits:
        writer.write(split)
    assert tag(file, "-o", tmp_path / "out.parquet").status == 0
    shards = pa.concat_tables([pq.read_table(shard) for shard in sorted(tmp_path.glob("part-*.parquet"))])
    assert shards.equals(pq.read_table(tmp_path / "out.parquet"))


def test_whole_and_compressed_files_are_not_cut(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.txt.gz" for n in range(5)]
    for file in files:
        file.write_bytes(b"x" * 100)
    names = [str(file) for file in files]
    whole = splits_of(inputs_of(*files, kind="whole"), most_bytes=250)
    assert whole == [Split(0, tuple(names[:3]), size=300), Split(1, tuple(names[3:]), size=200)]
    assert [split.paths for split in splits_of(inputs_of(*files, kind="text"), most_bytes=10)] == [(n,) for n in names]


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> list[Split]:
    """Splits are written here and now, one by one, in place of Ray; the list says which."""
    written: list[Split] = []

    def tagged(splits: Sequence[Split], writer: ShardWriter, processes: int) -> Iterator[dict[str, Any]]:
        for split in splits:
            written.append(split)
            yield writer.write(split)

    monkeypatch.setattr(ray_engine, "_cluster", nullcontext)
    monkeypatch.setattr(ray_engine, "_tagged", tagged)
    return written


def test_a_folder_is_gone_on_with_and_there_when_it_is_whole(tag: Tag, tmp_path: Path, no_cluster: list[Split]) -> None:
    files = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for file in files:
        file.write_text('{"text": "Angela"}\n', encoding="utf-8")
    files[1].write_text('{"text": "Angela"}\n{}\n', encoding="utf-8")
    options = [*files, "--engine", "ray", "-o", tmp_path / "out"]
    assert "b.jsonl:2: has no field 'text'" in tag(*options).err
    assert "options min_score was 0.0" in tag(*options, "--min-score", "0.1").err
    assert not (tmp_path / "out").exists() and len(no_cluster) == 2
    ran = tag(*options, "--skip-errors")
    assert ran.err == f"3 rows in {tmp_path}/out; 1 bad rows are in {tmp_path}/out.errors.jsonl\n"
    assert [split.number for split in no_cluster[2:]] == [1, 2]
    shards = sorted((tmp_path / "out").iterdir())
    assert b"".join(shard.read_bytes() for shard in shards) == tag(*files, "--skip-errors").out
    assert json.loads((tmp_path / "out.errors.jsonl").read_bytes())["line"] == 2
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out", "out.errors.jsonl"]
    assert "out exists already" in tag(*options).err


@pytest.mark.parametrize(
    ("options", "message"),
    [(["-"], "reads files, not standard input"), (["--format", "parquet"], "shards would have schemas of their own")],
)
def test_what_ray_does_not_do_is_refused(tag: Tag, tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "in.jsonl").write_text("{}", encoding="utf-8")
    ran = tag(*options, tmp_path / "in.jsonl", "--engine", "ray", "-o", tmp_path / "out")
    assert ran.status == 1 and message in ran.err
    assert not list(tmp_path.glob("out*"))


@pytest.mark.ray
def test_ray_writes_the_rows_that_the_local_engine_does(
    tag: Tag, tmp_path: Path, bundle: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("ray")
    if "ray" not in request.config.option.markexpr:
        pytest.skip("starts a local Ray, which takes a minute: pytest -m ray")
    (tmp_path / "a.txt").write_text("Angela\nin Köln\n" * 50, encoding="utf-8")
    (tmp_path / "b.txt").write_text("x\n", encoding="utf-8")
    files = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    command = [sys.executable, "-m", "onoma", "tag", *files, "--engine", "ray", "--model", str(bundle), "-o", "out"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "101 rows in out" in ran.stderr
    shards = sorted((tmp_path / "out").iterdir())
    assert [shard.name for shard in shards] == ["part-000000.jsonl", "part-000001.jsonl"]
    assert b"".join(shard.read_bytes() for shard in shards) == tag(*files).out
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out"]
