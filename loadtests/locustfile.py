"""The Locust users. `Waiting`: a fixed number, each sends when it has its answer. `Arriving`: clients at a rate.

Run by `python -m loadtests`, a process for each leg, which finds its job in the environment. Latency counts from when
a request was due, whatever held it up: Locust's own figures and the CSV of requests agree on that.
"""

from __future__ import annotations

import csv
import itertools
import json
import random
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError
from locust import User, events, task
from locust.env import Environment
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV

from loadtests.job import job_in
from loadtests.records import ERROR, REJECTED, Record, Verdict, judge, write_records
from loadtests.texts import Request, endless, mixture, words

JOB = job_in()
# Connections that may be open at once: more than the requests that the service works on before it answers 429.
CONNECTIONS = 512
DRAIN = 30.0  # seconds that the last requests of a step may take; the service gives up a request as late as that
HEADERS = {"content-type": "application/json"}

_numbers = itertools.count()
_records: list[Record] = []
_marks: list[tuple[float, float]] = []  # (clock, CPU time of this process), at the window's begin and end
_begin = [0.0]  # when the window begins, in time.monotonic's seconds
_meters: list[gevent.Greenlet] = []
_longest_pause = [0.0]  # seconds between two beats of the heart
BEAT = 0.05


def clock() -> float:
    """Seconds from the begin of the measured window."""
    return time.monotonic() - _begin[0]


def sleep_until(at: float) -> None:
    """Sleep until the clock says so; gevent, whose own clock stands still between events, may wake too early."""
    while (wait := at - clock()) > 0:
        gevent.sleep(wait)


class _NerUser(User):
    abstract = True

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.rng = random.Random(f"{JOB.seed}-{next(_numbers)}")
        self.path = urlsplit(self.host).path.rstrip("/") + "/ner"
        self.http = HTTPClient.from_url(
            self.host, concurrency=CONNECTIONS, connection_timeout=DRAIN, network_timeout=DRAIN
        )

    def ask(self, request: Request, body: bytes, due: float) -> None:
        """Send one request, judge its answer, and keep both."""
        sent = clock()
        size = 0
        try:
            response = self.http.request("POST", self.path, body, HEADERS)
            answer = bytes(response.read())
        except (OSError, HTTPParseError) as error:
            done, verdict = clock(), Verdict(ERROR, f"{type(error).__name__}: {error}")
        else:
            done, size = clock(), len(answer)
            verdict = judge(request, model=JOB.model, status=response.status_code, body=answer)
        self.keep(request, due, sent, done, verdict, size)

    def keep(self, request: Request, due: float, sent: float, done: float, verdict: Verdict, size: int = 0) -> None:
        """Keep the record of a request; Locust hears of those that were due in the window."""
        count = sum(map(words, request.texts))
        _records.append(Record(request.kind, due, sent, done, len(request.texts), count, verdict))
        if 0 <= due < JOB.seconds:
            self.environment.events.request.fire(
                request_type="POST",
                name="rejected (429)" if verdict.outcome == REJECTED else request.kind,
                response_time=1000 * (done - due),
                response_length=size,
                exception=RuntimeError(verdict.fault) if verdict.outcome == ERROR else None,
                context={},
            )


class Waiting(_NerUser):
    """A user with at most one request under way."""

    def on_start(self) -> None:
        """Each user has texts of its own, the same for every model."""
        self.requests = endless(self.rng)

    @task
    def ner(self) -> None:
        """The next request, as soon as there is an answer to the last."""
        request = next(self.requests)
        body = json.dumps(request.body(JOB.model)).encode()
        self.ask(request, body, clock())


class Arriving(_NerUser):
    """Clients that do not know of each other: each arrival is a greenlet of its own, sent when due."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        due = JOB.arrivals()
        requests = mixture(len(due), self.rng)
        # Bodies are made before the clock runs, so that making them delays nobody.
        bodies = [json.dumps(request.body(JOB.model)).encode() for request in requests]
        self.plan = list(zip(due, requests, bodies, strict=True))

    @task
    def arrivals(self) -> None:
        """All arrivals, and the wait for the last answers; then Locust ends."""
        # The lead begins now: making the bodies took some of the time since the test began.
        start_the_window()
        under_way: list[tuple[float, Request, gevent.Greenlet]] = []
        for due, request, body in self.plan:
            sleep_until(due)
            under_way.append((due, request, gevent.spawn(self.ask, request, body, due)))
        gevent.joinall([greenlet for _, _, greenlet in under_way], timeout=DRAIN)
        for due, request, greenlet in under_way:
            if not greenlet.dead:
                greenlet.kill()
                self.keep(request, due, due, clock(), Verdict(ERROR, f"no answer within {DRAIN:.0f} s of the end"))
        self.environment.runner.quit()


def start_the_window() -> None:
    """Set the clock: the window begins after the lead. Note the CPU time at its begin and end, and what stops us."""
    _begin[0] = time.monotonic() + JOB.lead

    def mark() -> None:
        for at in (0.0, JOB.seconds):
            sleep_until(at)
            _marks.append((clock(), time.process_time()))

    def beat() -> None:
        last = clock()
        while last < JOB.seconds:
            gevent.sleep(BEAT)
            now = clock()
            _longest_pause[0] = max(_longest_pause[0], now - last - BEAT)
            last = now

    _meters.extend([gevent.spawn(mark), gevent.spawn(beat)])


@events.test_start.add_listener
def on_test_start(environment: Environment, **_: Any) -> None:
    """A fixed number of users starts the clock here, and ends with the window; --run-time has another clock."""

    def end() -> None:
        gevent.joinall(_meters)
        environment.runner.quit()

    if not JOB.rate:
        start_the_window()
        gevent.spawn(end)


@events.quitting.add_listener
def write_results(environment: Environment, **_: Any) -> None:
    """Hand over what was measured. Locust's --csv would miss the last second."""
    gevent.joinall(_meters)
    tables = StatsCSV(environment, PERCENTILES_TO_REPORT)
    for name, write in (("stats", tables.requests_csv), ("failures", tables.failures_csv)):
        with open(f"{JOB.prefix}_{name}.csv", "w", encoding="utf-8", newline="") as lines:
            write(csv.writer(lines))
    write_records(Path(f"{JOB.prefix}_requests.csv"), _records)
    (from_clock, from_cpu), (to_clock, to_cpu) = _marks
    share = (to_cpu - from_cpu) / (to_clock - from_clock)
    measured = {"generator_cpu": share, "pause": _longest_pause[0]}
    Path(f"{JOB.prefix}_generator.json").write_text(json.dumps(measured), encoding="utf-8")
