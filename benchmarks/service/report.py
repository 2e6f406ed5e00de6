"""The report: figures of every contender, and onoma's ratios against the bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.figures import ranged, summary
from benchmarks.service.facts import bullets, described, table
from benchmarks.service.rounds import Round
from benchmarks.service.scenarios import BARS, ONOMA, Bar, Scenario

Figures = Mapping[str, Any]
FILLED = 0.9  # share of its core that a contender has when nothing else runs and enough is asked of it


def of_bar(bar: Bar, rounds: Sequence[Round]) -> list[tuple[Figures, Figures]]:
    """Onoma's figures and those it is compared with, in each round that has both."""
    against = bar.against or ONOMA
    found = [results.get(bar.scenario, {}) for results in rounds]
    return [(own[ONOMA], own[against]) for own in found if ONOMA in own and against in own]


def judged(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Each bar that was measured, with its figure over the rounds and whether the median reaches it.

    `cpu` is the ratio by CPU time, how many times less of it onoma takes for a text.
    """
    verdicts = []
    for bar in BARS:
        pairs = of_bar(bar, rounds)
        if not pairs:
            continue
        if bar.against is None:
            what = "onoma, p99 / p50"
            values = [own["p99"] / own["p50"] if own["p50"] else float("inf") for own, _ in pairs]
            cpu = None
        else:
            what = f"onoma / {bar.against}, requests/s"
            values = [own["rate"] / other["rate"] if other["rate"] else float("inf") for own, other in pairs]
            cpu = summary([other["cpu_ms"] / own["cpu_ms"] if own["cpu_ms"] else 0.0 for own, other in pairs])
        figures = summary(values)
        named = {"bar": bar.letter, "scenario": bar.scenario, "what": what, "wanted": bar.sense}
        verdicts.append(named | figures | {"rounds": values, "cpu": cpu, "met": bar.met(figures["median"])})
    return verdicts


def _runs(rounds: Sequence[Round]) -> Iterator[tuple[str, Figures]]:
    for number, results in enumerate(rounds, 1):
        for scenario, own in results.items():
            for name, figures in own.items():
                yield f"round {number}, {scenario}, {name}", figures
                if "probe" in figures:
                    yield f"round {number}, {scenario}, {name} at saturation", figures["probe"]


def problems(rounds: Sequence[Round]) -> list[str]:
    """Why the run does not count: answers other than 200, connections lost, a load that was not answered at all."""
    found = []
    for where, figures in _runs(rounds):
        # JSON has made strings of the statuses.
        statuses = {int(status): count for status, count in figures.get("statuses", {}).items()}
        found += [
            f"{where}: {count} answers of status {status}" if status else f"{where}: {count} connections lost"
            for status, count in statuses.items()
            if status != 200
        ]
        if not figures["rate"]:
            found.append(f"{where}: nothing was answered in the time measured")
    return found


def starved(scenarios: Sequence[Scenario], rounds: Sequence[Round]) -> list[str]:
    """Loads that should have filled the core and did not: other programs had it, or the load came too slowly."""
    filling = {one.name for one in scenarios if one.connections > 1 and one.share is None}
    found = []
    for scenario in scenarios:
        for name in scenario.contenders:
            own = [results[scenario.name][name] for results in rounds if name in results.get(scenario.name, {})]
            shares = [figures["core"] for figures in own]
            if scenario.name in filling and shares and min(shares) < FILLED:
                found.append(f"{scenario.name}, {name}: {100 * min(shares):.0f} % of the core in the worst round")
    return found


def generator_share(rounds: Sequence[Round]) -> float:
    """The greatest share of its core that the load generator took in a run."""
    return max((figures["busy"] for _, figures in _runs(rounds) if "busy" in figures), default=0.0)


def figures_table(scenarios: Sequence[Scenario], rounds: Sequence[Round]) -> str:
    """Requests/s, latencies and CPU time of each contender."""
    digits = {"rate": 1, "p50": 2, "p95": 2, "p99": 2, "cpu_ms": 2, "core": 2}
    rows = []
    for scenario in scenarios:
        for name in scenario.contenders:
            own = [results[scenario.name][name] for results in rounds if name in results.get(scenario.name, {})]
            if own:
                cells = [
                    ranged(summary([one[key] for one in own]), places) if key in own[0] else ""
                    for key, places in digits.items()
                ]
                rows.append([scenario.name, name, *cells])
    head = ["scenario", "contender", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms a request", "core had"]
    return table(head, 2, rows)


def bars_table(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """The ratios, and whether they are met."""
    rows = [
        [
            one["bar"],
            one["scenario"],
            one["what"],
            one["wanted"],
            "yes" if one["met"] else "no",
            ranged(one, 2),
            ranged(one["cpu"], 2) if one["cpu"] else "",
        ]
        for one in verdicts
    ]
    return table(["goal", "scenario", "figure", "bar", "met", "median (least..greatest)", "by CPU time"], 5, rows)


_NOT_IDLE = (
    "These contenders did not get their core for themselves: something else ran on the machine, or the load generator "
    "was held up. Their requests/s are too low."
)


def document(results: Mapping[str, Any], scenarios: Sequence[Scenario]) -> str:
    """The report in Markdown."""
    rounds: list[Round] = results["rounds"]
    facts = described(results) | {
        "runs": f"{results['seconds']:g} s each, after {results['warm_up']:g} s of warm-up; medians of {len(rounds)} "
        "interleaved rounds (least..greatest), ratios within a round",
        "load generator": f"took at most {100 * generator_share(rounds):.0f} % of its core",
    }
    hungry = starved(scenarios, rounds)
    wrong = [f"- {line}" for line in problems(rounds)]
    notes = (
        "Latencies are those of the client; in steady and random they count from when a request was due, not from when "
        "it could be sent. A ratio by CPU time says how many times less CPU time onoma takes for a request; it holds "
        "also where other programs take turns on the core. Core had: the share of its core that the contender got."
    )
    parts = [
        "# The service beside others",
        bullets(facts),
        "## Goals",
        bars_table(results["bars"]) if results["bars"] else "Nothing that has a bar was measured.",
        "## Figures",
        figures_table(scenarios, rounds),
        bullets({one.name: one.about for one in scenarios}),
        notes,
        "\n".join(["## Not idle", "", _NOT_IDLE, "", *(f"- {line}" for line in hungry)]) if hungry else "",
        "\n".join(["## Problems, for which this run does not count", "", *wrong]) if wrong else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
