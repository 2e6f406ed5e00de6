"""The engine: shared batches, fair order, bounded queue, deadlines, cancellation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, running, until

from service.batching import Engine
from service.errors import DeadlineExceeded, InferenceFailed, Overloaded, WorkerDead
from service.queueing import Inferred


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def windows(*lengths: int) -> list[np.ndarray]:
    return [np.zeros(length, dtype=np.int64) for length in lengths]


class Started:
    """An engine around a FakeModel, closed at the end."""

    def __init__(self, model: FakeModel, **options: int) -> None:
        self.model = model
        self.engine = Engine("student", model.infer, **{"batch_tokens": 64, "max_queue_tokens": 100} | options)

    async def __aenter__(self) -> Engine:
        self.engine.start()
        return self.engine

    async def __aexit__(self, *_: object) -> None:
        self.model.gate.set()
        self.engine.close()

    async def blocked(self) -> asyncio.Task[Inferred]:
        """Keep the worker busy, so that what comes next has to wait."""
        self.model.gate.clear()
        task = asyncio.create_task(self.engine.infer(windows(1), deadline=soon()))
        await until(self.model.entered.is_set)
        return task


def test_requests_share_a_batch_of_like_length() -> None:
    async def scenario() -> None:
        model = FakeModel()
        started = Started(model)
        async with started as engine:
            first = await started.blocked()
            others = [asyncio.create_task(engine.infer(windows(n), deadline=soon())) for n in (8, 30, 7, 32, 8)]
            await until(lambda: engine.queued == (5, 85))
            model.gate.set()
            done = await asyncio.gather(first, *others)
            assert model.batches == [[1], [8, 7, 8], [30, 32]]
            assert [len(one.emissions[0]) for one in done] == [1, 8, 30, 7, 32, 8]
            assert all(one.queue >= 0 and one.infer >= 0 for one in done)
            assert engine.queued == (0, 0)

    asyncio.run(scenario())


def test_idle_worker_does_not_wait_for_more() -> None:
    async def scenario() -> None:
        async with Started(FakeModel()) as engine:
            done = await engine.infer(windows(3), deadline=soon())
            assert done.queue < 0.5

    asyncio.run(scenario())


def test_padded_budget_bounds_a_batch() -> None:
    async def scenario() -> None:
        model = FakeModel()
        started = Started(model, batch_tokens=20)
        async with started as engine:
            first = await started.blocked()
            many = asyncio.create_task(engine.infer(windows(*[7] * 5, 100), deadline=soon()))
            await until(lambda: engine.queued[0] == 6)
            model.gate.set()
            await asyncio.gather(first, many)
            assert model.batches == [[1], [7, 7], [7, 7], [7], [100]]

    asyncio.run(scenario())


def test_a_short_request_overtakes_the_rest_of_a_long_one() -> None:
    async def scenario() -> None:
        model = FakeModel()
        started = Started(model, batch_tokens=8, max_queue_tokens=10_000)
        async with started as engine:
            first = await started.blocked()
            ends = []

            async def timed(name: str, inputs: list[np.ndarray]) -> None:
                await engine.infer(inputs, deadline=soon())
                ends.append((name, len(model.batches)))

            long = asyncio.create_task(timed("long", windows(*[8] * 50)))
            await until(lambda: engine.queued[0] == 50)
            short = asyncio.create_task(timed("short", windows(8)))
            await until(lambda: engine.queued[0] == 51)
            model.gate.set()
            await asyncio.gather(first, long, short)
            assert ends[0][0] == "short"
            # Deterministic: the short window stands right behind the long request's first.
            assert len(model.batches) == 52

    asyncio.run(scenario())


def test_full_queue() -> None:
    async def scenario() -> None:
        model = FakeModel()
        started = Started(model)
        async with started as engine:
            first = await started.blocked()
            large = asyncio.create_task(engine.infer(windows(*[30] * 10), deadline=soon()))  # alone: admitted
            await until(lambda: engine.queued[0] == 10)
            with pytest.raises(Overloaded) as refused:
                await engine.infer(windows(1), deadline=soon())
            assert refused.value.status == 429 and "100" in refused.value.message
            probe = asyncio.create_task(engine.infer(windows(1), deadline=soon(), bounded=False))
            await until(lambda: engine.queued[0] == 11)
            model.gate.set()
            await asyncio.gather(first, large, probe)

    asyncio.run(scenario())


def test_cancelled_and_expired_never_run() -> None:
    async def scenario() -> None:
        model = FakeModel()
        started = Started(model)
        async with started as engine:
            first = await started.blocked()
            cancelled = asyncio.create_task(engine.infer(windows(5, 5), deadline=soon()))
            await until(lambda: engine.queued[0] == 2)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert engine.queued == (0, 0)
            with pytest.raises(DeadlineExceeded):
                await engine.infer(windows(6), deadline=soon(0.05))
            assert engine.queued == (0, 0)
            model.gate.set()
            await first
            await engine.infer(windows(4), deadline=soon())
            assert model.batches == [[1], [4]]

    asyncio.run(scenario())


def test_one_bad_request_does_not_fail_its_neighbours() -> None:
    class Picky(FakeModel):
        def infer(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            rows = super().infer(inputs)
            if any(len(ids) == 5 for ids in inputs):
                raise RuntimeError("five")
            return rows

    async def scenario() -> None:
        model = Picky()
        started = Started(model)
        async with started as engine:
            first = await started.blocked()
            tasks = [asyncio.create_task(engine.infer(windows(n), deadline=soon())) for n in (4, 5, 6)]
            await until(lambda: engine.queued[0] == 3)
            model.gate.set()
            await first
            good, bad, fine = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(bad, InferenceFailed) and isinstance(bad.__cause__, RuntimeError)
            assert len(good.emissions[0]) == 4 and len(fine.emissions[0]) == 6
            assert engine.alive

    asyncio.run(scenario())


def test_wrong_number_of_emissions_is_a_failure() -> None:
    async def scenario() -> None:
        async with Started(FakeModel()) as engine:
            engine._infer = lambda inputs: []
            with pytest.raises(InferenceFailed):
                await engine.infer(windows(3), deadline=soon())

    asyncio.run(scenario())


def test_close_fails_who_waits() -> None:
    async def scenario() -> None:
        model = FakeModel()
        started = Started(model)
        async with started as engine:
            await started.blocked()
            waiting = asyncio.create_task(engine.infer(windows(2), deadline=soon()))
            await until(lambda: engine.queued[0] == 1)
            asyncio.get_running_loop().call_later(0.05, model.gate.set)
            await asyncio.to_thread(engine.close)
            with pytest.raises(WorkerDead):
                await waiting
            assert not engine.alive

    asyncio.run(scenario())


def test_clients_of_the_app_share_batches() -> None:
    async def scenario() -> None:
        model = FakeModel()
        async with running(model) as (_, client):
            model.gate.clear()
            first = asyncio.create_task(client.post("/ner", json={"text": "Siemens"}))
            await until(model.entered.is_set)
            texts = [f"Angela Merkel {'x ' * (n % 3)}Ohio" for n in range(20)]
            others = [asyncio.create_task(client.post("/ner", json={"text": text})) for text in texts]
            engine = client._transport.app.state.runtime.backends["student"].engine
            await until(lambda: engine.queued[0] == 20)
            model.gate.set()
            for text, response in zip(texts, await asyncio.gather(*others), strict=True):
                found = response.json()["results"][0]["entities"]
                assert [text[e["start"] : e["end"]] for e in found] == ["Angela Merkel", "Ohio"]
            await first
            assert [len(batch) for batch in model.batches] == [1, 20]

    asyncio.run(scenario())


def test_deadline_is_a_504_and_the_next_request_is_answered() -> None:
    async def scenario() -> None:
        model = FakeModel()
        async with running(model, deadline_seconds=1.0) as (_, client):
            model.gate.clear()
            response = await client.post("/ner", json={"text": "Siemens"})
            assert response.status_code == 504
            assert response.json()["error"]["code"] == "deadline_exceeded"
            model.gate.set()
            assert (await client.post("/ner", json={"text": "Siemens"})).status_code == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("settings", [{"max_queue_tokens": 1}, {"max_in_flight": 2}])
def test_overload_is_a_429_with_retry_after(settings: dict[str, Any]) -> None:
    async def scenario() -> None:
        model = FakeModel()
        async with running(model, **settings) as (app, client):
            model.gate.clear()
            first = asyncio.create_task(client.post("/ner", json={"text": "Siemens"}))
            await until(model.entered.is_set)
            second = asyncio.create_task(client.post("/ner", json={"text": "Siemens"}))
            await until(lambda: app.state.runtime.backends["student"].engine.queued[0] == 1)
            refused = await client.post("/ner", json={"text": "Siemens"})
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["code"] == "overloaded"
            model.gate.set()
            assert [(await task).status_code for task in (first, second)] == [200, 200]
            assert app.state.runtime.in_flight == 0

    asyncio.run(scenario())


def test_a_client_that_leaves_frees_the_queue() -> None:
    async def scenario() -> None:
        model = FakeModel()
        async with running(model) as (app, client):
            engine = app.state.runtime.backends["student"].engine
            model.gate.clear()
            first = asyncio.create_task(client.post("/ner", json={"text": "Siemens"}))
            await until(model.entered.is_set)
            inbox = asyncio.Queue()
            sent = []

            async def send(message: dict[str, Any]) -> None:
                sent.append(message)

            scope = {
                "type": "http", "method": "POST", "path": "/ner", "raw_path": b"/ner", "query_string": b"",
                "headers": [], "http_version": "1.1", "scheme": "http", "root_path": "", "asgi": {"version": "3.0"},
                "server": ("onoma", 80), "client": ("test", 1),
            }
            inbox.put_nowait({"type": "http.request", "body": b'{"text": "Ohio"}', "more_body": False})
            leaving = asyncio.create_task(app(scope, inbox.get, send))
            await until(lambda: engine.queued[0] == 1)
            inbox.put_nowait({"type": "http.disconnect"})
            await leaving
            assert sent[0]["status"] == 499
            assert engine.queued == (0, 0)
            model.gate.set()
            assert (await first).status_code == 200

    asyncio.run(scenario())
