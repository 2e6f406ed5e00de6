"""Readiness follows a real inference."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from fakes import Client, FakeModel, Serve, Served, make_tagger, running
from folders import put, runtime_of

from service.app import create_app
from service.settings import Settings


def test_not_ready_before_the_models_are_loaded() -> None:
    client = Client(create_app(Settings(), models={"student": make_tagger()}))
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "not_ready"
    assert client.get("/healthz").status_code == 200
    assert client.post("/ner", json={"text": "a"}).status_code == 503
    client.start()
    assert client.get("/readyz").status_code == 200
    client.close()


def test_follows_the_model(served: Served) -> None:
    assert served.client.get("/readyz").status_code == 200
    assert served.metric("onoma_ready") == 1
    served.teacher.error = RuntimeError("broken")
    response = served.client.get("/readyz")
    assert response.status_code == 503 and "teacher" in response.json()["error"]["message"]
    assert served.metric("onoma_ready") == 0
    served.teacher.error = None
    assert served.client.get("/readyz").status_code == 200


def test_a_stuck_model_is_not_ready(serve: Serve) -> None:
    served = serve(ready_seconds=0.1)
    served.student.gate.clear()
    began = time.monotonic()
    assert served.client.get("/readyz").status_code == 503
    assert time.monotonic() - began < 5
    assert served.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_worker_that_keeps_dying_is_not_ready_even_when_cached(serve: Serve, workers: int) -> None:
    served = serve(ready_cache_seconds=60, workers=workers)
    assert served.client.get("/readyz").status_code == 200
    for _ in range(6):  # each kills two
        response = served.ner(text="kill", model="student")
        assert response.status_code == 503 and response.json()["error"]["code"] == "worker_dead"
    response = served.client.get("/readyz")
    assert response.status_code == 503 and "dead" in response.json()["error"]["message"]
    assert served.ner(text="Siemens", model="student").json()["error"]["code"] == "worker_dead"
    assert served.ner(text="Siemens").json()["results"][0]["fallback"] == "student_error"


def test_one_inference_answers_many_probes(serve: Serve) -> None:
    served = serve(ready_cache_seconds=60)
    for _ in range(5):
        assert served.client.get("/readyz").status_code == 200
    assert len(served.student.batches) == 1


def test_every_loaded_model_must_work() -> None:
    mine = FakeModel()
    app = create_app(
        Settings(ready_cache_seconds=0, workers=1), models={"student": make_tagger(), "mine": make_tagger(mine)}
    )
    client = Client(app)
    client.start()
    try:
        assert client.get("/readyz").json() == {"status": "ready", "models": ["student", "mine"]}
        mine.error = RuntimeError("broken")
        response = client.get("/readyz")
        assert response.status_code == 503 and "an inference of the mine failed" in response.json()["error"]["message"]
    finally:
        client.close()


def test_models_are_probed_side_by_side(serve: Serve) -> None:
    """A probe takes as long as the slowest model, not as all together."""
    served = serve(ready_seconds=0.5)
    served.student.gate.clear()
    served.teacher.gate.clear()
    began = time.monotonic()
    assert served.client.get("/readyz").status_code == 503
    assert time.monotonic() - began < 0.95


def test_new_models_are_probed_anew(tmp_path: Path) -> None:
    put(tmp_path, "student")
    broken = FakeModel()

    async def scenario() -> None:
        async with running(broken, models=tmp_path, threads=1, ready_cache_seconds=60) as (app, client):
            broken.error = RuntimeError("broken")
            assert (await client.get("/readyz")).status_code == 503
            broken.error = None
            assert (await client.get("/readyz")).status_code == 503, "the outcome is kept"
            await runtime_of(app).reloads.reload()
            assert (await client.get("/readyz")).status_code == 200

    asyncio.run(scenario())


def test_draining(served: Served) -> None:
    served.app.state.runtime.health.drain()
    assert served.client.get("/readyz").status_code == 503
    assert served.ner(text="Siemens").status_code == 200


def test_metrics_are_there(served: Served) -> None:
    served.ner(texts=["Angela Merkel", "maybe", "Siemens in Ohio"])
    text = served.client.get("/metrics").text
    for line in (
        'onoma_stage_seconds_bucket{le="0.0005",model="student",stage="infer"}',
        'onoma_stage_seconds_count{model="teacher",stage="queue"} 1.0',
        'onoma_request_seconds_count{endpoint="/ner",status="200"} 1.0',
        'onoma_fallbacks_total{reason="low_confidence"} 1.0',
        'onoma_batch_windows_count{model="student"}',
        'onoma_batch_tokens_sum{model="student"}',
        'onoma_batch_padding_ratio_bucket{',
        'onoma_queue_windows{model="student"} 0.0',
        'onoma_entities_total{label="PER",model="student"} 1.0',
        'onoma_texts_total{model="student"} 2.0',
        "onoma_model_info{",
    ):
        assert line in text, line


def test_unknown_paths_do_not_make_series(served: Served) -> None:
    for number in range(3):
        served.client.get(f"/x{number}")
    assert served.metric("onoma_request_seconds_count", endpoint="other", status="404") == 3
