"""What only several replicas can show: killed ones, replaced ones, metrics of all, questions that nobody waits for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator

import httpx
import pytest
from fake_bundles import write_fake, write_fakes
from fakes import VOCABULARY
from on_ray import OnRay
from real_server import until

from onoma.client import AsyncClient, Result, Retries

pytestmark = pytest.mark.ray

FOUND = [("Siemens", "ORG"), ("Ohio", "LOC")]
MUCH = {"texts": ["Ohio " * 1600] * 10, "model": "slow"}
"""About ten runs: 16 pieces in a window of which neighbours share 4, 2048 in a run."""


@pytest.fixture(scope="module")
def cluster(on_ray: OnRay, tmp_path_factory: pytest.TempPathFactory) -> OnRay:
    """The same with another model, and a teacher that is soon given up."""
    models = tmp_path_factory.mktemp("with_slow") / "models"
    write_fakes(models)
    write_fake(models / "slow", sure=True, rows=len(VOCABULARY), slow=True)
    on_ray.models = models
    on_ray.deploy(fallback_seconds=2, breaker_failures=1000, max_queue_seconds=600)
    assert httpx.get(on_ray.url + "/readyz", timeout=30).json()["models"] == ["student", "teacher", "slow"]
    return on_ray


async def under_load(
    url: str, meanwhile: Callable[[], Awaitable[None]], *, retries: Retries, clients: int = 8
) -> list[Result]:
    """The answers to requests that go on while something happens, and for a moment after."""
    results: list[Result] = []
    over = False

    async def ask(client: AsyncClient) -> None:
        while not over:
            results.append(await client.tag("Siemens in Ohio"))

    async with AsyncClient(url, retries=retries) as client, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(ask(client))
        await wait_for(lambda: len(results) > 10 * clients)
        await meanwhile()
        enough = len(results) + 10 * clients
        await wait_for(lambda: len(results) > enough)
        over = True
    return results


async def wait_for(condition: Callable[[], bool], *, seconds: float = 120.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


def all_found(results: list[Result]) -> bool:
    return all([(one.text, one.label) for one in result.entities] == FOUND for result in results)


def test_one_scrape_speaks_for_all_replicas(cluster: OnRay) -> None:
    before = cluster.metric('onoma_texts_total{model="student"}')
    for _ in range(20):
        assert cluster.ner(text="Siemens").status_code == 200
    assert cluster.metric('onoma_texts_total{model="student"}') == before + 20
    assert cluster.metric("onoma_processes") == 4  # two of the student, one of each other


def test_each_model_is_asked_where_it_runs(cluster: OnRay) -> None:
    before = cluster.metric('onoma_stage_seconds_count{model="slow",stage="infer"}')
    [result] = cluster.ner(text="Siemens", model="slow").json()["results"]
    assert (result["model"], result["entities"][0]["text"]) == ("slow", "Siemens")
    assert cluster.metric('onoma_stage_seconds_count{model="slow",stage="infer"}') == before + 1


def test_a_body_that_is_streamed_is_counted(cluster: OnRay) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(10):
            yield b"a" * 1_000_000

    answer = httpx.post(cluster.url + "/ner", content=chunks(), timeout=60)
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "body_too_large"


def test_a_stream_is_answered_in_order(cluster: OnRay) -> None:
    words = ["Ohio", "maybe Siemens", "Siemens"] * 50
    lines = "".join(json.dumps({"text": word, "id": at}) + "\n" for at, word in enumerate(words))
    answer = httpx.post(cluster.url + "/ner/stream", content=lines.encode(), timeout=60)
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["id"] for one in found] == list(range(len(words)))
    assert {one["model"] for one in found[1::3]} <= {"student", "teacher"}  # the budget may bind
    assert all(one["entities"][0]["text"] == word.split()[-1] for one, word in zip(found, words, strict=True))


def test_models_that_fail_elsewhere(cluster: OnRay) -> None:
    answer = cluster.ner(texts=["boom"], model="teacher")
    assert answer.status_code == 500 and answer.json()["error"]["code"] == "inference_failed"
    assert cluster.ner(text="kill").json()["results"][0]["fallback"] == "student_error"


def test_nobody_works_for_a_client_that_has_gone(cluster: OnRay) -> None:
    runs = 'onoma_batch_seconds_count{model="slow"}'
    gone = 'onoma_request_seconds_count{endpoint="/ner",status="499"}'
    much = MUCH | {"texts": MUCH["texts"] * 4}  # all together are 160 runs, and fit the queue
    before, gone_before = cluster.metric(runs), cluster.metric(gone)

    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=cluster.url, timeout=60) as client:
            asked = [asyncio.create_task(client.post("/ner", json=much)) for _ in range(4)]
            await wait_for(lambda: cluster.metric("onoma_in_flight_requests") == 4 and cluster.metric(runs) > before)
            for one in asked:
                one.cancel()

    asyncio.run(scenario())
    until(lambda: cluster.metric("onoma_in_flight_requests") == 0)
    until(lambda: cluster.metric('onoma_queue_windows{model="slow"}') == 0)
    assert cluster.ner(text="Siemens", model="slow").status_code == 200
    assert cluster.metric(runs) < before + 120
    until(lambda: cluster.metric(gone) == gone_before + 4)


def test_the_student_stands_while_there_is_no_teacher(cluster: OnRay) -> None:
    [teacher] = cluster.pids("teacher")
    assert cluster.ner(text="maybe Siemens").json()["results"][0]["fallback"] == "low_confidence"
    os.kill(teacher, signal.SIGKILL)
    [result] = cluster.ner(text="maybe Siemens").json()["results"]
    assert (result["model"], result["fallback"]) == ("student", None)
    assert result["declined"] in ("teacher_error", "deadline", "queue")
    assert [one["text"] for one in result["entities"]] == ["Siemens"]
    until(lambda: cluster.ner(text="maybe").json()["results"][0]["fallback"] == "low_confidence", seconds=120)
    assert cluster.pids("teacher") != [teacher]


def test_a_killed_replica_loses_no_request_beyond_retries(cluster: OnRay) -> None:
    victim, other = cluster.pids("student")

    async def kill() -> None:
        os.kill(victim, signal.SIGKILL)
        await wait_for(lambda: len(cluster.pids("student")) == 2 and victim not in cluster.pids("student"))

    assert all_found(asyncio.run(under_load(cluster.url, kill, retries=Retries(base_seconds=0.05))))
    assert other in cluster.pids("student")


def test_what_a_killed_replica_worked_on_is_refused_in_the_error_form(cluster: OnRay) -> None:
    async def scenario() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=cluster.url, timeout=120) as client:
            asked = [asyncio.create_task(client.post("/ner", json=MUCH)) for _ in range(4)]
            await wait_for(lambda: cluster.metric("onoma_in_flight_requests") >= 1)
            for pid in cluster.pids("student"):
                os.kill(pid, signal.SIGKILL)
            return list(await asyncio.gather(*asked))

    answers = asyncio.run(scenario())
    refused = [one for one in answers if one.status_code != 200]
    assert refused
    for answer in refused:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        error = answer.json()["error"]
        assert error["code"] == "not_ready" and error["request_id"] == answer.headers["x-request-id"]
    until(lambda: len(cluster.pids("student")) == 2, seconds=120)


def test_no_text_is_in_any_log(cluster: OnRay) -> None:
    for model in ("auto", "student", "teacher", "slow"):
        cluster.ner(text="Zanzibar maybe", model=model)
        cluster.ner(text="Zanzibar boom", model=model)
    logs = cluster.logs()
    assert any("/ner" in text or "the teacher failed" in text for text in logs)
    assert not any("Zanzibar" in text for text in logs)


def test_replicas_come_and_go_with_the_load_and_lose_no_request(cluster: OnRay) -> None:
    """Nothing is sent twice here: a replica that goes ends what it has begun."""

    async def replicas(count: int) -> None:
        await wait_for(lambda: len(cluster.pids("student")) == count)

    once = Retries(times=0)
    cluster.deploy(
        ray_student_replicas=1,
        ray_student_max_replicas=2,
        ray_student_target_requests=2,
        ray_upscale_seconds=0,
        ray_downscale_seconds=0,
    )
    asyncio.run(replicas(1))
    assert all_found(asyncio.run(under_load(cluster.url, lambda: replicas(2), retries=once, clients=8)))
    assert all_found(asyncio.run(under_load(cluster.url, lambda: replicas(1), retries=once, clients=1)))


def test_an_overloaded_replica_answers_429_in_the_error_form(cluster: OnRay) -> None:
    cluster.deploy(ray_student_replicas=1, ray_student_max_replicas=1, max_in_flight=1)

    async def scenario() -> httpx.Response:
        async with httpx.AsyncClient(base_url=cluster.url, timeout=60) as client:
            asked = asyncio.create_task(client.post("/ner", json=MUCH | {"texts": MUCH["texts"] * 20}))
            await wait_for(lambda: cluster.metric("onoma_in_flight_requests") == 1)
            refused = await client.post("/ner", json={"text": "Siemens"})
            asked.cancel()
            return refused

    refused = asyncio.run(scenario())
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], refused.headers["retry-after"]) == (429, "overloaded", "1")
    assert error["request_id"] == refused.headers["x-request-id"]
    until(lambda: cluster.ner(text="Siemens").status_code == 200)
