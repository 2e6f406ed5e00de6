"""auto: the student answers, the teacher where the student is unsure or fails."""

from __future__ import annotations

import httpx
from fakes import Serve, Served


def answered(response: httpx.Response) -> list[tuple[str, str | None]]:
    assert response.status_code == 200, response.text
    return [(one["model"], one["fallback"]) for one in response.json()["results"]]


STUDENT = ("student", None)
UNSURE = ("teacher", "low_confidence")
FAILED = ("teacher", "student_error")


def test_only_the_unsure_texts_go_to_the_teacher(served: Served) -> None:
    response = served.ner(texts=["Siemens", "maybe Siemens", "Ohio", "maybe"])
    assert answered(response) == [STUDENT, UNSURE, STUDENT, UNSURE]
    assert [[e["text"] for e in one["entities"]] for one in response.json()["results"]] == [
        ["Siemens"], ["Siemens"], ["Ohio"], [],
    ]
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
    assert answered(served.ner(text="maybe Siemens")) == [STUDENT]
    assert served.metric("onoma_fallbacks_unanswered_total", reason="low_confidence") == 1
    assert served.metric("onoma_fallbacks_total", reason="low_confidence") == 0


def test_the_student_stands_when_the_teacher_is_slow(serve: Serve) -> None:
    served = serve(fallback_seconds=0.1)
    served.teacher.gate.clear()
    assert answered(served.ner(text="maybe Siemens")) == [STUDENT]


def test_the_student_stands_without_a_teacher(serve: Serve) -> None:
    assert answered(serve(teacher=False).ner(text="maybe Siemens")) == [STUDENT]


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
    assert answered(serve(fallback=False).ner(text="maybe")) == [STUDENT]


def test_threshold_of_the_settings_goes_before_the_bundle(serve: Serve) -> None:
    assert answered(serve(fallback_threshold=0.0).ner(text="maybe")) == [STUDENT]
    assert answered(serve().ner(text="likely")) == [STUDENT]
    assert answered(serve(fallback_threshold=0.99).ner(text="likely")) == [UNSURE]


def test_a_dead_student_is_helped_out(served: Served) -> None:
    assert served.ner(text="kill", model="student").status_code == 503
    assert answered(served.ner(text="Siemens")) == [FAILED]
