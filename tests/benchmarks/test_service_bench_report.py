"""The sums of the reports on the service."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.service.facts import settings
from benchmarks.service.report import bars_table, document, generator_share, judged, problems
from benchmarks.service.scenarios import CONSTANT, ONOMA, PLAIN, SCENARIOS, TAGGER, Bar


def figures(rate: float, **changes: Any) -> dict[str, Any]:
    known = {"p50": 2.0, "p95": 5.0, "p99": 7.0, "worst": 9.0, "cpu_ms": 1000 / rate, "core": 1.0, "busy": 0.25}
    return {"rate": rate, "statuses": {"200": 100}} | known | changes


ROUNDS = [
    {
        "short-32": {ONOMA: figures(600), PLAIN: figures(300), CONSTANT: figures(1000)},
        "bulk-8": {ONOMA: figures(8), PLAIN: figures(6), TAGGER: {"rate": 10, "cpu_ms": 100, "core": 1.0}},
        "steady": {ONOMA: figures(400, p50=2.0, p99=8.0, probe=figures(600))},
    },
    {
        "short-32": {ONOMA: figures(900), PLAIN: figures(300), CONSTANT: figures(2000)},
        "bulk-8": {ONOMA: figures(9), PLAIN: figures(5), TAGGER: {"rate": 10, "cpu_ms": 100, "core": 1.0}},
        "steady": {ONOMA: figures(400, p50=2.0, p99=7.0, probe=figures(600))},
    },
    {
        "short-32": {ONOMA: figures(500), PLAIN: figures(400), CONSTANT: figures(1000)},
        "bulk-8": {ONOMA: figures(7), PLAIN: figures(6), TAGGER: {"rate": 10, "cpu_ms": 100, "core": 1.0}},
        "steady": {ONOMA: figures(400, p50=2.0, p99=16.0, probe=figures(600, busy=0.5))},
    },
]
RESULTS = {
    "command": "python -m benchmarks.service --rounds 3",
    "machine": {"processor": "CPU X", "cores": 2, "load": 0.1, "versions": "Python 3", "date": "2026-01-01 00:00 UTC"},
    "cores": {"server": 0, "load": 1},
    "bundle": "tiny",
    "settings": {},
    "seconds": 4.0,
    "warm_up": 0.5,
    "rounds": ROUNDS,
    "bars": judged(ROUNDS),
}


def test_ratios_are_of_one_round_and_medians_are_judged() -> None:
    verdicts = {(one["bar"], one["scenario"]): one for one in RESULTS["bars"]}  # type: ignore[attr-defined]
    assert verdicts.keys() == {("a", "short-32"), ("b", "bulk-8"), ("c", "steady"), ("d", "short-32"), ("d", "bulk-8")}
    of_constant = verdicts["a", "short-32"]
    assert of_constant["rounds"] == [0.6, 0.45, 0.5]
    assert (of_constant["median"], of_constant["least"], of_constant["greatest"]) == (0.5, 0.45, 0.6)
    assert of_constant["met"]  # exactly the bar
    assert verdicts["b", "bulk-8"]["median"] == 0.8 and not verdicts["b", "bulk-8"]["met"]
    assert verdicts["c", "steady"]["rounds"] == [4.0, 3.5, 8.0] and not verdicts["c", "steady"]["met"]  # not under 4
    assert verdicts["d", "short-32"]["median"] == 2.0 and verdicts["d", "short-32"]["met"]
    # By CPU time, more for the other means a greater ratio.
    assert verdicts["d", "short-32"]["cpu"]["median"] == pytest.approx(2.0)
    assert verdicts["b", "bulk-8"]["cpu"]["median"] == pytest.approx(0.8)
    assert verdicts["c", "steady"]["cpu"] is None


def test_bars() -> None:
    assert Bar("a", "x", CONSTANT, 0.5).met(0.5) and not Bar("a", "x", CONSTANT, 0.5).met(0.49)
    assert Bar("c", "x", None, 4).met(3.99) and not Bar("c", "x", None, 4).met(4)
    assert Bar("c", "x", None, 4).sense == "under 4" and Bar("a", "x", PLAIN, 1.5).sense == "at least 1.5"


def test_what_spoils_a_run_is_named() -> None:
    assert problems(ROUNDS) == []
    spoilt = [
        {
            "short-32": {ONOMA: figures(5, statuses={"200": 10, "429": 2}), PLAIN: figures(5, statuses={0: 1, 200: 3})},
            "steady": {ONOMA: figures(4, probe=figures(4, statuses={"500": 1}))},
            "bulk-8": {ONOMA: figures(1) | {"rate": 0.0}},
        }
    ]
    assert problems(spoilt) == [
        "round 1, short-32, onoma: 2 answers of status 429",
        "round 1, short-32, plain: 1 connections lost",
        "round 1, steady, onoma at saturation: 1 answers of status 500",
        "round 1, bulk-8, onoma: nothing was answered in the time measured",
    ]
    assert "## Problems, for which this run does not count" in document(RESULTS | {"rounds": spoilt}, SCENARIOS)


def test_the_report() -> None:
    text = document(RESULTS, SCENARIOS)
    assert "Problems" not in text and text.endswith("\n")
    assert "| a | short-32 | onoma / constant, requests/s | at least 0.5 | yes | 0.50 (0.45..0.60) | 0.50" in text
    assert "| c | steady | onoma, p99 / p50 | under 4 | no | 4.00 (3.50..8.00) |  |" in text
    assert "| short-32 | onoma | 600.0 (500.0..900.0) | 2.00 (2.00..2.00) |" in text
    assert "| bulk-8 | tagger | 10.0 (10.0..10.0) |  |  |  | 100.00 (100.00..100.00) | 1.00 (1.00..1.00) |" in text
    assert "short-128 | " not in text  # not measured
    for fact in (
        "python -m benchmarks.service --rounds 3",
        "CPU X, 2 cores, load 0.1",
        "servers on core 0",
        "defaults",
    ):
        assert fact in text
    assert "at most 50 % of its core" in text and generator_share(ROUNDS) == 0.5
    widths = {line.count(" | ") for line in bars_table(judged(ROUNDS)).splitlines()}
    assert widths == {6}


def test_settings_are_those_that_the_server_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONOMA_MODELS", "ONOMA_DATA"):
        monkeypatch.setenv(name, "/somewhere")
    monkeypatch.setenv("ONOMA_WORKERS", "2")
    assert settings()["ONOMA_WORKERS"] == "2" and not {"ONOMA_MODELS", "ONOMA_DATA"} & settings().keys()
    one_core = document(RESULTS | {"cores": {"server": 0, "load": 0}, "settings": {"ONOMA_WORKERS": "2"}}, SCENARIOS)
    assert "the only one" in one_core and "ONOMA_WORKERS=2" in one_core
