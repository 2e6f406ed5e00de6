"""The report of onoma's variants: figures, and ratios to the default within a round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.figures import ranged, summary
from benchmarks.service.facts import bullets, described, table
from benchmarks.service.report import FILLED, generator_share, problems
from benchmarks.service.rounds import Round
from benchmarks.service.spinning import COMPANY, LENGTH, ROWS

ONE_CORE, ALL_CORES, SPINNING = "one-core", "all-cores", "spinning"
DEFAULT = "default"
TITLES = {
    ONE_CORE: "One core: event loop or thread, size of batches",
    ALL_CORES: "All cores: processes or threads",
    SPINNING: "Threads of an inference, and whether they spin",
}


def compared(rounds: Sequence[Round], unit: str) -> str:
    """A table of every load and variant; the first variant of a load is the one that others are compared with.

    :param unit: what the rate counts.
    """
    rows = []
    for load, first in rounds[0].items():
        base, *_ = first
        for name in first:
            own = [one[load][name] for one in rounds]
            others = [one[load][base] for one in rounds]
            rows.append([load, name, *_cells(own, others if name != base else [])])
    latencies, times = ("p50 ms", "p99 ms", "p99 / p50"), ("CPU ms each", "times less CPU", "cores had")
    head = ["load", "variant", unit, "times the first", *latencies, *times]
    return table(head, 2, rows)


def _cells(own: Sequence[Mapping[str, float]], base: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """The figures of one variant.

    :param base: of the variant it is compared with; empty for that itself.
    """
    pairs = list(zip(own, base, strict=True)) if base else []
    yield ranged(summary([one["rate"] for one in own]), 0)
    yield ranged(summary([_ratio(one["rate"], other["rate"]) for one, other in pairs]), 2) if pairs else "1"
    for key in ("p50", "p99"):
        yield ranged(summary([one[key] for one in own]), 2)
    yield ranged(summary([_ratio(one["p99"], one["p50"]) for one in own]), 1)
    yield ranged(summary([one["cpu_ms"] for one in own]), 2)
    yield ranged(summary([_ratio(other["cpu_ms"], one["cpu_ms"]) for one, other in pairs]), 2) if pairs else "1"
    yield ranged(summary([one["core"] for one in own]), 2)


def _ratio(value: float, by: float) -> float:
    return value / by if by else float("inf")


def starved(rounds: Sequence[Round]) -> list[str]:
    """Variants on one core that did not have it whole under a load of several connections."""
    found = []
    for load, first in rounds[0].items():
        for name in first:
            least = min(one[load][name]["core"] for one in rounds)
            if load != "short-1" and least < FILLED:
                found.append(f"{load}, {name}: {100 * least:.0f} % of the core in the worst round")
    return found


def _settings(variants: Mapping[str, Mapping[str, int]]) -> str:
    """What each variant sets."""
    return bullets({name: " ".join(f"{key}={value}" for key, value in own.items()) for name, own in variants.items()})


_NOT_IDLE = "Something else ran: these did not have their core for themselves; CPU time tells more than requests/s."


def _section(part: str, results: Mapping[str, Any]) -> list[str]:
    found = results["parts"][part]
    rounds: list[Round] = found["rounds"]
    cores, title = results["all_cores"], f"## {TITLES[part]}"
    if part == SPINNING:
        said = (
            f"The student's inference of {ROWS} windows of {LENGTH} word-pieces, again and again, on {len(cores)} "
            f"cores: {COMPANY['alone']} process alone, or {COMPANY['two']} at the same time (their inferences/s "
            "together, the latencies of the slower one)."
        )
        return [title, said, compared(rounds, "inferences/s")]
    if not found["variants"]:
        return [title, "There is one core only."]
    if part == ALL_CORES:
        said = (
            f"Servers and load generator share cores {', '.join(map(str, cores))}: what the generator takes, at most "
            f"{100 * generator_share(rounds):.0f} % of one core, the servers do not have. CPU time is that of all "
            "processes of a server."
        )
        return [title, said, compared(rounds, "requests/s"), _settings(found["variants"])]
    own = results["cores"]
    said = f"Servers on core {own['server']}, load generator on core {own['load']}."
    hungry = starved(rounds)
    parts = [title, said, compared(rounds, "requests/s"), _settings(found["variants"])]
    if hungry:
        parts.append("\n".join([_NOT_IDLE, "", *(f"- {line}" for line in hungry)]))
    return parts


def document(results: Mapping[str, Any]) -> str:
    """The report in Markdown."""
    about = described(results)
    rounds = max((len(part["rounds"]) for part in results["parts"].values()), default=0)
    kept = ("command", "date", "machine", "versions", "bundle", "settings of onoma")
    facts = {name: about[name] for name in kept} | {
        "runs": f"{results['seconds']:g} s each, after {results['warm_up']:g} s of warm-up; medians of {rounds} "
        "interleaved rounds (least..greatest), ratios within a round",
    }
    wrong = [line for part in results["parts"].values() for line in problems(part["rounds"])]
    parts = ["# onoma under other settings", bullets(facts)]
    for part in results["parts"]:
        parts += _section(part, results)
    parts += ["## Loads", bullets(results["about"])]
    if wrong:
        parts.append("\n".join(["## Problems, for which this run does not count", "", *(f"- {one}" for one in wrong)]))
    return "\n\n".join(parts) + "\n"
