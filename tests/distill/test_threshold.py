from __future__ import annotations

import pytest
from scoring import scored

from distill.threshold import CascadePoint, cascade_curve, choose_threshold, macro_f1


def point(threshold: float, share: float, f1: float) -> CascadePoint:
    return CascadePoint(threshold, share, share, f1, 1.0)


def test_threshold_is_the_cheapest_point_near_the_best_allowed() -> None:
    curve = [point(0.0, 0.0, 70.0), point(0.2, 0.1, 71.95), point(0.3, 0.15, 72.0), point(0.9, 0.8, 80.0)]
    assert choose_threshold(curve, most_fallback=0.2).threshold == 0.2
    assert choose_threshold(curve, most_fallback=0.2, tolerance=0.0).threshold == 0.3
    assert choose_threshold(curve, most_fallback=1.0).threshold == 0.9
    assert choose_threshold(curve, most_fallback=0.0).threshold == 0.0


def test_macro_f1_is_the_mean_over_languages() -> None:
    german = [scored(1, right=True), scored(1, right=False), scored(1, right=False)]
    assert macro_f1([*german, scored(1, right=True, language="en")]) == pytest.approx((50 + 100) / 2)


def test_a_point_by_hand() -> None:
    # The student is wrong where it is unsure, the teacher only in a sentence that the student has right.
    student = [
        scored(0.2, right=False, characters=40, milliseconds=2),
        scored(0.6, right=False, characters=20, milliseconds=1),
        scored(0.8, right=True, characters=30, milliseconds=1),
        scored(0.9, right=True, language="en", milliseconds=4),
    ]
    teacher = [
        scored(0.5, right=True, characters=40, milliseconds=20),
        scored(0.5, right=True, characters=20, milliseconds=10),
        scored(0.5, right=False, characters=30, milliseconds=30),
        scored(0.5, right=True, language="en", milliseconds=40),
    ]
    curve = cascade_curve(student, teacher)
    thresholds = [one.threshold for one in curve]
    assert thresholds[0] == 0.0 and thresholds[-1] == 0.9 and thresholds == sorted(set(thresholds))
    assert curve[0] == CascadePoint(0.0, 0.0, 0.0, pytest.approx((50 + 100) / 2), 2.0)
    two = next(one for one in curve if one.fallback_share == 0.5)
    assert 0.6 < two.threshold <= 0.8
    assert two == CascadePoint(two.threshold, 0.5, 0.6, 100.0, pytest.approx((8 + 20 + 10) / 4))
    assert curve[-1] == CascadePoint(0.9, 0.75, 0.9, pytest.approx((80 + 100) / 2), pytest.approx((8 + 60) / 4))
