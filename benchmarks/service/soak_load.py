"""The soak's load: `python -m benchmarks.service.soak_load` puts it on a server, job by job."""

from __future__ import annotations

import socket
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from benchmarks.service.client import Client
from benchmarks.service.load import closed_loop, percentiles
from benchmarks.service.mixture import Mixed, mixed
from benchmarks.service.pinned import answer_jobs
from benchmarks.service.scenarios import requests_of

BUCKET = 10  # seconds
_LINGER = 20_000_000  # nanoseconds from a client's request to its hanging up
_LINGERING = 8  # connections that may wait for that
_PATIENCE = 60.0  # seconds that the last answers may take


class HangUps:
    """Clients that send a request, or a part of one, and close the connection without waiting for the answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: deque[tuple[int, socket.socket]] = deque()
        self.count = 0

    def send(self, content: bytes, now: int) -> None:
        """A client sends this."""
        self.close(now, at_most=_LINGERING - 1)
        connection = socket.create_connection(("127.0.0.1", self._port))
        connection.setblocking(False)
        connection.send(content)  # as much as the kernel takes: it is cut off anyway
        self._open.append((now + _LINGER, connection))
        self.count += 1

    def close(self, now: int, *, at_most: int = _LINGERING) -> None:
        """Those whose time has come hang up, and the oldest if there are more than `at_most`."""
        while self._open and (self._open[0][0] <= now or len(self._open) > at_most):
            self._open.popleft()[1].close()


def soak(port: int, requests: Sequence[Mixed], *, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    """Offer requests at even intervals; those that find no connection free are not sent, only counted.

    :param rate: requests/s.
    :param connections: most that are open at once.
    :return: what became of each sort of request, and of those of every ten seconds.
    :raises TimeoutError: if the last answers do not come.
    """
    clock = time.perf_counter_ns
    client = Client(port, connections - _LINGERING)
    hang_ups = HangUps(port)
    statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)
    accepted: defaultdict[str, list[int]] = defaultdict(list)
    times: defaultdict[int, list[int]] = defaultdict(list)
    by_time: defaultdict[int, Counter[str]] = defaultdict(Counter)
    following = cycle(requests)
    start = clock()
    interval = 1e9 / rate
    number, count = 0, int(rate * seconds)
    while number < count or client.busy:
        now = clock()
        while number < count and (due := start + int(number * interval)) <= now:
            request = next(following)
            bucket = int((due - start) / 1e9) // BUCKET
            if request.sort == "hang-up":
                hang_ups.send(request.content, now)
                by_time[bucket]["hung up"] += 1
            elif client.idle:
                client.send(request.content, due, request.sort)
            else:
                by_time[bucket]["not sent"] += 1
            number += 1
            now = clock()
        hang_ups.close(now)
        left = (start + int(number * interval) - now) / 1e9 if number < count else 0.05
        for status, due, done, sort in client.wait(left):
            bucket = int((due - start) / 1e9) // BUCKET
            statuses[sort][status] += 1
            by_time[bucket][str(status)] += 1
            if status == 200:
                accepted[sort].append(done - due)
                times[bucket].append(done - due)
        if number == count and clock() > start + 1e9 * (seconds + _PATIENCE):
            raise TimeoutError(f"{client.busy} requests were not answered within {_PATIENCE:.0f} s of the last one")
    drained = (clock() - start) / 1e9 - seconds
    hang_ups.close(clock(), at_most=0)
    client.close()
    return {
        "sorts": {
            sort: {"statuses": dict(own)} | percentiles(accepted[sort]) for sort, own in sorted(statuses.items())
        },
        "all": percentiles([one for own in accepted.values() for one in own]),
        "buckets": [
            {"seconds": bucket * BUCKET, "counts": dict(own)} | percentiles(times[bucket])
            for bucket, own in sorted(by_time.items())
        ],
        "hung_up": hang_ups.count,
        "drain_seconds": drained,
    }


def short_rate(port: int, *, seconds: float, warm_up: float) -> float:
    """Requests/s of single sentences at 32 connections."""
    client = Client(port, 32)
    try:
        return closed_loop(client, requests_of("short"), seconds=seconds, warm_up=warm_up).rate
    finally:
        client.close()


def saturation(port: int, requests: Sequence[Mixed], *, seconds: float) -> float:
    """Requests of the mix that are answered in a second, whatever the status, at 64 connections; no one hangs up."""
    client = Client(port, 64)
    contents = [one.content for one in requests if one.sort != "hang-up"]
    try:
        found = closed_loop(client, contents, seconds=seconds)
    finally:
        client.close()
    return sum(found.statuses.values()) / found.elapsed


def recovery(port: int, *, enough: float, seconds: float, window: float = 1.0) -> dict[str, Any]:
    """Requests/s in windows of a second until one reaches `enough` or the time is over.

    :return: `rates` of the windows, and `seconds` until the last began; None if it has not reached enough.
    """
    began = time.perf_counter()
    rates: list[float] = []
    while not rates or (rates[-1] < enough and time.perf_counter() - began < seconds):
        waited = time.perf_counter() - began
        rates.append(short_rate(port, seconds=0.8 * window, warm_up=0.2 * window))
    return {"rates": rates, "seconds": waited if rates[-1] >= enough else None}


def job(what: str, port: int, model: str = "auto", **options: Any) -> dict[str, Any]:
    """One step of a soak."""
    made = mixed(model=model) if what in ("saturation", "soak") else []
    if what == "short":
        return {"rate": short_rate(port, **options)}
    if what == "saturation":
        return {"rate": saturation(port, made, **options)}
    if what == "soak":
        return soak(port, made, **options)
    return recovery(port, **options)


if __name__ == "__main__":
    answer_jobs(job)
