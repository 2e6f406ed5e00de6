"""The engine: shared batches, fair order, bounded queue, deadlines, cancellation."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, make_tagger, running, until

from service.batching import Engine
from service.errors import DeadlineExceeded, InferenceFailed, Overloaded, WorkerDead
from service.queueing import Stages


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def windows(*lengths: int) -> list[np.ndarray]:
    return [np.zeros(length, dtype=np.int64) for length in lengths]


class Started:
    """An engine around a FakeModel, closed at the end."""

    def __init__(self, model: FakeModel, **options: Any) -> None:
        self.model = model
        self.engine = Engine(
            "student", make_tagger(model), **{"batch_tokens": 64, "max_queue_tokens": 100, "workers": 1} | options
        )

    async def __aenter__(self) -> Engine:
        self.engine.start()
        return self.engine

    async def __aexit__(self, *_: object) -> None:
        self.model.gate.set()
        self.engine.close()

    async def blocked(self) -> asyncio.Task[Any]:
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
            assert [len(emissions[0]) for emissions, _ in done] == [1, 8, 30, 7, 32, 8]
            assert all(stages.queue >= 0 and stages.infer >= 0 for _, stages in done)
            assert engine.queued == (0, 0)

    asyncio.run(scenario())


def test_idle_worker_does_not_wait_for_more() -> None:
    async def scenario() -> None:
        async with Started(FakeModel()) as engine:
            _, stages = await engine.infer(windows(3), deadline=soon())
            assert stages.queue < 0.5

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
                await engine.run(["Ohio"], deadline=soon())
            assert refused.value.status == 429 and "300 word-pieces wait, 2 more" in refused.value.message
            with pytest.raises(Overloaded), engine.reserved(8):
                pass
            probe = asyncio.create_task(engine.run(["Ohio"], deadline=soon(), bounded=False))
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
            assert len(good[0][0]) == 4 and len(fine[0][0]) == 6
            assert engine.alive

    asyncio.run(scenario())


def test_wrong_number_of_emissions_is_a_failure() -> None:
    async def scenario() -> None:
        model = FakeModel()
        model.infer = lambda inputs: []  # type: ignore[method-assign]
        async with Started(model) as engine:
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


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_dead_worker_is_replaced_and_only_the_poison_is_lost(workers: int) -> None:
    async def scenario() -> None:
        model = FakeModel()
        async with running(model, workers=workers) as (app, client):
            texts = ["Siemens", "kill", "Angela Merkel in Ohio", "boom", "München"]
            if workers == 1:  # all in one batch
                model.gate.clear()
                first = asyncio.create_task(client.post("/ner", json={"text": "Siemens"}))
                await until(model.entered.is_set)
            engine = app.state.runtime.backends["student"].engine
            asked = [asyncio.create_task(client.post("/ner", json={"text": text})) for text in texts]
            if workers == 1:
                await until(lambda: engine.queued[0] == len(texts))
                model.gate.set()
                assert (await first).status_code == 200
            answers = await asyncio.gather(*asked)
            codes = [answer.json().get("error", {}).get("code") for answer in answers]
            assert codes == [None, "worker_dead", None, "inference_failed", None]
            found = [[e["text"] for r in a.json().get("results", ()) for e in r["entities"]] for a in answers]
            assert found == [["Siemens"], [], ["Angela Merkel", "Ohio"], [], ["München"]]
            assert engine.alive and engine.queued == (0, 0)
            assert (await client.post("/ner", json={"text": "Siemens"})).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            registry = app.state.runtime.metrics.registry
            assert registry.get_sample_value("onoma_worker_deaths_total", {"model": "student"}) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_way_through_the_engine_gives_the_same_answers(workers: int) -> None:
    """Short and long requests, many texts and one, bulk or not."""

    async def scenario() -> None:
        engine = Engine("student", make_tagger(), batch_tokens=64, max_queue_tokens=10**9, workers=workers)
        engine.start()
        texts = ["Siemens in Ohio. " * (n % 40) for n in range(60)] + ["", " ", "x"]
        alone = make_tagger().tag_batch(texts)
        assert [(await engine.run([text], deadline=soon()))[0][0] for text in texts] == alone
        assert (await engine.run(texts, deadline=soon()))[0] == alone
        together = await asyncio.gather(
            *(engine.run([text], deadline=soon(), bulk=number % 3 == 0) for number, text in enumerate(texts))
        )
        assert [tagged[0] for tagged, _ in together] == alone
        assert await engine.run([], deadline=soon()) == ([], Stages())
        await asyncio.to_thread(engine.close)

    asyncio.run(scenario())


def test_interactive_requests_overtake_bulk_ones() -> None:
    async def scenario() -> None:
        model = FakeModel()
        started = Started(model, batch_tokens=8, max_queue_tokens=10_000)
        async with started as engine:
            first = await started.blocked()
            ends: list[str] = []

            async def timed(name: str, count: int, bulk: bool) -> None:
                await engine.infer(windows(*[8] * count), deadline=soon(), bulk=bulk)
                ends.append(name)

            bulk = asyncio.create_task(timed("bulk", 10, True))
            await until(lambda: engine.queued[0] == 10)
            other = asyncio.create_task(timed("interactive", 15, False))
            await until(lambda: engine.queued[0] == 25)
            model.gate.set()
            await asyncio.gather(first, bulk, other)
            assert ends == ["interactive", "bulk"]

    asyncio.run(scenario())


def test_large_requests_do_not_shut_out_small_ones() -> None:
    async def scenario() -> None:
        model = FakeModel()
        started = Started(model, max_queue_tokens=1000)
        async with started as engine:
            first = await started.blocked()
            waiting = asyncio.create_task(engine.infer(windows(*[10] * 79), deadline=soon()))
            await until(lambda: engine.queued[0] == 79)
            with engine.reserved(40):  # small: 10 word-pieces of 1,000
                with pytest.raises(Overloaded, match="800 word-pieces wait, 11 more would pass the limit of 800"):
                    engine._admit(11)
                small = asyncio.create_task(engine.run(["Ohio " * 6], deadline=soon()))
                await until(lambda: engine.queued[0] == 80)
            model.gate.set()
            await asyncio.gather(first, waiting, small)

    asyncio.run(scenario())


def test_the_queue_is_bounded_by_the_models_speed() -> None:
    class Slow(FakeModel):
        def infer(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            time.sleep(0.02 * len(inputs))
            return super().infer(inputs)

    async def scenario() -> None:
        model = Slow()
        started = Started(model, max_queue_tokens=10**6, max_queue_seconds=0.5, batch_tokens=1)
        async with started as engine:
            await engine.infer(windows(10), deadline=soon())
            assert engine.wait_seconds == 0
            first = await started.blocked()
            waiting = asyncio.create_task(engine.infer(windows(*[10] * 50), deadline=soon()))
            await until(lambda: engine.queued[0] == 50)
            assert 0.5 < engine.wait_seconds < 5
            with pytest.raises(Overloaded) as refused:
                await engine.run(["Ohio"], deadline=soon())
            assert 1 <= int(refused.value.headers["retry-after"]) <= 5
            waiting.cancel()
            model.gate.set()
            await first

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("lone", "lengths", "batches"),
    [
        (1.0, (8, 12, 12), [[12, 12], [8]]),  # padding costs more than it saves
        (2.0, (8, 12, 12), [[12, 12, 8]]),  # a run for the 8 alone would cost 16
        (2.0, (20, 30), [[20, 30]]),
        (2.0, (8, 30), [[8, 30]]),
        (1.2, (8, 30), [[8], [30]]),
        (2.0, (8, 8, 8, 30), [[8, 8, 8], [30]]),
        (1.7, (9, 10, 14), [[9, 10, 14]]),
    ],
)
def test_lone_windows_join_a_batch_where_padding_is_cheaper(
    lone: float, lengths: tuple[int, ...], batches: list[list[int]]
) -> None:
    async def scenario() -> None:
        model = FakeModel()
        started = Started(model, batch_tokens=1000, lone=lone, max_queue_tokens=10_000)
        async with started as engine:
            first = await started.blocked()
            others = [asyncio.create_task(engine.infer(windows(n), deadline=soon())) for n in lengths]
            await until(lambda: engine.queued[0] == len(lengths))
            model.gate.set()
            done = await asyncio.gather(first, *others)
            assert sorted(map(sorted, model.batches[1:])) == sorted(map(sorted, batches))
            assert [len(emissions[0]) for emissions, _ in done[1:]] == list(lengths)

    asyncio.run(scenario())


def test_a_client_that_leaves_while_its_text_is_encoded_is_not_counted_twice() -> None:
    async def scenario() -> None:
        tagger = make_tagger()
        entered, go = threading.Event(), threading.Event()
        encode = tagger.encode

        def slow(texts: Sequence[str]) -> Any:
            entered.set()
            assert go.wait(10)
            return encode(texts)

        tagger.encode = slow  # type: ignore[method-assign]
        engine = Engine("student", tagger, batch_tokens=64, max_queue_tokens=100, workers=1)
        engine.start()
        leaving = asyncio.create_task(engine.run(["Angela Merkel"], deadline=soon()))
        await until(entered.is_set)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        go.set()
        tagged, _ = await engine.run(["Ohio"], deadline=soon())
        assert [entity.label for entity in tagged[0].entities] == ["LOC"]
        assert engine.queued == (0, 0)
        await asyncio.to_thread(engine.close)

    asyncio.run(scenario())
