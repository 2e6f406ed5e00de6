"""Which rates to offer: in geometric steps up to saturation, then halving the gap in which it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.legs import Leg

# CPU share of the load generator above which it, and not the service, may be what is measured.
GENERATOR_LIMIT = 0.9
# A machine that stands still for longer than this, in s, spoils a leg.
LONGEST_PAUSE = 1.0
# A generator that sends 1 % of the requests later than this, in ms, does not get the CPU time that it needs.
LATEST = 25.0
# So many answers may come after the end of a window that a service keeps up with: a burst just before it.
BY_CHANCE = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """When a step counts as saturated: too little of what is offered is achieved, or p99 is over a limit in ms."""

    achieved_share: float = 0.95
    p99_ms: float = 1000.0


@dataclass(frozen=True, slots=True)
class Steps:
    """How to search: by this factor from step to step, until the gap around saturation is at most `precision`."""

    factor: float = 2.0
    precision: float = 1.25
    most: int = 12


def saturation(leg: Leg, limits: Limits) -> str:
    """Why a step counts as saturated, empty if it does not."""
    if leg.errors:
        return f"{leg.errors} errors"
    missing = leg.requests * (1 - leg.achieved / leg.offered) if leg.offered else 0.0
    if leg.achieved < limits.achieved_share * leg.offered and missing >= BY_CHANCE:
        return f"achieved under {100 * limits.achieved_share:g} % of offered"
    if leg.overall.p99 > limits.p99_ms:
        return f"p99 over {limits.p99_ms:g} ms"
    return ""


def rounded(rate: float) -> float:
    """A rate with two digits that mean something."""
    digits = 1 - math.floor(math.log10(rate))
    return round(rate, digits)


def first_rate(capacities: list[float]) -> float:
    """Where every model begins, so that they meet at the same rates: an eighth of the slowest one's throughput."""
    return rounded(max(min(capacities) / 8, 0.5))


def next_rate(tried: Mapping[float, bool], first: float, steps: Steps) -> float | None:
    """The next rate to offer, or None when saturation is found closely enough.

    :param tried: rates offered so far, and whether each was saturated.
    """
    if len(tried) >= steps.most:
        return None
    if not tried:
        return first
    saturated = [rate for rate, is_saturated in tried.items() if is_saturated]
    if not saturated:
        return rounded(max(tried) * steps.factor)
    high = min(saturated)
    sustained = [rate for rate in tried if rate < high]
    if not sustained:
        return rounded(high / steps.factor)
    middle = rounded(math.sqrt(max(sustained) * high))
    # Both: rates of two digits may leave nothing between.
    return middle if high / max(sustained) > steps.precision and middle not in tried else None
