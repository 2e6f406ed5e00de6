"""A model that another process runs: what goes there and comes back, and what happens when nothing does."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from fakes import LABELS, FakeModel, FakeSentenceModel, make_embedder, make_tagger, until
from fastapi import FastAPI

from service.app import create_app
from service.errors import (
    ClientGone,
    DeadlineExceeded,
    InferenceFailed,
    Overloaded,
    ServiceError,
    WorkerDead,
    error_classes,
)
from service.queueing import Stages
from service.records import REQUEST_ID
from service.remote import Failure, Question, RemoteBackend, RemoteEncoder, Reply, as_error, reply
from service.runtime import Runtime
from service.settings import Settings


class Elsewhere:
    """The other process: a runtime with one model; everything is pickled on its way there and back.

    :param name: of the model.
    """

    def __init__(self, model: FakeModel, name: str = "teacher") -> None:
        self.model = model
        self.name = name
        self.runtime = Runtime(Settings(workers=1))
        self.questions: list[Question] = []
        self.error: Exception | None = None
        self.given_up = 0

    async def ask(self, question: Question) -> Reply:
        self.questions.append(question)
        if self.error is not None:
            raise self.error
        there: Question = pickle.loads(pickle.dumps(question))
        try:
            said = await asyncio.create_task(reply(self.runtime.backends[self.name], there))
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        told: Reply = pickle.loads(pickle.dumps(said))
        return told


@asynccontextmanager
async def with_teacher_elsewhere(**settings: object) -> AsyncIterator[tuple[Elsewhere, FastAPI, httpx.AsyncClient]]:
    """An app with a student, whose teacher runs elsewhere."""
    elsewhere = Elsewhere(FakeModel(sure=True))
    await elsewhere.runtime.start({"teacher": make_tagger(elsewhere.model)})
    elsewhere.model.batches.clear()
    teacher = RemoteBackend("teacher", elsewhere.ask, labels=LABELS)
    app = create_app(
        Settings(**{"workers": 1, "ready_cache_seconds": 0.0} | settings),
        models={"student": make_tagger(FakeModel())},
        elsewhere={"teacher": teacher},
    )
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://onoma") as client,
    ):
        try:
            yield elsewhere, app, client
        finally:
            elsewhere.model.gate.set()
            await elsewhere.runtime.stop()


async def result(client: httpx.AsyncClient, **body: object) -> dict[str, object]:
    answer = await client.post("/ner", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()["results"][0]
    return found


def test_the_teacher_elsewhere_answers_as_one_here() -> None:
    async def scenario() -> None:
        async with with_teacher_elsewhere() as (elsewhere, app, client):
            assert (await client.get("/readyz")).json()["models"] == ["student", "teacher"]
            assert [one["name"] for one in (await client.get("/models")).json()["models"]] == ["student", "teacher"]
            unsure = await result(client, text="maybe Siemens")
            assert (unsure["model"], unsure["fallback"]) == ("teacher", "low_confidence")
            asked = await client.post(
                "/ner", json={"text": "Siemens", "model": "teacher"}, headers={"x-request-id": "trace-7"}
            )
            assert asked.json()["results"][0]["entities"][0]["text"] == "Siemens"
            assert elsewhere.questions[-1].request_id == "trace-7"
            assert asked.json()["timings_ms"]["infer"] > 0
            here, there = app.state.runtime.metrics.registry, elsewhere.runtime.metrics.registry
            stage = ("onoma_stage_seconds_count", {"model": "teacher", "stage": "infer"})
            assert (here.get_sample_value(*stage), there.get_sample_value(*stage)) == (None, 2)  # counted once

    asyncio.run(scenario())


def test_an_encoder_elsewhere_answers_as_one_here() -> None:
    async def scenario() -> None:
        elsewhere = Elsewhere(FakeSentenceModel(), "encoder")
        await elsewhere.runtime.start({"encoder": make_embedder(elsewhere.model)})
        embedder = make_embedder()
        encoder = RemoteEncoder("encoder", elsewhere.ask, dimensions=embedder.dimensions)
        app = create_app(Settings(workers=1), models={"student": make_tagger()}, elsewhere={"encoder": encoder})
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        texts = ["Angela Merkel", "", "Ohio Siemens"]
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://onoma") as client,
        ):
            assert (await client.get("/readyz")).json()["models"] == ["student", "encoder"]
            answer = (await client.post("/embed", json={"texts": texts})).json()
            assert np.array_equal(np.array(answer["embeddings"], np.float32), embedder.embed(texts))
            assert answer["timings_ms"]["infer"] > 0
            scored = await client.post("/similarity", json={"pairs": [["Ohio", "Ohio Siemens"]]})
            assert scored.json()["scores"] == [pytest.approx(2**-0.5, abs=1e-6)]
            refused = await client.post("/ner", json={"text": "Ohio", "model": "encoder"})
            assert refused.json()["error"]["code"] == "model_not_loaded"
            elsewhere.model.error = RuntimeError("secret")
            failed = await client.post("/embed", json={"text": "Ohio"})
            assert (failed.status_code, failed.json()["error"]["code"]) == (500, "inference_failed")
        await elsewhere.runtime.stop()

    asyncio.run(scenario())


def test_a_failing_teacher_elsewhere() -> None:
    async def scenario() -> None:
        async with with_teacher_elsewhere() as (elsewhere, _, client):
            for error in (WorkerDead("the replica is gone"), RuntimeError("nobody foresaw this")):
                elsewhere.error = error
                unsure = await result(client, text="maybe Siemens")
                assert (unsure["model"], unsure["fallback"], unsure["declined"]) == ("student", None, "teacher_error")
            assert (await client.post("/ner", json={"text": "x", "model": "teacher"})).status_code == 500
            assert (await client.get("/readyz")).status_code == 503
            elsewhere.error = Overloaded("too many wait", seconds=7)
            assert (await result(client, text="maybe"))["declined"] == "queue"
            full = await client.post("/ner", json={"text": "x", "model": "teacher"})
            assert (full.status_code, full.headers["retry-after"]) == (429, "7")
            elsewhere.error = None
            failed = await client.post("/ner", json={"text": "boom", "model": "teacher"})
            assert failed.json()["error"]["code"] == "inference_failed" and "secret" not in failed.text

    asyncio.run(scenario())


def test_clients_that_go_say_nothing_about_the_teacher() -> None:
    async def scenario() -> None:
        async with with_teacher_elsewhere(breaker_failures=1) as (elsewhere, _, client):
            elsewhere.error = ClientGone("the client closed the connection")
            assert (await client.post("/ner", json={"text": "maybe"})).status_code == 499
            elsewhere.error = None
            assert (await result(client, text="maybe"))["fallback"] == "low_confidence"

    asyncio.run(scenario())


def test_no_answer_in_time() -> None:
    async def scenario() -> None:
        async with with_teacher_elsewhere(fallback_seconds=0.1) as (elsewhere, _, client):
            elsewhere.model.gate.clear()
            assert (await result(client, text="maybe Siemens"))["declined"] == "deadline"
            assert elsewhere.questions[0].seconds <= 0.1
            await until(lambda: elsewhere.given_up == 1)
            await until(lambda: elsewhere.runtime.backends["teacher"].queued == (0, 0))

    asyncio.run(scenario())


def test_a_question_that_nobody_waits_for_is_given_up() -> None:
    async def scenario() -> None:
        async with with_teacher_elsewhere() as (elsewhere, _, client):
            elsewhere.model.gate.clear()
            asked = asyncio.create_task(client.post("/ner", json={"text": "Ohio", "model": "teacher"}))
            await until(lambda: elsewhere.model.entered.is_set() and bool(elsewhere.questions))
            asked.cancel()
            await until(lambda: elsewhere.given_up == 1)

    asyncio.run(scenario())


def test_nothing_asked_goes_nowhere() -> None:
    async def scenario() -> None:
        async with with_teacher_elsewhere() as (elsewhere, _, client):
            answer = await client.post("/ner", json={"texts": [], "model": "teacher"})
            assert answer.json()["results"] == [] and elsewhere.questions == []

    asyncio.run(scenario())


def test_waiting_there_is_known_here_and_fades() -> None:
    async def scenario() -> None:
        told = Reply([], Stages(), wait_seconds=100.0)

        async def ask(_: Question) -> Reply:
            return told

        backend = RemoteBackend("teacher", ask, labels=LABELS)
        assert backend.wait_seconds == 0.0
        await backend.probe(deadline=time.monotonic() + 1)
        first = backend.wait_seconds
        await asyncio.sleep(0.01)
        assert 50 < backend.wait_seconds < first <= 100

    asyncio.run(scenario())


def test_no_time_left() -> None:
    async def scenario() -> None:
        async def ask(_: Question) -> Reply:
            await asyncio.Event().wait()
            raise AssertionError

        backend = RemoteBackend("teacher", ask, labels=LABELS)
        with pytest.raises(DeadlineExceeded, match="teacher"):
            await backend.run(["Ohio"], Stages(), deadline=time.monotonic() - 1)

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", error_classes())
def test_every_error_comes_back_as_it_was(kind: type[ServiceError]) -> None:
    error = as_error(Failure(kind.code, "what was wrong", {"retry-after": "3"}))
    assert type(error) is kind
    assert (error.status, error.message, str(error)) == (kind.status, "what was wrong", "what was wrong")
    assert error.headers == {"retry-after": "3"}


def test_an_error_that_only_a_newer_version_has() -> None:
    assert type(as_error(Failure("of_tomorrow", "no idea", {}))) is InferenceFailed


def test_the_request_id_is_in_the_logs_there() -> None:
    async def scenario() -> None:
        elsewhere = Elsewhere(FakeModel(sure=True))
        await elsewhere.runtime.start({"teacher": make_tagger(elsewhere.model)})

        async def answer() -> str | None:
            await reply(elsewhere.runtime.backends["teacher"], Question(["Ohio"], 10.0, False, "trace-8"))
            return REQUEST_ID.get()

        assert await asyncio.create_task(answer()) == "trace-8"
        await elsewhere.runtime.stop()

    asyncio.run(scenario())
