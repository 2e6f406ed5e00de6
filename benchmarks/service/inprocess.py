"""Tagger without a server: `python -m benchmarks.service.inprocess FOLDER` times tag_batch on the texts of requests."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

from benchmarks.service.pinned import answer_jobs
from benchmarks.service.scenarios import by_name, texts_of
from onoma.tagger import Tagger


def timed(
    tagger: Tagger, requests: Sequence[Sequence[str]], *, seconds: float, warm_up: float, first: int
) -> dict[str, float]:
    """Call tag_batch with one request's texts after the other.

    :return: calls a second (`rate`), CPU milliseconds of a call, and the share of the core that was had.
    """
    following = islice(cycle(requests), first % len(requests), None)
    until = time.perf_counter() + warm_up
    while time.perf_counter() < until:
        tagger.tag_batch(next(following))
    spent = time.process_time()
    began = now = time.perf_counter()
    count = 0
    while now < began + seconds:
        tagger.tag_batch(next(following))
        now = time.perf_counter()
        count += 1
    spent = time.process_time() - spent
    return {"rate": count / (now - began), "cpu_ms": 1000 * spent / count, "core": spent / (now - began)}


def main(arguments: Sequence[str]) -> int:
    """Answer jobs: a scenario by its name."""
    tagger = Tagger.load(arguments[0], threads=1)

    def job(scenario: str, seconds: float, warm_up: float, first: int) -> dict[str, Any]:
        return timed(tagger, texts_of(by_name(scenario).kind), seconds=seconds, warm_up=warm_up, first=first)

    answer_jobs(job)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
