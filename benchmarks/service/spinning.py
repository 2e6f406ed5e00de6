"""onnxruntime's threads, and whether they spin, where two processes are busy on the same cores.

`python -m benchmarks.service.spinning MODEL VOCABULARY` is one of these processes; `measure` runs them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.service.load import percentiles
from benchmarks.service.pinned import Worker, answer_jobs, running_worker
from benchmarks.service.rounds import Round, turned
from benchmarks.service.spread import spread
from benchmarks.sessions import Session, Setup

ROWS, LENGTH = 8, 24  # windows, word-pieces in each
SETUPS: dict[str, Setup] = {
    "1 thread": Setup(threads=1),
    "2 threads": Setup(threads=2),
    "2 threads, spinning": Setup(threads=2, spinning=True),
    "4 threads": Setup(threads=4),
    "4 threads, spinning": Setup(threads=4, spinning=True),
}
COMPANY = {"alone": 1, "two": 2}  # processes that are busy at the same time


def measure(
    model: Path,
    *,
    vocabulary: int,
    cores: Sequence[int],
    rounds: int,
    seconds: float,
    warm_up: float,
    step: Callable[[str], None] = lambda _: None,
) -> list[Round]:
    """Runs a second, latency and CPU time of an inference, by number of processes and by setup."""
    command = spread(cores, ["-m", "benchmarks.service.spinning", str(model), str(vocabulary)])
    done: list[Round] = []
    with ExitStack() as stack:
        most = max(COMPANY.values())
        workers = [stack.enter_context(running_worker(command, core=cores[0])) for _ in range(most)]
        for number in range(rounds):
            this: Round = {company: {} for company in COMPANY}
            for company, count in COMPANY.items():
                for name in turned(list(SETUPS), number):
                    step(f"round {number + 1}/{rounds}: {company}, {name}")
                    this[company][name] = _together(workers[:count], setup=name, seconds=seconds, warm_up=warm_up)
            done.append(this)
    return done


def _together(workers: Sequence[Worker], **job: Any) -> dict[str, Any]:
    """One job for all of them at the same time: what they did together, and the latencies of the slower one."""
    for worker in workers:
        worker.begin(**job)
    found = [worker.finish() for worker in workers]
    runs = sum(one["runs"] for one in found)
    return {
        "rate": sum(one["runs"] / one["elapsed"] for one in found),
        "cpu_ms": 1000 * sum(one["spent"] for one in found) / runs,
        "core": sum(one["spent"] / one["elapsed"] for one in found),
        **{key: max(one[key] for one in found) for key in ("p50", "p99")},
    }


def timed(session: Session, *, vocabulary: int, seconds: float, warm_up: float) -> dict[str, float]:
    """Run a model for some time: its runs, their latencies in milliseconds, and the CPU time they took."""
    ids = np.random.default_rng(0).integers(vocabulary, size=(ROWS, LENGTH))
    mask = np.ones_like(ids)
    clock = time.perf_counter_ns
    until = clock() + int(1e9 * warm_up)
    while clock() < until:
        session.run(ids, mask)
    latencies: list[int] = []
    spent = time.process_time()
    now = began = clock()
    while now < began + 1e9 * seconds:
        session.run(ids, mask)
        before, now = now, clock()
        latencies.append(now - before)
    spent = time.process_time() - spent
    return {"runs": len(latencies), "elapsed": (now - began) / 1e9, "spent": spent, **percentiles(latencies)}


def main(arguments: Sequence[str]) -> int:
    """Answer jobs: a setup by its name."""
    model, vocabulary = Path(arguments[0]), int(arguments[1])

    def job(setup: str, seconds: float, warm_up: float) -> dict[str, Any]:
        return timed(Session(model, SETUPS[setup]), vocabulary=vocabulary, seconds=seconds, warm_up=warm_up)

    answer_jobs(job)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
