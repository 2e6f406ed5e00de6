"""Processes: order, bounds, and what happens when one dies."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from onoma.bulk.errors import BulkError
from onoma.bulk.job import Chunk, Job, Position
from onoma.bulk.pool import Pool

Tag = Callable[..., Any]


@pytest.fixture
def job(bundle: Path) -> Job:
    return Job(model=str(bundle), kind="text", form="jsonl")


def chunk(number: int) -> Chunk:
    return Chunk("in", Position(0, number, number + 1), f"{number} Angela\n".encode(), 0)


def test_two_processes_write_what_one_does(tag: Tag, tmp_path: Path, small_chunks: None) -> None:
    (tmp_path / "in.txt").write_text("".join(f"{n} Angela in Köln\n" for n in range(300)), encoding="utf-8")
    assert tag(tmp_path / "in.txt", "-o", tmp_path / "two.jsonl", processes=2).status == 0
    assert (tmp_path / "two.jsonl").read_bytes() == tag(tmp_path / "in.txt").out
    assert multiprocessing.active_children() == []


def test_no_more_is_read_than_is_written(job: Job) -> None:
    read: list[int] = []
    waiting = threading.Event()

    def chunks() -> Generator[Chunk]:
        for number in range(1000):
            read.append(number)
            yield chunk(number)
            if number == 3:
                waiting.set()

    found = Pool(job, 1).map(chunks())
    assert next(found)[0] == chunk(0)
    # Two chunks ahead, and one whose outcome this test has: its room is free when the next is asked for.
    time.sleep(0.2)
    assert len(read) <= 3 and not waiting.is_set()
    assert [next(found)[0].start.offset for _ in range(5)] == [1, 2, 3, 4, 5]
    found.close()
    assert len(read) <= 9


def test_a_process_that_dies_is_told_of(job: Job) -> None:
    def chunks() -> Generator[Chunk]:
        yield chunk(0)
        while True:
            yield chunk(1)

    found = Pool(job, 1).map(chunks())
    next(found)
    [process] = multiprocessing.active_children()
    process.kill()
    with pytest.raises(BulkError, match="a process ended with exit code -9 at the rows from in:2 on"):
        for _ in range(10):
            next(found)


def test_what_cannot_be_read_ends_the_run_after_what_could(job: Job) -> None:
    def chunks() -> Generator[Chunk]:
        yield chunk(0)
        raise BulkError("the disk is gone")

    found = Pool(job, 1).map(chunks())
    assert next(found)[1].rows == 1
    with pytest.raises(BulkError, match="the disk is gone"):
        next(found)
