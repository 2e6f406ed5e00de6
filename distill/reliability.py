"""Reliability: whether a confidence of 0.8 is right eight times in ten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill.dev_examples import Scored


@dataclass(frozen=True, slots=True)
class Bin:
    """The sentences whose confidence is in low..high (the last bin has its upper end too).

    :param confidence: their mean confidence; the middle of the bin if there are none.
    :param right: share of them without an error; 0 if there are none.
    """

    low: float
    high: float
    count: int
    confidence: float
    right: float


def reliability(scored: Sequence[Scored], *, bins: int = 10) -> list[Bin]:
    """Bins of equal width over 0..1."""
    confidence = np.array([one.confidence for one in scored], dtype=np.float64)
    right = np.array([one.right for one in scored], dtype=np.float64)
    places = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    found = []
    for at in range(bins):
        own = places == at
        count = int(own.sum())
        mean = float(confidence[own].mean()) if count else (at + 0.5) / bins
        share = float(right[own].mean()) if count else 0.0
        found.append(Bin(at / bins, (at + 1) / bins, count, round(mean, 4), round(share, 4)))
    return found


def expected_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (Guo et al. 2017): the mean gap between confidence and share right, by sentence."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.confidence - one.right) for one in bins) / total
