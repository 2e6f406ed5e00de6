"""auto: the student answers, the teacher where the student is unsure or fails."""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import httpx
import pytest
from fakes import Serve, Served

from service.schemas import Declined


def answered(response: httpx.Response) -> list[tuple[str, str | None]]:
    assert response.status_code == 200, response.text
    return [(one["model"], one["fallback"]) for one in response.json()["results"]]


def declined(response: httpx.Response) -> list[str | None]:
    """Why the teacher did not answer each text; None where the key is absent, as it must be where it says nothing."""
    assert all(one.get("declined", "") is not None for one in response.json()["results"])
    return [one.get("declined") for one in response.json()["results"]]


STUDENT = ("student", None)
UNSURE = ("teacher", "low_confidence")
FAILED = ("teacher", "student_error")


def test_only_the_unsure_texts_go_to_the_teacher(served: Served) -> None:
    response = served.ner(texts=["Siemens", "maybe Siemens", "Ohio", "maybe"])
    assert answered(response) == [STUDENT, UNSURE, STUDENT, UNSURE]
    assert [[e["text"] for e in one["entities"]] for one in response.json()["results"]] == [
        ["Siemens"], ["Siemens"], ["Ohio"], [],
    ]
    assert declined(response) == [None] * 4
    assert sum(map(len, served.teacher.batches)) == 2
    assert served.metric("onoma_fallbacks_total", reason="low_confidence") == 2
    assert served.metric("onoma_texts_total", model="teacher") == 2


def test_a_failing_student(served: Served) -> None:
    served.student.error = RuntimeError("broken")
    assert answered(served.ner(texts=["Siemens", "Ohio"])) == [FAILED, FAILED]
    assert served.metric("onoma_fallbacks_total", reason="student_error") == 2
    served.student.error = None
    assert answered(served.ner(text="Siemens")) == [STUDENT]


def test_numbers_that_are_none_count_as_failure(served: Served) -> None:
    served.student.not_finite = True
    assert answered(served.ner(text="Siemens")) == [FAILED]


def test_the_student_stands_when_the_teacher_fails(served: Served) -> None:
    served.teacher.error = RuntimeError("broken")
    response = served.ner(texts=["maybe Siemens", "Siemens"])
    assert answered(response) == [STUDENT, STUDENT] and declined(response) == ["teacher_error", None]
    why = {"reason": "low_confidence", "declined": "teacher_error"}
    assert served.metric("onoma_fallbacks_declined_total", **why) == 1
    assert served.metric("onoma_fallbacks_total", reason="low_confidence") == 0


def test_the_student_stands_when_the_teacher_is_slow(serve: Serve) -> None:
    served = serve(fallback_seconds=0.1)
    served.teacher.gate.clear()
    response = served.ner(text="maybe Siemens")
    assert answered(response) == [STUDENT] and declined(response) == ["deadline"]


def test_the_student_stands_when_the_teacher_takes_all_the_time_of_the_request(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.cascade.RESERVE_SECONDS", 2.0)
    served = serve(deadline_seconds=2.2)
    served.teacher.gate.clear()
    response = served.ner(text="maybe Siemens")
    assert answered(response) == [STUDENT] and declined(response) == ["deadline"]


def test_the_student_stands_without_a_teacher(serve: Serve) -> None:
    response = serve(teacher=False).ner(texts=["maybe Siemens", "Siemens"])
    assert answered(response) == [STUDENT, STUDENT] and declined(response) == ["no_teacher", None]


def test_the_budget_binds_under_load(serve: Serve) -> None:
    served = serve(fallback_share=0.1)
    long = "maybe " + "Ohio " * 1000
    response = served.ner(texts=[long] * 10)
    reasons = declined(response)
    assert 2 <= reasons.count(None) <= 3 and reasons.count("budget") == 10 - reasons.count(None)
    assert declined(served.ner(text=long)) == ["budget"]
    assert declined(serve(fallback_share=0.0).ner(text="maybe")) == ["budget"]


def test_a_teacher_that_keeps_failing_is_left_alone(serve: Serve) -> None:
    served = serve(breaker_failures=2, breaker_seconds=0.2)
    served.teacher.error = RuntimeError("broken")
    reasons = [declined(served.ner(text="maybe")) for _ in range(3)]
    assert reasons == [["teacher_error"], ["teacher_error"], ["circuit_open"]]
    assert served.metric("onoma_breaker_open") == 1
    served.teacher.error = None
    time.sleep(0.25)
    assert answered(served.ner(text="maybe")) == [UNSURE]
    assert served.metric("onoma_breaker_open") == 0


def test_both_fail(served: Served) -> None:
    response = served.ner(text="boom")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "inference_failed"
    assert "secret" not in response.text
    assert answered(served.ner(text="Siemens")) == [STUDENT]


def test_asked_for_a_model_gets_that_model(served: Served) -> None:
    assert answered(served.ner(text="maybe", model="student")) == [STUDENT]
    assert answered(served.ner(text="Siemens", model="teacher")) == [("teacher", None)]
    served.student.error = RuntimeError("broken")
    assert served.ner(text="Siemens", model="student").status_code == 500


def test_fallback_off(serve: Serve) -> None:
    response = serve(fallback=False).ner(text="maybe")
    assert answered(response) == [STUDENT] and declined(response) == [None]


def test_threshold_of_the_settings_goes_before_the_bundle(serve: Serve) -> None:
    assert answered(serve(fallback_threshold=0.0).ner(text="maybe")) == [STUDENT]
    assert answered(serve().ner(text="likely")) == [STUDENT]
    assert answered(serve(fallback_threshold=0.99).ner(text="likely")) == [UNSURE]


def test_a_dead_student_is_helped_out(served: Served) -> None:
    served.app.state.runtime.backends["student"].engine.close()
    assert served.ner(text="Siemens", model="student").status_code == 503
    assert answered(served.ner(text="Siemens")) == [FAILED]


def test_every_reason_is_documented() -> None:
    docs = (Path(__file__).parents[2] / "docs/service.md").read_text(encoding="utf-8")
    cascade = docs.split("## Cascade")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip(" `") for line in cascade.splitlines() if line.startswith("| `")]
    assert sorted(rows[1:]) == sorted(get_args(Declined))
