"""When the cascade asks the teacher, and what it says when it does not; student and teacher are scripts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from clocks import Clock

from onoma.tagger import Tagged
from service.breaker import Breaker
from service.budget import Budget
from service.cascade import RESERVE_SECONDS, Cascade
from service.errors import DeadlineExceeded, InferenceFailed, Overloaded, ServiceError, WorkerDead
from service.metrics import Metrics


class Script:
    """A backend whose confidence in a text is the text's first word."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.error: ServiceError | None = None
        self.seconds = 0.0

    async def run(self, texts: Sequence[str], stages: Any, *, deadline: float, bulk: bool = False) -> list[Tagged]:
        self.asked.append(list(texts))
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return [Tagged((), float(text.split()[0]), 1) for text in texts]


class Staged:
    """A cascade of threshold 0.5 between two scripts."""

    def __init__(self, *, teacher: bool = True, fallback: bool = True, share: float = 1.0, burst: float = 1.0) -> None:
        self.student, self.teacher = Script(), Script()
        self.clock, self.metrics = Clock(), Metrics()
        self.wait = 0.0
        self.cascade = Cascade(
            {"student": self.student} | ({"teacher": self.teacher} if teacher else {}),
            threshold=0.5,
            fallback=fallback,
            fallback_seconds=5.0,
            budget=Budget(share, burst=burst, clock=self.clock),
            breaker=Breaker(failures=2, seconds=3.0, clock=self.clock),
            metrics=self.metrics,
            wait_seconds=lambda: self.wait,
        )

    async def tag(self, *texts: str, seconds: float = 30.0) -> list[str]:
        """Of each text the fallback, else why there was none, else who answered."""
        answers = await self.cascade.tag(texts, None, model="auto", deadline=time.monotonic() + seconds)
        assert all((one.model == "teacher") == (one.fallback is not None) for one in answers)
        return [one.fallback or one.declined or one.model for one in answers]

    def ask(self, *texts: str, seconds: float = 30.0) -> list[str]:
        return asyncio.run(self.tag(*texts, seconds=seconds))

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def declined(self, why: str, reason: str = "low_confidence") -> float | None:
        return self.metric("onoma_fallbacks_declined_total", reason=reason, declined=why)


HELPED = "low_confidence"


def test_the_budget_goes_to_the_least_confident() -> None:
    staged = Staged(share=0.2, burst=3)
    assert staged.ask("0.4", "0.1", "0.9", "0.3", "0.2") == ["budget", HELPED, "student", "budget", HELPED]
    assert staged.teacher.asked == [["0.1", "0.2"]], "3 characters and a fifth of the 15 sent"
    assert staged.declined("budget") == 2
    assert staged.metric("onoma_fallbacks_total", reason="low_confidence") == 2


def test_a_refused_text_does_not_use_up_the_budget() -> None:
    staged = Staged(share=0.01, burst=4)
    staged.teacher.error = Overloaded("full")
    assert staged.ask("0.1", "0.2") == ["queue", "queue"]
    staged.teacher.error = None
    assert staged.ask("0.1", "0.2") == [HELPED, HELPED]
    assert staged.ask("0.1") == ["budget"]


def test_a_failing_student_needs_no_budget() -> None:
    staged = Staged(share=0.0)
    staged.student.error = InferenceFailed("broken")
    assert staged.ask("0.1", "0.9") == ["student_error", "student_error"]
    staged.student.error = None
    assert staged.ask("0.1") == ["budget"]


def test_a_full_queue_is_no_failure_of_the_teacher() -> None:
    staged = Staged()
    staged.teacher.error = Overloaded("full")
    assert [staged.ask("0.1") for _ in range(5)] == [["queue"]] * 5
    assert staged.declined("queue") == 5 and staged.metric("onoma_breaker_open") == 0


def test_a_queue_that_takes_too_long_is_not_joined() -> None:
    staged = Staged()
    staged.wait = 5.0
    assert staged.ask("0.1") == ["queue"]
    staged.wait = 2.0
    assert staged.ask("0.1") == [HELPED]
    assert staged.ask("0.1", seconds=2.0) == ["queue"], "the request has less time than the queue takes"
    assert len(staged.teacher.asked) == 1


def test_a_request_without_time_does_not_ask() -> None:
    staged = Staged()
    assert staged.ask("0.1", seconds=RESERVE_SECONDS) == ["deadline"]
    assert staged.teacher.asked == [] and staged.declined("deadline") == 1


def test_a_slow_teacher_leaves_time_for_the_students_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.cascade.RESERVE_SECONDS", 2.0)
    staged = Staged()
    staged.teacher.seconds = 20.0
    began = time.monotonic()
    assert staged.ask("0.1", seconds=2.1) == ["deadline"]
    assert 0.09 < time.monotonic() - began < 2.0


def test_a_teacher_known_to_be_slow_is_not_asked_in_a_hurry() -> None:
    staged = Staged()
    staged.teacher.seconds = 0.2
    assert staged.ask("0.1") == [HELPED]
    assert staged.ask("0.1", seconds=RESERVE_SECONDS + 0.15) == ["deadline"]
    staged.wait = 4.9
    assert staged.ask("0.1") == ["deadline"], "of 5 seconds the queue takes 4.9 and the teacher 0.2"
    assert len(staged.teacher.asked) == 1
    assert staged.ask("0.1" + " long" * 1000) == [HELPED], "nothing is known of these"


def test_an_answer_that_came_too_late_counts_for_the_pace() -> None:
    staged = Staged()
    staged.teacher.seconds = 20.0
    for seconds in (0.2, 0.1):
        assert staged.ask("0.1", seconds=RESERVE_SECONDS + seconds) == ["deadline"]
    assert len(staged.teacher.asked) == 1


def test_waiting_in_the_queue_is_not_the_teachers_pace() -> None:
    staged = Staged()
    staged.wait, staged.teacher.seconds = 0.2, 0.2
    assert staged.ask("0.1") == [HELPED]
    staged.wait, staged.teacher.seconds = 4.9, 0.0
    assert staged.ask("0.1") == [HELPED]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (InferenceFailed("broken"), "teacher_error"),
        (WorkerDead("dead"), "teacher_error"),
        (DeadlineExceeded("late"), "deadline"),
    ],
)
def test_a_failing_teacher_is_left_alone_and_tried_again(error: ServiceError, why: str) -> None:
    staged = Staged()
    staged.teacher.error = error
    assert [staged.ask("0.1") for _ in range(3)] == [[why], [why], ["circuit_open"]]
    assert staged.metric("onoma_breaker_open") == 1
    staged.clock.now += 3
    assert [staged.ask("0.1") for _ in range(2)] == [[why], ["circuit_open"]]
    staged.teacher.error = None
    staged.clock.now += 3
    assert staged.ask("0.1") == ["circuit_open"], "the second pause is twice as long"
    staged.clock.now += 3
    assert [staged.ask("0.1") for _ in range(2)] == [[HELPED], [HELPED]]
    assert staged.metric("onoma_breaker_open") == 0
    assert (staged.declined(why), staged.declined("circuit_open")) == (3, 3)


def broken(staged: Staged) -> None:
    """Open the circuit and let its pause pass."""
    staged.teacher.error = InferenceFailed("broken")
    for _ in range(2):
        staged.ask("0.1")
    staged.teacher.error = None
    staged.clock.now += 3


def test_one_request_at_a_time_tries_a_teacher_that_failed() -> None:
    staged = Staged()
    broken(staged)
    staged.teacher.seconds = 0.01

    async def at_once() -> list[list[str]]:
        return await asyncio.gather(*(staged.tag("0.1") for _ in range(3)))

    assert asyncio.run(at_once()) == [[HELPED], ["circuit_open"], ["circuit_open"]]


def test_a_client_that_goes_away_does_not_keep_the_circuit_open() -> None:
    staged = Staged()
    broken(staged)
    staged.teacher.seconds = 20.0

    async def gone() -> None:
        request = asyncio.ensure_future(staged.tag("0.1"))
        await asyncio.sleep(0.01)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)

    asyncio.run(gone())
    assert len(staged.teacher.asked) == 3
    staged.teacher.seconds = 0.0
    assert staged.ask("0.1") == [HELPED]


def test_an_open_circuit_uses_no_budget() -> None:
    staged = Staged(share=0.01, burst=4)
    staged.teacher.error = InferenceFailed("broken")
    for _ in range(2):
        staged.ask("0.1")
    assert staged.ask("0.1", "0.2", "0.3") == ["circuit_open"] * 3
    staged.teacher.error = None
    staged.clock.now += 3
    assert staged.ask("0.1", "0.2") == [HELPED, HELPED]


def test_a_server_without_a_teacher_says_so() -> None:
    staged = Staged(teacher=False, share=0.0)
    assert staged.ask("0.1", "0.9") == ["no_teacher", "student"]
    assert staged.declined("no_teacher") == 1


def test_nothing_is_declined_when_the_fallback_is_off() -> None:
    staged = Staged(fallback=False)
    assert staged.ask("0.1") == ["student"]
    staged.student.error = InferenceFailed("broken")
    with pytest.raises(InferenceFailed):
        staged.ask("0.1")
    assert staged.teacher.asked == [] and staged.declined("no_teacher", "student_error") == 0


def test_the_students_error_stands_when_the_teacher_declines() -> None:
    staged = Staged()
    staged.student.error, staged.teacher.error = WorkerDead("the student's"), InferenceFailed("the teacher's")
    for _ in range(3):
        with pytest.raises(WorkerDead, match="the student's"):
            staged.ask("0.1", "0.2")
    assert staged.declined("teacher_error", "student_error") == 4
    assert staged.declined("circuit_open", "student_error") == 2
    assert staged.metric("onoma_fallbacks_total", reason="student_error") == 0


def test_an_overloaded_student_does_not_send_its_load_to_the_teacher() -> None:
    staged = Staged()
    staged.student.error = Overloaded("full")
    with pytest.raises(Overloaded):
        staged.ask("0.9")
    assert staged.teacher.asked == []
