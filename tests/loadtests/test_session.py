"""The order of the legs, with a Locust that is made up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from loadtests.job import Job
from loadtests.records import OK, REJECTED, write_records
from loadtests.session import ATTEMPTS, Session
from tests.loadtests.made import record, settings

CAPACITY = {"student": 1000.0, "teacher": 300.0}


class MadeUp(Session):
    """Answers up to the model's capacity, rejects the rest, and sometimes stands still."""

    def prepare(self, *, hiccups: tuple[int, ...] = (), pauses: tuple[int, ...] = ()) -> None:
        """Say which runs, by number, see a service that rejects half, or a machine that stands still."""
        self.jobs: list[Job] = []
        self.hiccups, self.pauses = hiccups, pauses

    def _run(self, job: Job) -> None:
        number = len(self.jobs)
        self.jobs.append(job)
        rate = job.rate or CAPACITY[job.model]
        answered = min(rate, CAPACITY[job.model]) / (2 if number in self.hiccups else 1)
        outcomes = [OK] * round(answered) + [REJECTED] * round(rate - answered)
        records = [record(0.9 * at / rate, 0.01, outcome=outcome) for at, outcome in enumerate(outcomes)]
        write_records(Path(f"{job.prefix}_requests.csv"), records)
        measured = {"generator_cpu": 0.1, "pause": 2.0 if number in self.pauses else 0.0}
        Path(f"{job.prefix}_generator.json").write_text(json.dumps(measured), encoding="utf-8")


def order(session: MadeUp) -> list[tuple[str, float]]:
    return [(job.model, job.rate) for job in session.jobs]


def test_rounds_are_interleaved_and_repeat_the_rates_that_the_first_found(tmp_path: Path) -> None:
    session = MadeUp(settings(), "http://nowhere", tmp_path, None)
    session.prepare()
    session.run(local=False)
    assert order(session)[:6] == [
        *[
            ("student", 0.0),
            ("teacher", 0.0),
            ("student", 100.0),
            ("teacher", 100.0),
            ("student", 200.0),
            ("teacher", 200.0),
        ]
    ]
    rates = {
        (model, number): Counter(leg.rate for leg in session.legs if leg.model == model and leg.round == number)
        for model in CAPACITY
        for number in (1, 2)
    }
    for model, capacity in CAPACITY.items():
        first, second = rates[model, 1], rates[model, 2]
        assert first.keys() == second.keys() and set(second.values()) == {1}
        # What is saturated was tried twice before the search believed it.
        assert {rate for rate, times in first.items() if times == 2} == {
            rate for rate in first if rate > capacity / 0.95
        }
        assert any(capacity / 1.3 < rate <= capacity / 0.95 for rate in first)
    assert session.yardsticks == {} and not session.cut_short


def test_a_hiccup_does_not_end_the_search(tmp_path: Path) -> None:
    session = MadeUp(settings(models=("student",), rounds=1), "http://nowhere", tmp_path, None)
    session.prepare(hiccups=(2,))
    session.run(local=False)
    assert order(session)[1:5] == [("student", 100.0), ("student", 200.0), ("student", 200.0), ("student", 400.0)]


def test_a_leg_in_which_the_machine_stood_still_is_measured_again(tmp_path: Path) -> None:
    session = MadeUp(settings(models=("student",), rounds=1, step=0.0), "http://nowhere", tmp_path, None)
    session.prepare(pauses=(0,))
    session.run(local=True)
    assert (len(session.jobs), len(session.legs), session.repeated) == (2, 1, 1)
    assert session.legs[0].pause == 0 and session.yardsticks.keys() == {("student", 1)}
    session.prepare(pauses=tuple(range(9)))
    session.run(local=False)
    assert len(session.jobs) == ATTEMPTS and session.legs[1].pause == 2.0


def test_when_time_is_up_nothing_more_is_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = MadeUp(settings(minutes=0.0), "http://nowhere", tmp_path, None)
    session.prepare()
    session.run(local=True)
    assert session.cut_short and session.jobs == [] and capsys.readouterr().err == ""
