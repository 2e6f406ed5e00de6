"""The share binds under load and never a quiet service."""

from __future__ import annotations

import pytest
from clocks import Clock

from service.budget import BURST, Budget


def flood(budget: Budget, clock: Clock, *, unsure: float, rate: int = 200, seconds: int = 60) -> float:
    """Share of the characters that the teacher got, of texts of 100 characters."""
    taken, due = 0, 0.0
    for _ in range(rate * seconds):
        clock.now += 1 / rate
        budget.see(100)
        due += unsure
        if due >= 1:
            due -= 1
            taken += budget.take([100])
    return taken / (rate * seconds)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_under_load_the_share_binds(share: float) -> None:
    clock = Clock()
    got = flood(Budget(share, clock=clock), clock, unsure=1.0)
    assert share < got < share + 0.06, "the share, and the burst in every window"


def test_under_load_traffic_within_the_share_passes() -> None:
    clock = Clock()
    assert flood(Budget(0.2, clock=clock), clock, unsure=0.19) == pytest.approx(0.19, abs=0.001)


def test_a_quiet_service_never_feels_it() -> None:
    clock = Clock()
    budget = Budget(0.01, clock=clock)
    for _ in range(500):
        clock.now += 0.5
        budget.see(300)
        assert budget.take([300]) == 1


def test_a_share_of_one_refuses_nothing() -> None:
    clock = Clock()
    assert flood(Budget(1.0, burst=1, clock=clock), clock, unsure=1.0) == 1.0


def test_a_share_of_zero_refuses_everything() -> None:
    budget = Budget(0.0, clock=Clock())
    budget.see(1000)
    assert budget.take([1]) == 0


def test_the_first_texts_of_a_request_come_first_and_the_last_passes_whole() -> None:
    clock = Clock()
    budget = Budget(0.5, burst=100, clock=clock)
    budget.see(200)
    assert budget.take([90, 90, 90, 90]) == 3
    assert budget.take([1]) == 0
    clock.now += 10
    assert budget.take([1]) == 1, "270 and 200 have faded to 99 and 74"


def test_a_text_larger_than_the_burst_passes_on_an_idle_server() -> None:
    clock = Clock()
    budget = Budget(0.2, clock=clock)
    budget.see(50 * BURST)
    assert budget.take([50 * BURST]) == 1
    clock.now += 300
    assert budget.take([50 * BURST]) == 1


def test_what_is_given_back_can_be_taken_again() -> None:
    budget = Budget(0.5, burst=100, clock=Clock())
    assert budget.take([60, 60, 60]) == 2
    budget.give_back(120)
    assert budget.take([60, 60, 60]) == 2
    budget.give_back(1000)
    assert budget.take([60, 60, 60]) == 2
