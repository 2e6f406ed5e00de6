"""Loads: closed loop (each connection waits for its answer) and open loop (requests come when they are due)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np

from benchmarks.service.client import Client

_PATIENCE = 60.0  # seconds without any answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one contender did under one load; latencies in milliseconds, of what was answered with 200.

    :param rate: requests answered with 200 in a second of the time measured.
    :param statuses: of all answers, also of the warm-up; 0 for connections lost.
    :param elapsed: seconds from the first request to the last answer.
    :param offered: requests/s that were due in an open loop; None in a closed one.
    """

    rate: float
    p50: float
    p95: float
    p99: float
    worst: float
    statuses: dict[int, int]
    elapsed: float
    offered: float | None = None

    @property
    def errors(self) -> int:
        """Answers other than 200, and answers that never came."""
        return sum(count for status, count in self.statuses.items() if status != 200)

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)


def percentiles(latencies: Sequence[int]) -> dict[str, float]:
    """p50, p95, p99 and the worst of latencies in nanoseconds, as milliseconds; all 0 if there are none."""
    milliseconds = np.asarray(latencies or [0], dtype=np.float64) / 1e6
    p50, p95, p99, worst = (float(value) for value in np.percentile(milliseconds, [50, 95, 99, 100]))
    return {"p50": p50, "p95": p95, "p99": p99, "worst": worst}


def arrivals(rate: float, seconds: float, *, seed: int | None = None) -> list[int]:
    """When requests are due, in nanoseconds from the start.

    :param rate: requests/s.
    :param seed: of random gaps (exponential, as clients that know nothing of each other send); None: even gaps.
    """
    count = max(1, round(rate * seconds))
    if seed is None:
        return [round(1e9 * number / rate) for number in range(count)]
    gaps = np.random.default_rng(seed).exponential(1e9 / rate, count)
    return [int(due) for due in np.cumsum(gaps)]


class _Patience:
    """Gives up on a server that has stopped answering."""

    def __init__(self) -> None:
        self._heard = time.monotonic()

    def check(self, client: Client, answered: bool) -> None:
        """:raises TimeoutError: if requests are under way and nothing was answered for too long."""
        now = time.monotonic()
        if answered or not client.busy:
            self._heard = now
        elif now - self._heard > _PATIENCE:
            raise TimeoutError(f"no answer within {_PATIENCE:.0f} s to {client.busy} requests")


def closed_loop(
    client: Client, requests: Sequence[bytes], *, seconds: float, warm_up: float = 0.0, first: int = 0
) -> Outcome:
    """Every connection sends its next request as soon as it has its answer.

    :param warm_up: seconds before those that count.
    :param first: where in `requests` to begin; they go round.
    :raises TimeoutError: if the server stops answering.
    """
    clock = time.perf_counter_ns
    following = islice(cycle(requests), first % len(requests), None)
    latencies: list[int] = []
    statuses: Counter[int] = Counter()
    patience = _Patience()
    start = clock()
    begin = start + int(1e9 * warm_up)
    end = begin + int(1e9 * seconds)
    while client.idle:
        client.send(next(following), clock())
    while client.busy:
        answered = False
        for status, due, done, _ in client.wait(0.1):
            answered = True
            statuses[status] += 1
            if begin <= done < end and status == 200:
                latencies.append(done - due)
            if done < end:
                client.send(next(following), clock())
        patience.check(client, answered)
    return Outcome(
        rate=len(latencies) / seconds,
        **percentiles(latencies),
        statuses=dict(statuses),
        elapsed=(clock() - start) / 1e9,
    )


def open_loop(
    client: Client, requests: Sequence[bytes], due: Sequence[int], *, warm_up: float = 0.0, first: int = 0
) -> Outcome:
    """Requests are sent when they are due, whether answers come or not.

    A latency counts from when its request was due: one that had to wait for a free connection has waited too, so a
    server that stalls cannot hide it (no coordinated omission).

    :param due: nanoseconds from the start, rising; see `arrivals`.
    :param warm_up: seconds before those that count.
    :raises TimeoutError: if the server stops answering.
    """
    clock = time.perf_counter_ns
    following = islice(cycle(requests), first % len(requests), None)
    latencies: list[int] = []
    statuses: Counter[int] = Counter()
    patience = _Patience()
    start = clock()
    begin = start + int(1e9 * warm_up)
    end = start + due[-1]
    within = 0
    sent = 0
    while sent < len(due) or client.busy:
        now = clock()
        while sent < len(due) and start + due[sent] <= now and client.idle:
            client.send(next(following), start + due[sent])
            sent += 1
        blocked = sent == len(due) or not client.idle
        answered = False
        for status, meant, done, _ in client.wait(0.1 if blocked else (start + due[sent] - clock()) / 1e9):
            answered = True
            statuses[status] += 1
            if status == 200:
                within += begin <= done < end
                if meant >= begin:
                    latencies.append(done - meant)
        patience.check(client, answered)
    counted = sum(one >= 1e9 * warm_up for one in due)
    seconds = max(1, end - begin) / 1e9
    return Outcome(
        rate=within / seconds,
        **percentiles(latencies),
        statuses=dict(statuses),
        elapsed=(clock() - start) / 1e9,
        offered=counted / seconds,
    )
