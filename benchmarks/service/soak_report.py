"""What a soak must show, and its report."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.service.facts import bullets, described, table

ALLOWED = {200, 429, 504}
SETTLING = 120.0  # seconds until memory has to be flat; of a short soak the first fifth
FLAT = 0.05
SPEED = 0.9  # of the requests/s before the soak
RECOVERY = 5.0  # seconds after the last answer to the load
_WINDOW = 10.0  # seconds of memory samples that make one figure


def memory(samples: Sequence[tuple[float, int]], seconds: float) -> list[float]:
    """Memory in bytes, the median of every ten seconds, once it has to be flat.

    :param samples: seconds since the load began, resident bytes.
    :param seconds: that the load lasted.
    """
    settled = min(SETTLING, 0.2 * seconds)
    windows: dict[int, list[int]] = {}
    for at, size in samples:
        if settled <= at <= seconds:
            windows.setdefault(int((at - settled) / _WINDOW), []).append(size)
    return [statistics.median(sizes) for _, sizes in sorted(windows.items())]


def wrong_statuses(sorts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Statuses that should not have come; for invalid requests only 4xx and 504 are right."""
    wrong = []
    for sort, own in sorts.items():
        for status, count in sorted((int(status), count) for status, count in own["statuses"].items()):
            right = status == 504 or 400 <= status < 500 if sort == "invalid" else status in ALLOWED
            if not right:
                wrong.append(f"{sort}: {count} of {status}" if status else f"{sort}: {count} connections lost")
    return wrong


def checks(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each demand, what was found, and whether it is met."""
    load, after = results["soak"], results["after"]
    wrong = wrong_statuses(load["sorts"])
    sizes = memory(results["memory"], results["minutes"] * 60)
    growth = max(sizes) / min(sizes) - 1 if sizes else float("inf")
    shown = f"{min(sizes) / 2**20:.0f}..{max(sizes) / 2**20:.0f} MiB, {100 * growth:.1f} %" if sizes else "no sample"
    speed = max(after["rates"]) / results["before"] if results["before"] else 0.0
    answered = sum(count for own in load["sorts"].values() for count in own["statuses"].values())
    left = {name: value for name, value in results["left_behind"].items() if value}
    deadline = results["deadline"]

    def check(name: str, found: str, met: bool) -> dict[str, Any]:
        return {"demand": name, "found": found, "met": met}

    return [
        check(
            "no status but 200, 429 and 504 (4xx where the request is invalid)",
            "; ".join(wrong) or f"none in {answered} answers",
            not wrong and answered > 0,
        ),
        check(f"memory (RSS) flat within {100 * FLAT:.0f} % once settled", shown, growth <= FLAT),
        check(
            f"p99 of accepted requests under the deadline of {deadline:g} s",
            f"{load['all']['p99'] / 1000:.2f} s, the worst {load['all']['worst'] / 1000:.2f} s",
            0 < load["all"]["p99"] < 1000 * deadline,
        ),
        check(
            f"{100 * SPEED:.0f} % of the speed before within {RECOVERY:g} s of the last answer",
            f"{100 * speed:.0f} % of {results['before']:.0f} requests/s, "
            + ("never" if after["seconds"] is None else f"after {after['seconds']:.1f} s"),
            after["seconds"] is not None and after["seconds"] <= RECOVERY,
        ),
        check(
            "nothing left behind: no request under way, empty queues, ready",
            ", ".join(f"{name} {value}" for name, value in left.items()) or "nothing",
            not left,
        ),
    ]


def document(results: Mapping[str, Any]) -> str:
    """The report in Markdown."""
    load = results["soak"]
    facts = described(results) | {
        "load": f"{results['rate']:.0f} requests/s for {results['minutes']:g} minutes, {results['times']:g} times the "
        f"{results['saturation']:.0f} that it answers of this mix, on at most {results['connections']} connections; "
        f"model {results['model']}",
        "hung up": f"{load['hung_up']} clients, in the middle of a request or before its answer",
        "last answer": f"{load['drain_seconds']:.1f} s after the last request",
    }
    verdicts = [[one["demand"], one["found"], "yes" if one["met"] else "no"] for one in results["checks"]]

    def times(own: Mapping[str, Any]) -> list[str]:
        return [f"{own[key] / 1000:.2f}" if own["worst"] else "" for key in ("p50", "p99", "worst")]

    statuses = sorted({int(status) for own in load["sorts"].values() for status in own["statuses"]})
    # JSON makes strings of numbers that are keys.
    sorts = [
        [sort, *(str({int(k): v for k, v in own["statuses"].items()}.get(one, 0)) for one in statuses), *times(own)]
        for sort, own in load["sorts"].items()
    ]
    return (
        "\n\n".join(
            [
                "# Soak: more than the service can answer",
                bullets(facts),
                "## Demands",
                table(["demand", "found", "met"], 3, verdicts),
                "## Answers by sort of request",
                table(
                    ["sort", *(str(one) if one else "lost" for one in statuses), "p50 s", "p99 s", "worst s"], 1, sorts
                ),
                "Latencies are of the answers with 200. A request that finds every connection busy is not sent.",
                "## Over time",
                _over_time(load["buckets"], results["memory"]),
            ]
        )
        + "\n"
    )


def _over_time(buckets: Sequence[Mapping[str, Any]], samples: Sequence[tuple[float, int]]) -> str:
    """At most twenty rows, evenly chosen."""
    rows = []
    for bucket in buckets[:: max(1, -(-len(buckets) // 20))]:
        size = next((size for at, size in samples if at >= bucket["seconds"]), 0)
        counts = bucket["counts"]
        numbers = [counts.get(name, 0) for name in ("200", "429", "504", "not sent")]
        times = [f"{bucket[key] / 1000:.2f}" for key in ("p50", "p99")]
        rows.append([f"{bucket['seconds']}", *map(str, numbers), *times, f"{size / 2**20:.0f}"])
    return table(["from second", "200", "429", "504", "not sent", "p50 s", "p99 s", "RSS MiB"], 0, rows)
