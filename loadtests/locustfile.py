"""The Locust user: draws a request, sends it to POST /ner, and checks the answer against the contract.

Run by `python -m loadtests`, which passes its settings in the environment; a Locust process measures one model.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV

from loadtests.texts import Request, draw, words

MODEL = os.environ.get("ONOMA_LOADTEST_MODEL", "auto")
SEED = os.environ.get("ONOMA_LOADTEST_SEED", "0")
PERIOD = float(os.environ.get("ONOMA_LOADTEST_PERIOD", "0"))  # seconds between one user's requests; 0: unpaced
OUT_PREFIX = os.environ.get("ONOMA_LOADTEST_OUT_PREFIX", "")

_users = itertools.count()
_counts: dict[str, Any] = {"results": 0, "empty": 0, "words": 0, "fallbacks": {}}


class NerUser(FastHttpUser):
    """One client with one connection. Every model sees the same sequence of requests from the same user."""

    connection_timeout = 10.0
    network_timeout = 60.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rng = random.Random(f"{SEED}-{next(_users)}")

    def on_start(self) -> None:
        """Begin at a random moment of the pace, or all users would send at the same instant, over and over."""
        if PERIOD:
            gevent.sleep(self.rng.random() * PERIOD)
        self.due = time.monotonic()

    def wait_time(self) -> float:
        """Until the next beat of this user's pace; a user that is late sends at once, and does not catch up."""
        now = time.monotonic()
        self.due = max(self.due + PERIOD, now)
        return self.due - now

    @task
    def ner(self) -> None:
        """One request of the mix."""
        request = draw(self.rng)
        with self.client.post("/ner", json=request.body(MODEL), name=request.kind, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}: {(response.text or '')[:200]}")
                return
            try:
                results = json.loads(response.text or "")["results"]
                wrong = fault(request, results)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                wrong = f"answer out of contract: {type(error).__name__}: {error}"
            if wrong:
                response.failure(wrong)
                return
        count(request, results)


def fault(request: Request, results: list[dict[str, Any]]) -> str | None:
    """What is wrong with an answer, or None: results missing, another model than asked for, wrong offsets."""
    if len(results) != len(request.texts):
        return f"{len(results)} results for {len(request.texts)} texts"
    for text, result in zip(request.texts, results, strict=True):
        if MODEL != "auto" and result["model"] != MODEL:
            return f"asked for {MODEL}, answered by {result['model']}"
        for entity in result["entities"]:
            if not entity["text"] or text[entity["start"] : entity["end"]] != entity["text"]:
                return "an entity's offsets do not slice its text"
    return None


def count(request: Request, results: list[dict[str, Any]]) -> None:
    """Add one good answer to the counts that Locust does not keep."""
    _counts["words"] += sum(map(words, request.texts))
    for result in results:
        _counts["results"] += 1
        _counts["empty"] += not result["entities"]
        if reason := result["fallback"]:
            _counts["fallbacks"][reason] = _counts["fallbacks"].get(reason, 0) + 1


@events.init.add_listener
def start_the_clock(**_: Any) -> None:
    """Bring gevent's clock up to date, or the time that the imports took is taken off --run-time."""
    gevent.get_hub().loop.update_now()


@events.quitting.add_listener
def write_results(environment: Environment, **_: Any) -> None:
    """Hand the final statistics to the process that started Locust; --csv would miss the last second."""
    if not OUT_PREFIX:
        return
    tables = StatsCSV(environment, PERCENTILES_TO_REPORT)
    for name, write in (("stats", tables.requests_csv), ("failures", tables.failures_csv)):
        with open(f"{OUT_PREFIX}_{name}.csv", "w", encoding="utf-8", newline="") as lines:
            write(csv.writer(lines))
    Path(f"{OUT_PREFIX}_counts.json").write_text(json.dumps(_counts), encoding="utf-8")
