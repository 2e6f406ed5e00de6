from __future__ import annotations

import numpy as np
import pytest

from distill.calibration import CascadePoint, choose_threshold, fit_temperature, isotonic
from onoma.bundle import Calibration
from onoma.decode import log_softmax


def test_temperature_recovers_the_scale_of_the_logits() -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(size=(20_000, 5)).astype(np.float32) * 2
    probabilities = np.exp(log_softmax(true))
    tags = (probabilities.cumsum(axis=1) > rng.random((len(true), 1))).argmax(axis=1)
    assert fit_temperature(true * 3, tags) == pytest.approx(3, rel=0.05)
    assert fit_temperature(true / 2, tags) == pytest.approx(0.5, rel=0.05)


def test_isotonic_is_monotone_and_keeps_the_mean() -> None:
    rng = np.random.default_rng(2)
    raw = rng.random(3000)
    right = (rng.random(3000) < raw**2).astype(np.float64)
    points = isotonic(raw, right)
    shares = [share for _, share in points]
    assert shares == sorted(shares) and [at for at, _ in points] == sorted(at for at, _ in points)
    calibration = Calibration(confidence=points)
    for value in (0.3, 0.6, 0.9):
        assert calibration.calibrated(value) == pytest.approx(value**2, abs=0.06)


def test_isotonic_pools_violators_by_hand() -> None:
    # One value a bin: 0.2 is right and 0.4 wrong, so they are pooled to a half.
    points = isotonic(np.array([0.1, 0.2, 0.4, 0.8]), np.array([0.0, 1.0, 0.0, 1.0]), points=4)
    assert points == ((0.1, 0.0), (0.3, 0.5), (0.8, 1.0))


def test_threshold_is_the_cheapest_point_near_the_best_allowed() -> None:
    points = [(0.0, 0.0, 70.0), (0.2, 0.1, 71.95), (0.3, 0.15, 72.0), (0.9, 0.8, 80.0)]
    curve = [CascadePoint(*point) for point in points]
    assert choose_threshold(curve, most_fallback=0.2).threshold == 0.2
    assert choose_threshold(curve, most_fallback=0.2, tolerance=0.0).threshold == 0.3
    assert choose_threshold(curve, most_fallback=1.0).threshold == 0.9
    assert choose_threshold(curve, most_fallback=0.0).threshold == 0.0
