"""The load generator's process: `python -m benchmarks.service.generator` puts the loads that it is told on servers."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.service.client import Client
from benchmarks.service.load import Outcome, arrivals, closed_loop, open_loop
from benchmarks.service.pinned import answer_jobs
from benchmarks.service.scenarios import Scenario, by_name, requests_of


def put(
    scenario: Scenario,
    requests: Sequence[bytes],
    *,
    port: int,
    seconds: float,
    warm_up: float,
    first: int,
    rate: float | None,
) -> Outcome:
    """Put a scenario's load on the server at a port.

    :param rate: requests/s of an open loop; None: closed loop.
    """
    client = Client(port, scenario.connections)
    try:
        if rate is None:
            return closed_loop(client, requests, seconds=seconds, warm_up=warm_up, first=first)
        due = arrivals(rate, warm_up + seconds, seed=first if scenario.random else None)
        return open_loop(client, requests, due, warm_up=warm_up, first=first)
    finally:
        client.close()


def job(
    scenario: str, port: int, seconds: float, warm_up: float, first: int, rate: float | None = None
) -> dict[str, Any]:
    """A scenario by its name; `busy` in the answer is the share of its own core that this took."""
    asked = by_name(scenario)
    requests = requests_of(asked.kind)
    gc.collect()
    gc.disable()
    began = time.process_time()
    outcome = put(asked, requests, port=port, seconds=seconds, warm_up=warm_up, first=first, rate=rate)
    spent = time.process_time() - began
    gc.enable()
    return outcome.record() | {"busy": spent / outcome.elapsed}


if __name__ == "__main__":
    answer_jobs(job)
