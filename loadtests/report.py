"""From Locust's files to the table: medians over the rounds, with their spread."""

from __future__ import annotations

import csv
import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onoma.machine import processor

HEADER = (
    "model",
    "offered req/s",
    "achieved req/s",
    "requests",
    "failures",
    "words/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "fallback share",
    "texts without entities",
)


@dataclass(frozen=True, slots=True)
class Leg:
    """One Locust run: one model, one offered rate, one round. Latencies are Locust's own percentiles."""

    model: str
    rate: float
    round: int
    requests: int
    failures: int
    requests_per_second: float
    p50: float
    p95: float
    p99: float
    results: int
    empty: int
    words: int
    fallbacks: dict[str, int]

    @property
    def words_per_second(self) -> float:
        """Words in answered requests, over the time that Locust measured."""
        return self.words * self.requests_per_second / self.requests if self.requests else 0.0

    @property
    def fallback_share(self) -> float:
        """Share of texts that the teacher answered for the student."""
        return sum(self.fallbacks.values()) / self.results if self.results else 0.0

    @property
    def empty_share(self) -> float:
        """Share of texts answered without an entity; 1 when nothing was answered."""
        return self.empty / self.results if self.results else 1.0


def read_leg(prefix: Path, model: str, rate: float, round_number: int) -> Leg:
    """Read what one Locust run left: PREFIX_stats.csv and PREFIX_counts.json."""
    with open(f"{prefix}_stats.csv", encoding="utf-8", newline="") as lines:
        row = next(row for row in csv.DictReader(lines) if row["Name"] == "Aggregated")
    counts = json.loads(Path(f"{prefix}_counts.json").read_text(encoding="utf-8"))

    def number(column: str) -> float:
        return 0.0 if row[column] in ("", "N/A") else float(row[column])

    return Leg(
        model=model,
        rate=rate,
        round=round_number,
        requests=int(row["Request Count"]),
        failures=int(row["Failure Count"]),
        requests_per_second=number("Requests/s"),
        p50=number("50%"),
        p95=number("95%"),
        p99=number("99%"),
        **counts,
    )


def problems(legs: Sequence[Leg]) -> list[str]:
    """Why the run does not count: failed requests, a leg without requests, or a model that never found an entity."""
    found = []
    for leg in legs:
        name = f"{leg.model}, round {leg.round}, {offered(leg.rate)}"
        if leg.requests == 0:
            found.append(f"{name}: no request was answered")
        elif leg.failures:
            found.append(f"{name}: {leg.failures} of {leg.requests} requests failed")
        elif leg.empty == leg.results:
            found.append(f"{name}: no answer had an entity")
    return found


def offered(rate: float) -> str:
    """The offered rate in words: a number, or as many as the users can send when each waits for its answer."""
    return f"{rate:g}" if rate else "unpaced"


def spread(values: Sequence[float], digits: int) -> str:
    """Median, and the least and greatest value when there are several."""
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def table(legs: Sequence[Leg]) -> str:
    """The Markdown table: one row for each offered rate and model, in the order they were first run."""
    rows = [HEADER, ("---", *["---:"] * (len(HEADER) - 1))]
    groups: dict[tuple[float, str], list[Leg]] = {}
    for leg in legs:
        groups.setdefault((leg.rate, leg.model), []).append(leg)
    for (rate, model), group in sorted(groups.items(), key=lambda item: item[0][0]):

        def over(value: Callable[[Leg], float], digits: int = 0, group: Sequence[Leg] = group) -> str:
            return spread([value(leg) for leg in group], digits)

        rows.append(
            (
                model,
                offered(rate),
                over(lambda leg: leg.requests_per_second, 1),
                str(sum(leg.requests for leg in group)),
                str(sum(leg.failures for leg in group)),
                over(lambda leg: leg.words_per_second),
                over(lambda leg: leg.p50),
                over(lambda leg: leg.p95),
                over(lambda leg: leg.p99),
                f"{100 * statistics.median(leg.fallback_share for leg in group):.1f} %",
                f"{100 * statistics.median(leg.empty_share for leg in group):.1f} %",
            )
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def ratios(legs: Sequence[Leg]) -> list[str]:
    """How many times the student beats the teacher, one line for each offered rate."""
    lines = []
    for rate in sorted({leg.rate for leg in legs}):
        student = [leg for leg in legs if leg.rate == rate and leg.model == "student"]
        teacher = [leg for leg in legs if leg.rate == rate and leg.model == "teacher"]
        slow, fast = (statistics.median(leg.p50 for leg in side) if side else 0.0 for side in (teacher, student))
        many, few = (
            statistics.median(leg.requests_per_second for leg in side) if side else 0.0 for side in (student, teacher)
        )
        if slow and fast and many and few:
            lines.append(
                f"Student against teacher, {offered(rate)}: {many / few:.2f} times the requests/s, "
                f"{slow / fast:.2f} times faster at p50."
            )
    return lines


def machine() -> str:
    """The machine in one line: processor, cores this process may use, load, system, Python."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{processor()}, {cores} cores, load {load} at the start, {system}"


def document(legs: Sequence[Leg], facts: dict[str, str]) -> str:
    """The whole report in Markdown."""
    failures = problems(legs)
    parts = [
        "# Load test: student, teacher and auto",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        table(legs),
        "Medians over the rounds, least and greatest in brackets. Percentiles are Locust's own, over all kinds of "
        "request. Unpaced means that each user sends its next request as soon as it has its answer. The load generator "
        "runs on the machine named above, beside the service when the service is local.",
        "\n".join(ratios(legs)),
        "\n".join(["Problems:", *(f"- {line}" for line in failures)]) if failures else "No failed requests.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
