"""Legs of the same model and load, over the rounds: medians with least and greatest, and what follows from them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtests.legs import Latencies, Leg
from loadtests.plan import Limits, saturation


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of the rounds."""

    median: float
    least: float
    greatest: float

    def text(self, digits: int = 0) -> str:
        """`median (least..greatest)`; the median alone where the rounds do not differ."""
        middle, least, greatest = (f"{value:.{digits}f}" for value in (self.median, self.least, self.greatest))
        return middle if least == greatest else f"{middle} ({least}..{greatest})"


def spread(values: Sequence[float]) -> Spread:
    """Sum up one value a round."""
    return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Point:
    """One model under one load, over the rounds. `rate` 0: a fixed number of users."""

    model: str
    rate: float
    legs: tuple[Leg, ...]

    def over(self, value: Callable[[Leg], float]) -> Spread:
        """A figure over the rounds."""
        return spread([value(leg) for leg in self.legs])

    def total(self, value: Callable[[Leg], int]) -> int:
        """A count in all rounds together."""
        return sum(map(value, self.legs))

    def latency(self, percent: int, kind: str | None = None) -> Spread:
        """p50, p95 or p99 in ms, of all requests or of one kind."""

        def of(leg: Leg) -> float:
            part: Latencies = leg.kinds[kind] if kind else leg.overall
            return float(getattr(part, f"p{percent}"))

        return self.over(of)

    def saturated(self, limits: Limits) -> str:
        """Why the step counts as saturated in most of the rounds; else empty."""
        reasons = [reason for leg in self.legs if (reason := saturation(leg, limits))]
        return reasons[0] if 2 * len(reasons) > len(self.legs) else ""

    def by_reason(self, *, declined: bool = False) -> dict[str, float]:
        """Share of texts, by the reason why the teacher answered them, or did not."""
        texts = self.total(lambda leg: leg.texts)
        shares: dict[str, float] = {}
        for leg in self.legs:
            for reason, count in (leg.declined if declined else leg.fallbacks).items():
                shares[reason] = shares.get(reason, 0.0) + count / texts
        return shares


def points(legs: Sequence[Leg]) -> list[Point]:
    """Group the legs: first the fixed users, then the steps by rate; models in the order of their first run."""
    groups: dict[tuple[float, str], list[Leg]] = {}
    for leg in legs:
        groups.setdefault((leg.rate, leg.model), []).append(leg)
    found = [Point(model, rate, tuple(group)) for (rate, model), group in groups.items()]
    order = list(dict.fromkeys(leg.model for leg in legs))
    return sorted(found, key=lambda point: (point.rate, order.index(point.model)))


@dataclass(frozen=True, slots=True)
class Findings:
    """All points of a run, and the limits by which a step is called saturated."""

    points: list[Point]
    limits: Limits

    @property
    def models(self) -> list[str]:
        """In the order in which they were run."""
        return list(dict.fromkeys(point.model for point in self.points))

    @property
    def fixed(self) -> list[Point]:
        """The points under a fixed number of users."""
        return [point for point in self.points if not point.rate]

    def steps(self, model: str | None = None) -> list[Point]:
        """The points at offered rates, of all models or one."""
        return [point for point in self.points if point.rate and model in (None, point.model)]

    def sustained(self, model: str) -> Point | None:
        """The highest step under the first saturated one; None if there is none."""
        best = None
        for point in self.steps(model):
            if point.saturated(self.limits):
                break
            best = point
        return best

    def was_saturated(self, model: str) -> bool:
        """Whether the steps went on to saturation; if not, what the model sustains is only a lower bound."""
        return any(point.saturated(self.limits) for point in self.steps(model))

    def common_rate(self) -> float | None:
        """The highest rate that was offered to every model and that every one sustained."""
        rates = [{point.rate for point in self.steps(model)} for model in self.models]
        tops = [best.rate if (best := self.sustained(model)) else 0.0 for model in self.models]
        return max((rate for rate in set.intersection(*rates) if rate <= min(tops)), default=None) if rates else None

    def at(self, rate: float) -> list[Point]:
        """The points at a rate, one a model."""
        return [point for point in self.points if point.rate == rate]

    def ratios(self) -> list[str]:
        """How many times the student beats the teacher, with fixed users and at the highest rate that both sustain."""
        lines = []
        rate = self.common_rate()
        for at, words in ((0.0, "with a fixed number of users"), (rate, f"at {rate or 0:g} requests/s offered")):
            sides = {} if at is None else {point.model: point for point in self.at(at)}
            if not {"student", "teacher"} <= sides.keys():
                continue
            student, teacher = sides["student"], sides["teacher"]
            latency = [teacher.latency(p).median / max(student.latency(p).median, 1e-9) for p in (50, 95)]
            shown = f"{latency[0]:.2f} times faster at p50 and {latency[1]:.2f} times at p95"
            if not at:
                fast, slow = (side.over(lambda leg: leg.achieved).median for side in (student, teacher))
                shown = f"{fast / max(slow, 1e-9):.2f} times the requests/s, {shown}"
            lines.append(f"Student against teacher, {words}: {shown}.")
        tops = [self.sustained(model) for model in ("student", "teacher")]
        if tops[0] and tops[1] and all(map(self.was_saturated, ("student", "teacher"))):
            times = tops[0].rate / tops[1].rate
            lines.append(f"Highest rate sustained: the student's is {times:.2f} times the teacher's.")
        return lines
