"""What a call probably takes."""

from __future__ import annotations

import pytest
from clocks import Clock

from service.pace import HALF_LIFE_SECONDS, Pace


def test_nothing_is_expected_of_what_is_not_known() -> None:
    pace = Pace(clock=Clock())
    assert pace.expect(1000) == 0.0
    pace.note(1000, 2.0)
    assert pace.expect(1000) == 2.0
    assert pace.expect(100_000) == pace.expect(0) == 0.0, "neither longer nor shorter texts are known"


def test_follows_the_calls_of_about_that_size() -> None:
    pace = Pace(clock=Clock())
    for _ in range(30):
        pace.note(500, 0.1)
    pace.note(500, 1.1)
    assert pace.expect(300) == pytest.approx(0.3), "one call moves the mean by a fifth"
    for _ in range(30):
        pace.note(500, 1.1)
    assert pace.expect(500) == pytest.approx(1.1, abs=0.01)


def test_fades_while_no_call_renews_it() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    pace.note(500, 8.0)
    clock.now += HALF_LIFE_SECONDS
    assert pace.expect(500) == pytest.approx(4.0)
    pace.note(500, 8.0)
    assert pace.expect(500) == pytest.approx(8.0)
