from __future__ import annotations

import numpy as np
import pytest
from scoring import scored

from distill.reliability import expected_error, reliability


def test_bins_by_hand() -> None:
    sentences = [
        scored(0.0, right=False),
        scored(0.2, right=True),
        scored(0.3, right=False),
        scored(0.9, right=True),
        scored(1.0, right=True),
    ]
    bins = reliability(sentences, bins=5)
    assert [(one.low, one.high, one.count) for one in bins] == [
        (0.0, 0.2, 1), (0.2, 0.4, 2), (0.4, 0.6, 0), (0.6, 0.8, 0), (0.8, 1.0, 2),
    ]  # fmt: skip
    assert [(one.confidence, one.right) for one in bins] == [
        (0.0, 0.0), (0.25, 0.5), (0.5, 0.0), (0.7, 0.0), (0.95, 1.0),
    ]  # fmt: skip
    assert expected_error(bins) == pytest.approx((0 + 2 * 0.25 + 2 * 0.05) / 5)


def test_a_confidence_that_means_what_it_says_has_no_error() -> None:
    rng = np.random.default_rng(0)
    sure = rng.random(20_000)
    honest = [scored(float(p), right=bool(rng.random() < p)) for p in sure]
    boastful = [scored(float(np.sqrt(p)), right=bool(rng.random() < p)) for p in sure]
    assert expected_error(reliability(honest)) < 0.02
    assert expected_error(reliability(boastful)) == pytest.approx(1 / 6, abs=0.02), "mean of sqrt(p) - p"
