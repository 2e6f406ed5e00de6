"""Closed, open, half-open."""

from __future__ import annotations

import pytest
from clocks import Clock

from service.breaker import MAX_BACK_OFF, Breaker


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, seconds=5.0, clock=clock)


def call(breaker: Breaker, *, ok: bool | None) -> None:
    assert breaker.ready
    breaker.report(breaker.admit(), ok=ok)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        call(breaker, ok=False)


def test_opens_at_the_last_of_the_failures(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert breaker.ready and not breaker.open
    fail(breaker, 1)
    assert breaker.open and not breaker.ready


@pytest.mark.parametrize(("good", "opens"), [(3, True), (4, False)])
def test_only_the_last_calls_count(breaker: Breaker, good: int, opens: bool) -> None:
    fail(breaker, 1)
    for _ in range(good):
        call(breaker, ok=True)
    fail(breaker, 2)
    assert breaker.open is opens


def test_calls_that_say_nothing_do_not_count(breaker: Breaker) -> None:
    fail(breaker, 2)
    for _ in range(20):
        call(breaker, ok=None)
    fail(breaker, 1)
    assert breaker.open


def test_one_probe_after_the_back_off_and_success_closes(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 4.9
    assert not breaker.ready
    clock.now += 0.1
    assert breaker.ready
    permit = breaker.admit()
    assert not breaker.ready, "the probe is alone"
    assert breaker.open
    breaker.report(permit, ok=True)
    assert breaker.ready and not breaker.open
    fail(breaker, 2)
    assert not breaker.open, "what failed before it opened is forgotten"


def test_the_back_off_doubles_up_to_a_limit_and_starts_anew_when_closed(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    for seconds in (5, 10, 20, 40, MAX_BACK_OFF, MAX_BACK_OFF):
        clock.now += seconds - 0.1
        assert not breaker.ready, seconds
        clock.now += 0.1
        fail(breaker, 1)
    clock.now += MAX_BACK_OFF
    call(breaker, ok=True)
    fail(breaker, 3)
    clock.now += 5
    assert breaker.ready


def test_a_probe_that_says_nothing_is_followed_by_another(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 5
    call(breaker, ok=None)
    assert breaker.open
    call(breaker, ok=True)
    assert not breaker.open


def test_calls_from_before_it_opened_change_nothing(breaker: Breaker, clock: Clock) -> None:
    late = [breaker.admit() for _ in range(4)]
    fail(breaker, 3)
    breaker.report(late.pop(), ok=True)
    assert breaker.open
    breaker.report(late.pop(), ok=False)
    clock.now += 5
    probe = breaker.admit()
    breaker.report(late.pop(), ok=False)
    assert not breaker.ready, "the probe is still under way"
    breaker.report(probe, ok=True)
    breaker.report(late.pop(), ok=False)
    fail(breaker, 2)
    assert not breaker.open
