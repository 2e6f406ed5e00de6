"""A leg: one model under one load for some seconds, in figures."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.records import ERROR, OK, REJECTED, Record, read_records
from loadtests.texts import MIX

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of good answers to requests due in the window: how many, their percentiles in ms, and their words a second."""

    requests: int
    p50: float
    p95: float
    p99: float
    words_per_second: float


@dataclass(frozen=True, slots=True)
class Leg:
    """What one Locust process measured.

    :ivar rate: arrivals/s asked for; 0: a fixed number of users.
    :ivar offered: requests/s due in the window.
    :ivar achieved: good answers/s that came in the window, also to requests due before it.
    :ivar requests: due in the window; `rejected` of them got 429, `errors` anything else that is wrong.
    :ivar words_per_second: of the answers that make up `achieved`.
    :ivar texts: of the good answers to requests due in the window; `empty` of them without an entity.
    :ivar fallbacks: of these texts, those that the teacher answered for the student, by reason.
    :ivar declined: of these texts, those that the teacher should have answered and did not, by reason.
    :ivar faults: what was wrong, by text.
    :ivar generator_cpu: CPU time of the load generator over the window's length, 1.0 is a core.
    :ivar sent_late: 99th percentile of `sent - due` in ms: how far the generator fell behind its own plan.
    :ivar pause: longest time in s for which the generator stood still, as it does when its machine stops.
    """

    model: str
    rate: float
    round: int
    offered: float
    achieved: float
    requests: int
    rejected: int
    errors: int
    overall: Latencies
    kinds: dict[str, Latencies]
    words_per_second: float
    texts: int
    empty: int
    fallbacks: dict[str, int]
    declined: dict[str, int]
    faults: dict[str, int]
    generator_cpu: float
    sent_late: float
    pause: float

    @property
    def fallback_share(self) -> float:
        """Share of texts that the teacher answered for the student."""
        return sum(self.fallbacks.values()) / self.texts if self.texts else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that so many percent do not exceed (nearest rank); 0 for no values."""
    ordered = sorted(values)
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1] if ordered else 0.0


def _latencies(good: Sequence[Record], seconds: float) -> Latencies:
    waits = [1000 * (one.done - one.due) for one in good]
    p50, p95, p99 = (percentile(waits, percent) for percent in PERCENTILES)
    return Latencies(len(good), p50, p95, p99, sum(one.words for one in good) / seconds)


def _total(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def leg_of(
    records: Sequence[Record],
    *,
    model: str,
    rate: float,
    round_number: int,
    seconds: float,
    generator_cpu: float,
    pause: float,
) -> Leg:
    """Sum up the requests of a leg.

    :param seconds: length of the window.
    """
    due = [one for one in records if 0 <= one.due < seconds]
    good = [one for one in due if one.verdict.outcome == OK]
    came = [one for one in records if one.verdict.outcome == OK and 0 <= one.done < seconds]
    faulty = [one for one in records if one.verdict.outcome == ERROR]  # those of the lead count too
    return Leg(
        model=model,
        rate=rate,
        round=round_number,
        offered=len(due) / seconds,
        achieved=len(came) / seconds,
        requests=len(due),
        rejected=sum(one.verdict.outcome == REJECTED for one in due),
        errors=len(faulty),
        overall=_latencies(good, seconds),
        kinds={kind: _latencies([one for one in good if one.kind == kind], seconds) for kind in MIX},
        words_per_second=sum(one.words for one in came) / seconds,
        texts=sum(one.texts for one in good),
        empty=sum(one.verdict.empty for one in good),
        fallbacks=_total(one.verdict.fallbacks for one in good),
        declined=_total(one.verdict.declined for one in good),
        faults=dict(Counter(one.verdict.fault for one in faulty)),
        generator_cpu=generator_cpu,
        sent_late=percentile([1000 * (one.sent - one.due) for one in due], 99),
        pause=pause,
    )


def read_leg(prefix: Path, *, model: str, rate: float, round_number: int, seconds: float) -> Leg:
    """Read what a Locust process left: PREFIX_requests.csv and PREFIX_generator.json."""
    generator: dict[str, float] = json.loads(Path(f"{prefix}_generator.json").read_text(encoding="utf-8"))
    return leg_of(
        read_records(Path(f"{prefix}_requests.csv")),
        model=model,
        rate=rate,
        round_number=round_number,
        seconds=seconds,
        **generator,
    )
