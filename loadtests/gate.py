"""Whether a run passes: no error, and no p95 that has become much worse than in a baseline.

Milliseconds of two runs on a noisy machine are not comparable, so the gate compares ratios within a run: p95 of one
model to p95 of another, and p95 of each model to a fixed piece of work timed just before it on the same cores (the
yardstick). It takes the best round of this run and the median of the baseline: noise only ever adds latency, and must
hit every round to fail the gate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtests.legs import Leg
from loadtests.plan import GENERATOR_LIMIT, LATEST, LONGEST_PAUSE
from loadtests.summary import Findings, Spread, spread

PAIRS = (("student", "teacher"), ("auto", "student"))


def errors(legs: Sequence[Leg]) -> list[str]:
    """Why a run does not count: errors, a leg without answers, or a model that never found an entity."""
    found = []
    for leg in legs:
        name = f"{leg.model}, {load(leg.rate)}, round {leg.round}"
        if leg.errors:
            first = next(iter(leg.faults))
            found.append(f"{name}: {leg.errors} errors, such as: {first}")
        elif not leg.overall.requests:
            found.append(f"{name}: no request was answered")
        elif leg.empty == leg.texts:
            found.append(f"{name}: no answer had an entity")
        if leg.rejected and not leg.rate:
            found.append(f"{name}: {leg.rejected} requests rejected, which a few users should never see")
    return found


def load(rate: float) -> str:
    """An offered rate in words."""
    return f"{rate:g} requests/s" if rate else "fixed users"


def warnings(findings: Findings) -> list[str]:
    """What a reader should know before believing a figure."""
    found = []
    for point in findings.points:
        busiest = max(leg.generator_cpu for leg in point.legs)
        if busiest > GENERATOR_LIMIT:
            found.append(
                f"{point.model}, {load(point.rate)}: the load generator used {100 * busiest:.0f} % of a core; it, and "
                "not the service, may be what was measured"
            )
        if point.rate and (late := point.over(lambda leg: leg.sent_late).median) > LATEST:
            found.append(
                f"{point.model}, {load(point.rate)}: the load generator sent 1 % of the requests over {late:.0f} ms "
                "late, which is part of their latency; something else kept its core busy"
            )
        if (pause := max(leg.pause for leg in point.legs)) > LONGEST_PAUSE:
            found.append(f"{point.model}, {load(point.rate)}: the load generator stood still for {pause:.1f} s")
    return found


def figures(findings: Findings, yardsticks: Mapping[tuple[str, int], float]) -> dict[str, Spread]:
    """The ratios that the gate compares, all at the fixed number of users: by name, over the rounds.

    :param yardsticks: by model and round, in ms; empty if the service's machine is another one.
    """
    p95 = {point.model: {leg.round: leg.overall.p95 for leg in point.legs} for point in findings.fixed}
    ratios: dict[str, list[float]] = {}
    for one, other in PAIRS:
        for number in sorted(p95.get(one, {}).keys() & p95.get(other, {}).keys()):
            if p95[other][number]:
                ratios.setdefault(f"p95, {one} : {other}", []).append(p95[one][number] / p95[other][number])
    for model, rounds in p95.items():
        for number, value in rounds.items():
            if (model, number) in yardsticks:
                ratios.setdefault(f"p95, {model} : yardstick", []).append(value / yardsticks[model, number])
    return {name: spread(values) for name, values in ratios.items()}


def compare(
    own: Mapping[str, Spread], baseline: Mapping[str, Any], *, setup: Mapping[str, Any], tolerance: float
) -> tuple[list[str], list[str]]:
    """Regressions, and notes on what was not compared.

    :param baseline: as `write_baseline` wrote it.
    :param setup: what must be the same for p95 to be comparable: users, cores, mix.
    :param tolerance: how many times the baseline's median the best round may be.
    """
    if baseline["setup"] != setup:
        return [], [f"p95 not compared: the baseline was made with {baseline['setup']}, this run with {dict(setup)}"]
    regressions, notes = [], []
    for name, value in baseline["figures"].items():
        if name not in own:
            notes.append(f"not measured in this run, so not compared: {name}")
        elif own[name].least > tolerance * value:
            regressions.append(
                f"{name}: {own[name].least:.2f} in the best round, over {tolerance:g} times the baseline's {value:.2f}"
            )
    return regressions, notes


def read_baseline(path: Path) -> dict[str, Any]:
    """Read a baseline. Raises OSError or ValueError."""
    baseline: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return baseline


def write_baseline(
    path: Path, own: Mapping[str, Spread], *, setup: Mapping[str, Any], facts: Mapping[str, str]
) -> None:
    """Write this run's medians as the baseline of later runs."""
    made = {name: facts[name] for name in ("date", "machine", "command")}
    content = {"made": made, "setup": dict(setup), "figures": {name: round(one.median, 4) for name, one in own.items()}}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
