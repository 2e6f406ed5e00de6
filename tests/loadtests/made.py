"""Legs and findings made up for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loadtests.legs import Leg, leg_of
from loadtests.plan import Limits, Steps
from loadtests.records import ERROR, OK, REJECTED, Record, Verdict
from loadtests.session import Settings
from loadtests.summary import Findings, points


def record(
    due: float,
    latency: float,
    *,
    kind: str = "short",
    outcome: str = OK,
    late: float = 0.0,
    fallbacks: dict[str, int] | None = None,
    empty: int = 0,
) -> Record:
    verdict = Verdict(outcome, "broken" if outcome == ERROR else "", empty, fallbacks or {}, {})
    return Record(kind, due, due + late, due + latency, 1, 4, verdict)


def leg(
    model: str = "student",
    rate: float = 0.0,
    *,
    number: int = 1,
    latency: float = 0.01,
    count: int = 100,
    rejected: int = 0,
    errors: int = 0,
    cpu: float = 0.2,
    pause: float = 0.0,
    fallbacks: dict[str, int] | None = None,
) -> Leg:
    """A leg of one second: `count` requests evenly spread, of which the last ones are rejected or wrong."""
    outcomes = [OK] * (count - rejected - errors) + [REJECTED] * rejected + [ERROR] * errors
    kinds = ("short", "sentence", "page", "bulk")
    records = [
        record(0.9 * at / count, latency, kind=kinds[at % 4], outcome=outcome, fallbacks=fallbacks)
        for at, outcome in enumerate(outcomes)
    ]
    return leg_of(records, model=model, rate=rate, round_number=number, seconds=1.0, generator_cpu=cpu, pause=pause)


def found(*legs: Leg) -> Findings:
    return Findings(points(legs), Limits())


def settings(**changes: Any) -> Settings:
    """Of a run with a second for each leg."""
    basic = Settings(
        models=("student", "teacher"),
        users=2,
        duration=1.0,
        step=1.0,
        lead=0.0,
        rounds=2,
        first=100.0,
        minutes=10.0,
        seed=0,
        steps=Steps(),
        limits=Limits(),
    )
    return replace(basic, **changes)
